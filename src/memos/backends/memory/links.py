"""Links of the reference engine, followed one by one."""

from __future__ import annotations

from collections.abc import Sequence

from memos.backends.memory.shelf import CubeState, Shelf
from memos.types import Link, Scope, Scored


class Links:
    """``LinkIndex`` over the cubes' own links."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    async def expand(
        self, seeds: Sequence[str], scope: Scope, hops: int, relations: Sequence[str], limit: int
    ) -> list[Scored]:
        """Return live memories near the seeds; each hop halves the weight."""
        found: list[Scored] = []
        for cube, state in self._shelf.granted(scope):
            live = {row.memory.id for row in state.live()}
            reached = _spread(state, seeds, hops, relations)
            found += [Scored(cube, id, score) for id, score in reached.items() if id in live]
        return sorted(found, key=lambda scored: (-scored.score, scored.id))[:limit]

    async def subgraph(self, ids: Sequence[str], scope: Scope) -> list[Link]:
        """Return the links that touch one of the ids."""
        links = [link for _, state in self._shelf.granted(scope) for link in state.links.values()]
        return list(dict.fromkeys(x for x in links if x.source in ids or x.target in ids))


def _spread(
    state: CubeState, seeds: Sequence[str], hops: int, relations: Sequence[str]
) -> dict[str, float]:
    """Return id -> strength of all that the seeds reach, by the shortest way."""
    links = [link for link in state.links.values() if not relations or link.relation in relations]
    reached = dict.fromkeys(seeds, 1.0)
    frontier = dict(reached)
    for _ in range(hops):
        ahead: dict[str, float] = {}
        for link in links:
            for here, there in ((link.source, link.target), (link.target, link.source)):
                if here in frontier and there not in reached:
                    strength = frontier[here] * link.weight / 2
                    ahead[there] = max(ahead.get(there, strength), strength)
        reached |= ahead
        frontier = ahead
    return {id: score for id, score in reached.items() if id not in seeds}
