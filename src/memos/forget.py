"""Retiring and erasing, by id and by filter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from msgspec import structs

from memos.errors import NotFound
from memos.filters import Filter
from memos.ports.stores import RecordStore
from memos.types import Batch, Page, Retire, Scope

Mode: TypeAlias = Literal["retire", "erase"]
_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class Forget:
    """Hides memories and keeps their history, or leaves nothing of them but tombstones."""

    records: RecordStore

    async def named(self, ids: Sequence[str], scope: Scope, mode: Mode) -> None:
        """Forget memories by id, wherever in the scope they are.

        Raises:
            NotFound: One of the ids does not exist; nothing was forgotten.
        """
        found = await self.records.get(ids, scope)
        known = [(memory.place.cube, memory.id) for memory in found]
        if mode == "erase":  # erasing again completes what was interrupted
            stones = await self.records.tombstones(ids, scope)
            known += [(stone.cube, stone.id) for stone in stones]
        for id in ids:
            if all(id != other for _, other in known):
                raise await missing(self.records, id, scope)
        await self._forget(known, scope, mode)

    async def selected(self, where: Filter, scope: Scope, mode: Mode) -> list[str]:
        """Forget what a filter selects and return the ids."""
        forgotten: list[str] = []
        page = Page(_PAGE)
        while True:
            # What is hidden is still there to be erased.
            found = await self.records.scan(scope, where, page, hidden=mode == "erase")
            known = [(memory.place.cube, memory.id) for memory in found.items]
            await self._forget(known, scope, mode)
            forgotten += [id for _, id in known]
            if found.next is None:
                return forgotten
            page = Page(_PAGE, found.next)

    async def _forget(self, known: Sequence[tuple[str, str]], scope: Scope, mode: Mode) -> None:
        for cube in dict.fromkeys(cube for cube, _ in known):
            ids = tuple(id for other, id in known if other == cube)
            batch = Batch(None, scope.account, cube)
            if mode == "erase":
                batch = structs.replace(batch, erases=ids)
            else:
                batch = structs.replace(batch, retires=tuple(map(Retire, ids)))
            await self.records.apply(batch, scope)


async def missing(records: RecordStore, id: str, scope: Scope) -> NotFound:
    """Return why a memory cannot be had: erased, or never there."""
    for stone in await records.tombstones([id], scope):
        when = stone.erased_at.isoformat(timespec="seconds")
        return NotFound(f"memory {id!r} was erased at {when}", code="erased")
    return NotFound(f"there is no memory {id!r}", code="unknown_memory")
