"""Calls that may come again: a repeated ``Idempotency-Key`` gives what its first call made.

What is going to be made is written down first. A call that is cut off between the two is made up
for by its repetition.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final, Generic, TypeVar

import msgspec
from anyio import CancelScope

from memos.errors import Conflict, NotFound
from memos.server.deps import Visit
from memos.types import Repeat

T = TypeVar("T")
_KEPT: Final = timedelta(days=7)
_SWEEP_S: Final = 3600.0
_swept: Final[dict[str, float]] = {}


@dataclass(frozen=True, slots=True)
class Making(Generic[T]):
    """What a call makes: once it is made, ``find`` finds it."""

    make: Callable[[], Awaitable[T]]
    find: Callable[[], Awaitable[T]]


async def once(visit: Visit, operation: str, key: str | None, body: object, of: Making[T]) -> T:
    """Make something once per key, and return it however often.

    Raises:
        Conflict: The key was used for something else, or what is to be made exists already.
    """
    if key is None:
        return await of.make()
    store, account = visit.tenants.engine.accounts, visit.caller.account
    await _sweep(visit)
    by = "" if visit.caller.key is None else visit.caller.key.id
    name = sha256(f"{operation}\x00{by}\x00{key}".encode()).hexdigest()
    digest = sha256(msgspec.json.encode(body)).hexdigest()
    entry = Repeat(name, account, datetime.now(UTC), digest)
    try:
        await store.put_entry(entry, expect=0)
    except Conflict:
        return await _again(await store.get_entry(Repeat, account, name), digest, of)
    made = False
    try:
        result = await of.make()
        made = True
    finally:
        if not made:
            with CancelScope(shield=True):  # what failed is not remembered
                await store.change_entries([], [msgspec.structs.replace(entry, version=1)])
    return result


async def _again(known: Repeat | None, digest: str, of: Making[T]) -> T:
    if known is not None and known.digest != digest:
        raise Conflict("the Idempotency-Key was used for another call", code="idempotency_key")
    with suppress(NotFound):
        return await of.find()
    try:
        return await of.make()
    except Conflict:  # the first call may have been quicker
        with suppress(NotFound):
            return await of.find()
        raise


async def _sweep(visit: Visit) -> None:
    account, now = visit.caller.account, time.monotonic()
    if now - _swept.get(account, float("-inf")) < _SWEEP_S:
        return
    _swept[account] = now
    store, until = visit.tenants.engine.accounts, datetime.now(UTC) - _KEPT
    old = [entry for entry in await store.list_entries(Repeat, account) if entry.at < until]
    if old:
        await store.change_entries([], old)
