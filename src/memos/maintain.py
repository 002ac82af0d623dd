"""Upkeep that needs several ports: re-embedding cubes, proving and rebuilding what is derived."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from memos.analysis import passage_text
from memos.errors import InvalidInput
from memos.ports.models import Embedder
from memos.ports.stores import Finding, Maintenance, RecordStore
from memos.progress import Progress
from memos.types import Scope

_PIECE: Final = 64
"""Memories embedded and stored at a time: what an interruption costs at most."""


@dataclass(frozen=True, slots=True)
class Maintain:
    """Upkeep of one store."""

    records: RecordStore
    embedder: Embedder
    maintenance: Maintenance | None

    async def reindex(self, cube: str, scope: Scope, progress: Progress | None) -> int:
        """Embed what has no vector by the configured embedder, then let it serve."""
        name = self.embedder.name
        total = await self.records.count_unembedded(cube, scope, name)
        done = 0
        if progress is not None:
            progress(0, total)
        while True:
            memories = await self.records.unembedded(cube, scope, name, _PIECE)
            if not memories and await self.records.switch_embedder(cube, scope, name):
                return done
            vectors = await self.embedder.embed([passage_text(m) for m in memories], "passage")
            keyed = {(m.id, m.version): v for m, v in zip(memories, vectors, strict=True)}
            await self.records.add_vectors(cube, scope, name, keyed)
            done += len(memories)
            if progress is not None:
                progress(done, max(done, total))

    async def check(self, account: str) -> list[Finding]:
        """Return the findings about every part of the store."""
        return [finding async for finding in self._maintenance().check(account)]

    async def rebuild(self, cube: str, scope: Scope) -> None:
        """Build what is derived from a cube's records anew."""
        await self._maintenance().rebuild(cube, scope)

    def _maintenance(self) -> Maintenance:
        if self.maintenance is None:
            raise InvalidInput("this record store has no checks of its own", code="no_maintenance")
        return self.maintenance
