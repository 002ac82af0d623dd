"""Short names for the values that the suites are written in."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Final, TypedDict, TypeVar, Unpack

from msgspec import structs

from memos.analysis import count_terms, index_text
from memos.ports.backend import Opened
from memos.ports.stores import RecordStore
from memos.testing.fakes import hash_vector
from memos.types import (
    Access,
    Batch,
    Head,
    Job,
    Json,
    Link,
    Memory,
    Place,
    Put,
    Receipt,
    Retire,
    Scope,
    Source,
    Status,
)

ACCOUNT: Final = "acme"
CUBE: Final = "home"
EMBEDDER: Final = "hash-32"
START: Final = datetime(2025, 1, 1, tzinfo=UTC)
"""When the memories of the suites were recorded: long ago for any store's own clock."""
LONG_AGO: Final = datetime(2001, 1, 1, tzinfo=UTC)
FAR_OFF: Final = datetime(2999, 1, 1, tzinfo=UTC)

T = TypeVar("T")
_numbers: Final = count()


class Fields(TypedDict, total=False):
    """What a memory of the suites may say beside its id and text."""

    place: Place
    kind: str
    status: Status
    tags: tuple[str, ...]
    title: str | None
    speaker: str | None
    position: int | None
    keys: tuple[str, ...]
    recorded_at: datetime
    retired_at: datetime
    expires_at: datetime
    sources: tuple[Source, ...]
    info: Mapping[str, Json]


class Parts(TypedDict, total=False):
    """What a batch of the suites may hold beside its puts."""

    id: str | None
    account: str
    cube: str
    embedder: str | None
    retires: tuple[Retire, ...]
    erases: tuple[str, ...]
    links: tuple[Link, ...]
    jobs: tuple[Job, ...]
    expect: Mapping[str, int]
    heads: tuple[Head, ...]


def need(part: T | None) -> T:
    """Return a port that the suite cannot do without."""
    assert part is not None, "the backend does not offer the port that this suite is for"
    return part


def records(opened: Opened) -> RecordStore:
    """Return the record store."""
    return need(opened.records)


def at(day: int) -> datetime:
    """Return the start of a day, counted from the first."""
    return START + timedelta(days=day)


def scope(account: str = ACCOUNT, **grants: Access) -> Scope:
    """Return what a user may do: write ``home``, when nothing else is said."""
    return Scope(account, "tester", grants or {CUBE: "write"})


def place(session: str | None = None, cube: str = CUBE, account: str = ACCOUNT) -> Place:
    """Return a place of the suites' user."""
    return Place(account, cube, user="tester", session=session)


def memory(id: str, text: str = "something", **fields: Unpack[Fields]) -> Memory:
    """Return a memory, recorded on the first day when nothing else is said."""
    return structs.replace(Memory(id, "fact", text, place(), recorded_at=START), **fields)


def put(id: str, text: str = "something", **fields: Unpack[Fields]) -> Put:
    """Return a put of a memory with its index terms and its vector."""
    made = memory(id, text, **fields)
    words = index_text(made)
    return Put(made, hash_vector(words), count_terms(words))


def plain(id: str, text: str = "something", **fields: Unpack[Fields]) -> Put:
    """Return a put of a memory that is not to be found by meaning."""
    made = memory(id, text, **fields)
    return Put(made, None, count_terms(index_text(made)))


def batch(*puts: Put, **parts: Unpack[Parts]) -> Batch:
    """Return a batch with an id of its own."""
    ours = Batch(f"batch-{next(_numbers)}", ACCOUNT, CUBE, EMBEDDER, puts)
    return structs.replace(ours, **parts)


async def apply(opened: Opened, *puts: Put, **parts: Unpack[Parts]) -> Receipt:
    """Apply a batch as a user who may write its cube."""
    made = batch(*puts, **parts)
    return await records(opened).apply(made, Scope(made.account, "tester", {made.cube: "write"}))


async def texts(opened: Opened, ids: list[str]) -> list[str]:
    """Return the texts of the memories that exist among ``ids``."""
    return [found.text for found in await records(opened).get(ids, scope())]
