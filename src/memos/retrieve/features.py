"""Features from any engine's lanes: the reference for engines that compute them themselves.

The lanes nominate; the union and its neighbours in their sessions are read once, with their
vectors, and every feature is computed here from texts, vectors and the cube's term statistics.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memos.analysis import count_terms, index_text, words
from memos.errors import InvalidInput
from memos.ports.stores import Feature, Features, Question, RecordStore, TextIndex, VectorIndex
from memos.relevance import NEIGHBOUR_WEIGHT, SPANS, WIDEST, idf, length_norm, saturation
from memos.types import Memory, Place, Scope, Scored, Statistics, Vector


@dataclass(frozen=True, slots=True)
class LaneFeatures:
    """``FeatureIndex`` over separate ports."""

    records: RecordStore
    vectors: VectorIndex
    text: TextIndex

    async def features(self, question: Question, cube: str, scope: Scope) -> Features:
        """Return the union of the lanes' candidates with their features."""
        if question.as_of is not None:
            raise InvalidInput("this record store cannot be asked for a past state", code="as_of")
        terms = list(question.terms)
        lanes: dict[str, list[Scored]] = {}
        if terms:
            lanes["text"] = await self.text.match(terms, scope, question.where, question.limit)
        if question.vector is not None:
            (lanes["vector"],) = await self.vectors.nearest(
                [question.vector], scope, question.where, question.limit
            )
        ids = sorted({scored.id for found in lanes.values() for scored in found})
        near = await self.records.around(ids, scope, WIDEST) if ids else []
        held: Mapping[str, Vector] = {}
        if near and question.vector is not None:
            held = await self.records.vectors([m.id for m in near], scope, question.embedder)
        statistics = await self.text.statistics(terms, cube, scope)
        neighbourhood = _Neighbourhood(near, held, statistics)
        alive = [
            id
            for id in ids
            if id in neighbourhood
            and ((end := neighbourhood[id].expires_at) is None or end > question.at)
        ]
        return Features(
            cube, tuple(alive), neighbourhood.columns(alive, question), _ranks(alive, lanes)
        )


class _Neighbourhood:
    """Candidates among the live turns around them."""

    def __init__(
        self, near: Sequence[Memory], vectors: Mapping[str, Vector], statistics: Statistics
    ) -> None:
        self._vectors = vectors
        self._statistics = statistics
        self._memories = {memory.id: memory for memory in near}
        self._terms = {memory.id: count_terms(index_text(memory)) for memory in near}
        chains: dict[Place | str, list[Memory]] = defaultdict(list)
        for memory in near:
            chains[memory.id if memory.position is None else memory.place].append(memory)
        self._chain: dict[str, tuple[list[str], int]] = {}
        for chain in chains.values():
            ids = [memory.id for memory in sorted(chain, key=lambda memory: memory.position or 0)]
            self._chain |= {id: (ids, index) for index, id in enumerate(ids)}

    def __contains__(self, id: str) -> bool:
        return id in self._memories

    def __getitem__(self, id: str) -> Memory:
        return self._memories[id]

    def columns(self, ids: Sequence[str], question: Question) -> dict[Feature, NDArray[np.float32]]:
        """Return every feature of ``ids``."""
        columns: dict[Feature, NDArray[np.float32]] = {}
        if any(self._statistics.frequencies.values()):
            for feature, span in SPANS.items():
                columns[feature] = np.array(
                    [self._bm25(id, span, question.terms) for id in ids], np.float32
                )
        if question.vector is not None:
            pairs = [self._cosines(id, question.vector) for id in ids]
            columns[Feature.COSINE] = np.array([own for own, _ in pairs], np.float32)
            columns[Feature.COSINE_NEAR] = np.array([near for _, near in pairs], np.float32)
        asked = question.speakers
        columns[Feature.SPEAKER] = np.array(
            [bool(words(self._memories[id].speaker or "") & asked) for id in ids], np.float32
        )
        return columns

    def _window(self, id: str, span: int) -> list[str]:
        chain, index = self._chain[id]
        return chain[max(0, index - span) : index + span + 1]

    def _bm25(self, id: str, span: int, terms: Mapping[str, float]) -> float:
        window = self._window(id, span)
        length = np.array(sum(sum(self._terms[other].values()) for other in window), np.float32)
        norm = length_norm(length, self._statistics.mean_length, span)
        score = 0.0
        for term, weight in terms.items():
            frequency = sum(self._terms[other].get(term, 0) for other in window)
            if frequency:
                rarity = idf(self._statistics.documents, self._statistics.frequencies[term])
                score += weight * rarity * float(saturation(np.array(frequency, np.float32), norm))
        return score

    def _cosines(self, id: str, query: Vector) -> tuple[float, float]:
        own = self._dot(id, query)
        others = [self._dot(other, query) for other in self._window(id, 1) if other != id]
        total = own + NEIGHBOUR_WEIGHT * sum(others)
        return own, total / (1 + NEIGHBOUR_WEIGHT * len(others))

    def _dot(self, id: str, query: Vector) -> float:
        vector = self._vectors.get(id)
        return 0.0 if vector is None else float(vector @ query)


def _ranks(
    ids: Sequence[str], lanes: Mapping[str, Sequence[Scored]]
) -> dict[str, NDArray[np.int32]]:
    ranks: dict[str, NDArray[np.int32]] = {}
    for name, found in lanes.items():
        rank = {scored.id: index for index, scored in enumerate(found)}
        ranks[name] = np.array([rank.get(id, -1) for id in ids], np.int32)
    return ranks
