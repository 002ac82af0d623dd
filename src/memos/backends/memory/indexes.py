"""Vector and text index of the reference engine: every live memory is looked at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from memos.backends.memory.shelf import CubeState, Row, Shelf
from memos.filters import Filter, matches
from memos.ports import refusals
from memos.relevance import length_norm, rarity, saturation
from memos.traits import said_on
from memos.types import Change, Scope, Scored, Statistics, Vector


class Indexes:
    """``VectorIndex`` and ``TextIndex`` over the records themselves, so nothing has to follow."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    async def sync(self, changes: Sequence[Change]) -> None:
        """Do nothing: the records are the index."""

    async def nearest(
        self, vectors: Sequence[Vector], scope: Scope, where: Filter, limit: int
    ) -> list[list[Scored]]:
        """Return the nearest memories of each query vector."""
        return [_best(self._near(vector, scope, where), limit) for vector in vectors]

    def _near(self, query: Vector, scope: Scope, where: Filter) -> Iterable[Scored]:
        for cube, state in self._shelf.granted(scope):
            if state.embedder is None:
                continue
            dimensions = self._shelf.dimensions[state.embedder]
            if dimensions != len(query):
                raise refusals.other_query(cube, dimensions, len(query))
            for row in state.live():
                vector = row.vectors.get(state.embedder)
                if vector is not None and matches(where, row.memory):
                    yield Scored(cube, row.memory.id, float(vector @ query))

    async def centre(self, cube: str, scope: Scope) -> Vector | None:
        """Return the mean vector of a cube."""
        refusals.check_read(scope, cube)
        state = self._shelf.cube(scope, cube)
        if state.embedder is None:
            return None
        rows = [row.vectors.get(state.embedder) for row in state.live()]
        held = [vector for vector in rows if vector is not None]
        return np.stack(held).mean(axis=0, dtype=np.float64).astype(np.float32) if held else None

    async def match(
        self, terms: Sequence[str], scope: Scope, where: Filter, limit: int
    ) -> list[Scored]:
        """Return memories that hold any of the terms, by BM25."""
        return _best(self._holding(terms, scope, where), limit)

    def _holding(self, terms: Sequence[str], scope: Scope, where: Filter) -> Iterable[Scored]:
        for cube, state in self._shelf.granted(scope):
            statistics = _statistics(terms, state)
            for row in state.live():
                if any(term in row.terms for term in terms) and matches(where, row.memory):
                    yield Scored(cube, row.memory.id, _bm25(terms, row, statistics))

    async def statistics(self, terms: Sequence[str], cube: str, scope: Scope) -> Statistics:
        """Return the live frequencies of ``terms`` in a cube."""
        refusals.check_read(scope, cube)
        return _statistics(terms, self._shelf.cube(scope, cube))


def _best(found: Iterable[Scored], limit: int) -> list[Scored]:
    return sorted(found, key=lambda scored: (-scored.score, scored.id))[:limit]


def _statistics(terms: Sequence[str], state: CubeState) -> Statistics:
    live = state.live()
    words = sum(sum(row.terms.values()) for row in live)
    frequencies = {term: sum(term in row.terms for row in live) for term in terms}
    speakers = frozenset(row.memory.speaker for row in live if row.memory.speaker is not None)
    days = [day.toordinal() for row in live if (day := said_on(row.memory)) is not None]
    mean = words / len(live) if live else 0.0
    return Statistics(len(live), mean, frequencies, speakers, max(days, default=0))


def _bm25(terms: Sequence[str], row: Row, statistics: Statistics) -> float:
    length = np.array(sum(row.terms.values()), np.float32)
    norm = length_norm(length, statistics.mean_length, 0)
    return sum(
        rarity(statistics.documents, statistics.frequencies[term])
        * float(saturation(np.array(row.terms[term], np.float32), norm))
        for term in dict.fromkeys(terms)
        if term in row.terms
    )
