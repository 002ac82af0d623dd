"""Stores and indexes behind the core.

One ``RecordStore`` holds the truth; every index is derived from its change log and can be rebuilt.
All reads take a ``Scope`` and see nothing outside it: cubes without a grant do not exist for them,
and naming one is Forbidden.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from memos.buckets import Rate
from memos.dates import Span
from memos.filters import Filter
from memos.types import (
    ApiKey,
    AuditEntry,
    Batch,
    Change,
    Cube,
    Grant,
    Link,
    Memory,
    MemoryPage,
    Page,
    Place,
    Receipt,
    Repeat,
    Scope,
    Scored,
    Spending,
    Statistics,
    Tombstone,
    User,
    Vector,
)

Entry: TypeAlias = User | Cube | Grant | Spending | ApiKey | AuditEntry | Repeat
E = TypeVar("E", User, Cube, Grant, Spending, ApiKey, AuditEntry, Repeat)


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of a session: its last position, and the memories that lead to it, oldest first."""

    position: int | None
    memories: tuple[Memory, ...]


class RecordStore(Protocol):
    """Truth, history and the change log.

    Raises:
        StoreError: The store failed; nothing of the batch was written.
        Conflict: ``expect``, ``heads`` or the embedder of the cube does not hold.
        Forbidden: The scope may not write the cube.
        DataError: Stored data cannot be trusted.
    """

    async def apply(self, batch: Batch, scope: Scope) -> Receipt:
        """Write the batch in one transaction, durably, once per cube and batch id.

        A put whose id exists makes a new version. A put of a new id one of whose ``keys`` is held
        by a live memory of the cube writes nothing: the receipt names the holder. A new version
        takes its keys over from whoever held them. The id of an erased memory is not used again:
        putting it is a Conflict. Positions left open are given out in the order of the puts.
        Retiring or erasing an unknown id is ``NotFound``; erasing an erased id does nothing, so
        that an interrupted erase can be repeated. When an erase returns, the text is gone from
        every file.
        """
        ...

    async def get(self, ids: Sequence[str], scope: Scope) -> list[Memory]:
        """Return the latest versions, retired ones included, in the order of ``ids``.

        Unknown and erased ids are left out; an id that several cubes hold comes once for each.
        """
        ...

    async def history(self, id: str, scope: Scope) -> list[Memory]:
        """Return all versions, oldest first; empty for unknown and erased ids."""
        ...

    async def tombstones(self, ids: Sequence[str], scope: Scope) -> list[Tombstone]:
        """Return what is left of erased memories."""
        ...

    async def scan(
        self,
        scope: Scope,
        where: Filter,
        page: Page,
        as_of: datetime | None = None,
        *,
        hidden: bool = False,
    ) -> MemoryPage:
        """Return live memories, or those live at ``as_of``, in the order they were recorded.

        Expired ones are left out. With ``hidden`` the latest version of every memory comes, also
        of those that were retired or have expired.
        """
        ...

    async def tail(self, place: Place, scope: Scope, limit: int) -> Tail:
        """Return the last ``limit`` live memories of a session."""
        ...

    async def holders(self, cube: str, keys: Sequence[str], scope: Scope) -> Mapping[str, str]:
        """Return key -> id of the live memory that holds it."""
        ...

    async def around(self, ids: Sequence[str], scope: Scope, span: int) -> list[Memory]:
        """Return the live memories up to ``span`` places before and after each id in its session.

        The named ones are among them; each memory comes once; as_of images are not looked at.
        """
        ...

    async def vectors(
        self, ids: Sequence[str], scope: Scope, embedder: str
    ) -> Mapping[str, Vector]:
        """Return id -> vector by that embedder, for those that have one."""
        ...

    async def changes(self, after: int, limit: int) -> list[Change]:
        """Return the log after a cursor: the latest state of each memory, oldest change first."""
        ...

    async def embedder(self, cube: str, scope: Scope) -> str | None:
        """Return the name of the embedder behind the cube's vectors, None while it has none."""
        ...

    async def unembedded(self, cube: str, scope: Scope, embedder: str, limit: int) -> list[Memory]:
        """Return memory versions of the cube without a vector by ``embedder``, for re-embedding."""
        ...

    async def count_unembedded(self, cube: str, scope: Scope, embedder: str) -> int:
        """Return how many memory versions ``unembedded`` would give."""
        ...

    async def add_vectors(
        self, cube: str, scope: Scope, embedder: str, vectors: Mapping[tuple[str, int], Vector]
    ) -> None:
        """Store (id, version) -> vector beside the serving ones; skips versions that are gone."""
        ...

    async def switch_embedder(self, cube: str, scope: Scope, embedder: str) -> bool:
        """Let ``embedder`` serve the cube, drop other vectors; False if a memory lacks its vector.

        A cube without memories takes any embedder.
        """
        ...


class VectorIndex(Protocol):
    """Nearest neighbours by inner product; filters apply before the limit, expiry is one.

    Raises:
        Conflict: A query vector has another size than those of a cube in the scope.
    """

    async def sync(self, changes: Sequence[Change]) -> None:
        """Follow the log; repeated changes are harmless."""
        ...

    async def nearest(
        self, vectors: Sequence[Vector], scope: Scope, where: Filter, limit: int
    ) -> list[list[Scored]]:
        """Return for each query vector its nearest live memories, best first."""
        ...

    async def centre(self, cube: str, scope: Scope) -> Vector | None:
        """Return the mean of the vectors of a cube's live memories, None where there are none."""
        ...


class TextIndex(Protocol):
    """Candidates by words, expired ones too; document frequencies are a cube's own."""

    async def sync(self, changes: Sequence[Change]) -> None:
        """Follow the log; repeated changes are harmless."""
        ...

    async def match(
        self, terms: Sequence[str], scope: Scope, where: Filter, limit: int
    ) -> list[Scored]:
        """Return live memories that hold any of the terms, best first."""
        ...

    async def statistics(self, terms: Sequence[str], cube: str, scope: Scope) -> Statistics:
        """Return the frequencies of ``terms`` among the live memories of a cube."""
        ...


class LinkIndex(Protocol):
    """Neighbourhoods over links, within a cube and the scope."""

    async def expand(
        self, seeds: Sequence[str], scope: Scope, hops: int, relations: Sequence[str], limit: int
    ) -> list[Scored]:
        """Return live memories within ``hops`` links of the seeds, nearest and heaviest first.

        No relation named means any. Links are followed both ways; seeds are left out.
        """
        ...

    async def subgraph(self, ids: Sequence[str], scope: Scope) -> list[Link]:
        """Return the links that touch one of the ids, each once, whatever cubes have it."""
        ...


class BlobStore(Protocol):
    """Bytes by their SHA-256, in hex. Blobs belong to an account; one never reads another's."""

    async def put(self, account: str, content: bytes) -> str:
        """Store durably and return the digest; the same bytes are stored once."""
        ...

    async def holds(self, account: str, digest: str) -> bool:
        """Return whether the blob is there."""
        ...

    async def open(self, account: str, digest: str) -> bytes:
        """Return the bytes.

        Raises:
            NotFound: No such blob in the account.
            DataError: The bytes no longer give the digest.
        """
        ...

    async def delete(self, account: str, digest: str) -> None:
        """Remove the blob; an unknown one is ignored."""
        ...


class SharedState(Protocol):
    """Small things that processes share and may lose; keys are of nobody's account.

    Raises:
        StoreError: The store failed.
    """

    async def take(self, key: str, rate: Rate) -> float:
        """Take a token from the bucket ``key``; return 0, or in how many seconds there is one.

        A bucket that nobody took from is full; it fills evenly. Who is refused takes nothing.
        """
        ...


class AccountStore(Protocol):
    """Users, cubes, grants, keys and what was done, each a versioned entry of an account."""

    async def get_entry(self, type_: type[E], account: str, id: str) -> E | None:
        """Return the entry, or None."""
        ...

    async def put_entry(self, entry: Entry, *, expect: int) -> None:
        """Store ``entry`` with version ``expect + 1``; ``expect`` 0 means it must be new.

        Raises:
            Conflict: The stored version is another one.
        """
        ...

    async def list_entries(
        self, type_: type[E], account: str, prefix: str = "", limit: int | None = None
    ) -> list[E]:
        """Return the first ``limit`` entries whose id starts with ``prefix``, ordered by id."""
        ...

    async def change_entries(
        self, puts: Sequence[tuple[Entry, int]], drops: Sequence[Entry] = ()
    ) -> None:
        """Store entries, each with the version it must have now, and drop others; all or nothing.

        What is to be dropped must have the version that it says; an unknown entry is ignored.

        Raises:
            Conflict: A stored version is another one; nothing was changed.
        """
        ...

    async def standing(
        self, account: str, principal: str, cubes: Sequence[str] | None = None
    ) -> tuple[User | None, list[Grant]]:
        """Return a user and its grants, by cube, both of one moment.

        Where ``cubes`` are named, only the grants of these; what that takes grows with them, not
        with all that the user may do.
        """
        ...


class Feature(StrEnum):
    """A column that the scorer reads."""

    COSINE = "cosine"
    COSINE_NEAR = "cosine_near"
    BM25 = "bm25"
    BM25_NEAR = "bm25_near"
    BM25_WIDE = "bm25_wide"
    BM25_SESSION = "bm25_session"
    SPEAKER = "speaker"
    REPLY = "reply"
    PERSONAL = "personal"
    PREFERENCE = "preference"
    CONCRETE = "concrete"
    TIME = "time"


@dataclass(frozen=True, slots=True)
class Features:
    """Candidates of one cube and what the scorer has to know of them.

    Attributes:
        cube: The cube they come from.
        ids: Their ids.
        columns: Feature -> values, shape (len(ids),), float32.
        lanes: Lane name -> for each candidate its rank in that lane (0 best), -1 outside.
        words: Term of the question -> for each candidate, whether it holds it.
        sessions: For each candidate a number that it shares with those of its session alone.
        terms: Every term of the question -> what it weighs in this cube, rare ones more.
        background: The cosine column's value for the mean memory of the cube.
        spread: By what a value differs from that, at most: for a memory that lies from the mean
            as far as memories do, in the very direction of the question.
        days: For each candidate the first and the last day that it speaks of, shape (len(ids), 2);
            0 for none.
    """

    cube: str
    ids: tuple[str, ...]
    columns: Mapping[Feature, NDArray[np.float32]]
    lanes: Mapping[str, NDArray[np.int32]]
    words: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict[str, NDArray[np.bool_]])
    sessions: NDArray[np.int32] | None = None
    terms: Mapping[str, float] = field(default_factory=dict[str, float])
    background: float = 0.0
    spread: float = 0.0
    days: NDArray[np.int32] | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """What a feature index has to know of a query.

    Attributes:
        vector: Its embedding, or None for words alone.
        embedder: The model behind ``vector``.
        terms: Index terms of the query with their weight, 1 for plain words.
        speakers: Case-folded words of the query, against which speakers' names are held.
        where: The filter, applied before anything is ranked.
        at: The moment of the question; memories expired by then are left out.
        as_of: Ask the state known at that instant instead of the live one.
        limit: Candidates of each lane.
        times: The days that the query asks about.
    """

    vector: Vector | None
    embedder: str
    terms: Mapping[str, float]
    speakers: frozenset[str]
    where: Filter
    at: datetime
    as_of: datetime | None
    limit: int
    times: tuple[Span, ...] = ()


class FeatureIndex(Protocol):
    """An engine that scores a whole cube at once, giving the columns of ``retrieve.features``."""

    async def features(self, question: Question, cube: str, scope: Scope) -> Features:
        """Return the union of the lanes' best candidates with their features."""
        ...


@dataclass(frozen=True, slots=True)
class Finding:
    """One result of a check: what was looked at, whether it holds, and what to do."""

    check: str
    ok: bool
    detail: str


class Maintenance(Protocol):
    """Proving and rebuilding what is derived."""

    def check(self, account: str) -> AsyncIterator[Finding]:
        """Prove that the file is sound and every index agrees with the records."""
        ...

    async def rebuild(self, cube: str, scope: Scope) -> None:
        """Throw the derived state of a cube away and build it anew."""
        ...
