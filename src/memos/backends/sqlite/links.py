"""Neighbourhoods over the links table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import apsw

from memos._offload import Offload
from memos.backends.sqlite.connection import File
from memos.backends.sqlite.records import cube_numbers
from memos.types import Change, Link, Scope, Scored


class Links:
    """``LinkIndex`` over one file, whose table is written with the records."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._offload = Offload(2)

    async def sync(self, changes: Sequence[Change]) -> None:
        """Do nothing: links and records share their transaction."""

    async def expand(
        self, seeds: Sequence[str], scope: Scope, hops: int, relations: Sequence[str], limit: int
    ) -> list[Scored]:
        """Return live memories near the seeds; each hop halves the weight."""

        def run() -> list[Scored]:
            with self._file.reading() as db:
                found = [
                    Scored(cube, id, score)
                    for cube, number in cube_numbers(db, scope.account, scope.grants).items()
                    for id, score in _spread(db, number, seeds, hops, relations).items()
                    if _is_live(db, number, id)
                ]
            return sorted(found, key=lambda scored: (-scored.score, scored.id))[:limit]

        return await self._offload.run(run)

    async def subgraph(self, ids: Sequence[str], scope: Scope) -> list[Link]:
        """Return the links that touch one of the ids."""

        def run() -> list[Link]:
            found: dict[Link, None] = {}
            with self._file.reading() as db:
                for number in cube_numbers(db, scope.account, scope.grants).values():
                    for id in ids:
                        found |= dict.fromkeys(_links(db, number, id, ()))
            return list(found)

        return await self._offload.run(run)


def _spread(
    db: apsw.Connection, cube: int, seeds: Sequence[str], hops: int, relations: Sequence[str]
) -> dict[str, float]:
    reached: dict[str, float] = dict.fromkeys(seeds, 1.0)
    frontier = dict(reached)
    for _ in range(hops):
        following: dict[str, float] = {}
        for id, strength in frontier.items():
            for link in _links(db, cube, id, relations):
                other = link.target if link.source == id else link.source
                if other not in reached:
                    following[other] = max(following.get(other, 0.0), strength * link.weight / 2)
        reached |= following
        frontier = following
    return {id: score for id, score in reached.items() if id not in set(seeds)}


def _links(db: apsw.Connection, cube: int, id: str, relations: Sequence[str]) -> list[Link]:
    rows = db.execute(
        "SELECT source, target, relation, weight FROM links WHERE cube = ?1"
        " AND (source = ?2 OR target = ?2)"
        " ORDER BY source, target, relation",
        (cube, id),
    )
    links = (Link(*row) for row in cast("Iterable[tuple[str, str, str, float]]", rows))
    return [link for link in links if not relations or link.relation in relations]


def _is_live(db: apsw.Connection, cube: int, id: str) -> bool:
    found = db.execute("SELECT 1 FROM memories WHERE cube = ? AND id = ? AND live", (cube, id)).get
    return found is not None
