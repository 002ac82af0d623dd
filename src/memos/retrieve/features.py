"""Features from any engine's lanes: the reference for engines that compute them themselves.

The lanes nominate, and so do their candidates for the turns beside them: a question is often
answered by the turn after the one that has its words. The union and its neighbours in their
sessions are read once, with their vectors, and every feature is computed here from texts, vectors
and the cube's term statistics.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from memos.analysis import count_terms, index_text, words
from memos.dates import Span
from memos.errors import InvalidInput
from memos.filters import EVERYTHING, And, Filter, Not, Or, Test, matches
from memos.ports import refusals
from memos.ports.stores import Feature, Features, Question, RecordStore, TextIndex, VectorIndex
from memos.relevance import (
    CUES,
    NEIGHBOUR_WEIGHT,
    NOMINATING,
    SPANS,
    TOLD_WITHIN,
    WIDEST,
    backdrop,
    centred,
    is_reply,
    length_norm,
    rarest,
    rarity,
    saturation,
    timeliness,
    without_names,
)
from memos.telemetry import span
from memos.traits import traits
from memos.types import Memory, Place, Scope, Statistics, Vector

Column = NDArray[np.float32]
_REACH: Final = SPANS[NOMINATING] + WIDEST
"""How far from a lane's candidate there are turns that count."""


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
        await self._check_embedder(question, cube, scope)
        statistics = await self.text.statistics(list(question.terms), cube, scope)
        vector, centre = question.vector, None
        if vector is not None:
            centre = await self.vectors.centre(cube, scope)
            vector = centred(vector, centre)
        asked = without_names(question.terms, statistics.speakers)
        asked = rarest(asked, statistics.documents, statistics.frequencies)
        question = replace(question, vector=vector, terms=asked)
        terms, visible = list(question.terms), replace(question, where=_unexpired(question))
        with span("lane_seconds", lane="text"):
            holding = await self._holding(terms, visible, scope)
        times = tuple(days.by(statistics.newest) for days in question.times)
        with span("lane_seconds", lane="vector"):
            nearest = await self._nearest(visible, scope)
        with span("lane_seconds", lane="time"):
            told = await self._told(replace(visible, times=times), scope)
        anchors = sorted({*holding, *nearest, *told})
        near = await self.records.around(anchors, scope, _REACH) if anchors else []
        hood = _Neighbourhood(near, statistics)
        beside = hood.windows(holding, SPANS[NOMINATING]) | hood.windows(nearest, 1) | {*told}
        ids = sorted(id for id in beside if matches(visible.where, hood[id]))
        if ids and question.vector is not None:
            seen = sorted(hood.windows(ids, 1))
            hood.vectors = await self.records.vectors(seen, scope, question.embedder)
        columns = hood.columns(ids, replace(question, times=times))
        lanes, words_held = _lanes(ids, columns, nearest), hood.words(ids, terms)
        if told:
            lanes["time"] = _ranks(ids, told)
        sessions = hood.sessions(ids)
        weights = {
            term: weight * rarity(statistics.documents, statistics.frequencies[term])
            for term, weight in question.terms.items()
        }
        found = Features(
            cube, tuple(ids), columns, lanes, words_held, sessions, weights,
            *backdrop(vector, centre), hood.days(ids),
        )  # fmt: skip
        return _cut(found, question)

    async def _check_embedder(self, question: Question, cube: str, scope: Scope) -> None:
        if question.vector is None:
            return
        serving = await self.records.embedder(cube, scope)
        if serving is not None and serving != question.embedder:
            raise refusals.other_embedder(cube, serving, question.embedder)

    async def _holding(self, terms: Sequence[str], asked: Question, scope: Scope) -> list[str]:
        """Return memories with words of the query; other ones' words speak for their neighbours."""
        if not terms:
            return []
        selected = await self.text.match(terms, scope, asked.where, asked.limit)
        others = await self.text.match(terms, scope, EVERYTHING, asked.limit)
        return [scored.id for scored in (*selected, *others)]

    async def _nearest(self, asked: Question, scope: Scope) -> list[str]:
        if asked.vector is None:
            return []
        (found,) = await self.vectors.nearest([asked.vector], scope, asked.where, asked.limit)
        return [scored.id for scored in found]

    async def _told(self, asked: Question, scope: Scope) -> list[str]:
        """Return the nearest of what was said on the days asked about, or soon after."""
        if asked.vector is None or not asked.times:
            return []
        said = Or(tuple(_said_around(span) for span in asked.times))
        where = And((asked.where, said))
        (found,) = await self.vectors.nearest([asked.vector], scope, where, asked.limit)
        return [scored.id for scored in found]


def _said_around(span: Span) -> Filter:
    first, last = (date.fromordinal(day) for day in (span.first, span.last + TOLD_WITHIN))
    return And(
        (
            Test("valid_from", "gte", first.isoformat()),
            Test("valid_from", "lt", (last + timedelta(days=1)).isoformat()),
        )
    )


def _unexpired(question: Question) -> Filter:
    """Return the question's filter, for memories that have not expired when it is asked."""
    late = Test("expires_at", "gt", question.at.isoformat())
    return And((question.where, Or((Not(Test("expires_at", "exists", value=True)), late))))


def _lanes(
    ids: Sequence[str], columns: Mapping[Feature, Column], nearest: Sequence[str]
) -> dict[str, NDArray[np.int32]]:
    """Return every candidate's rank in the lanes that an engine with the whole cube would have."""
    lanes: dict[str, NDArray[np.int32]] = {}
    if Feature.BM25 in columns:
        text = columns[Feature.BM25] + columns[NOMINATING]
        lanes["text"] = _ranks(ids, [id for id, score in _best(ids, text) if score > 0])
    if Feature.COSINE_NEAR in columns:
        lanes["vector"] = _ranks(ids, nearest)
        window = _best(ids, columns[Feature.COSINE_NEAR])
        lanes["window"] = _ranks(ids, [id for id, _ in window])
    return lanes


def _best(ids: Sequence[str], scores: Column) -> list[tuple[str, float]]:
    pairs = zip(ids, cast("list[float]", scores.tolist()), strict=True)
    return sorted(pairs, key=lambda pair: -pair[1])


def _ranks(ids: Sequence[str], ranked: Iterable[str]) -> NDArray[np.int32]:
    rank = {id: index for index, id in enumerate(ranked)}
    return np.array([rank.get(id, -1) for id in ids], np.int32)


def _cut(found: Features, question: Question) -> Features:
    """Return the candidates that are among the first of some lane."""
    lanes = {
        name: np.where(ranks < question.limit, ranks, -1) for name, ranks in found.lanes.items()
    }
    nominated = np.zeros(len(found.ids), bool)
    for ranks in lanes.values():
        nominated |= ranks >= 0
    kept = np.flatnonzero(nominated)
    return replace(
        found,
        ids=tuple(found.ids[i] for i in kept),
        columns={feature: column[kept] for feature, column in found.columns.items()},
        lanes={name: ranks[kept].astype(np.int32) for name, ranks in lanes.items()},
        words={term: holds[kept] for term, holds in found.words.items()},
        sessions=None if found.sessions is None else found.sessions[kept],
        days=None if found.days is None else found.days[kept],
    )


class _Neighbourhood:
    """Candidates among the live turns around them.

    Attributes:
        vectors: Those of the candidates and of the turns next to them.
    """

    def __init__(self, near: Sequence[Memory], statistics: Statistics) -> None:
        self.vectors: Mapping[str, Vector] = {}
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

    def __getitem__(self, id: str) -> Memory:
        return self._memories[id]

    def windows(self, ids: Iterable[str], span: int) -> set[str]:
        """Return the ids up to ``span`` places from any of ``ids``, without those that are gone."""
        return {near for id in ids if id in self._chain for near in self._window(id, span)}

    def sessions(self, ids: Sequence[str]) -> NDArray[np.int32]:
        """Return, for every id, the number of its session."""
        numbers: dict[int, int] = {}
        chains = [id(self._chain[memory][0]) for memory in ids]
        return np.array([numbers.setdefault(chain, len(numbers)) for chain in chains], np.int32)

    def words(self, ids: Sequence[str], terms: Sequence[str]) -> dict[str, NDArray[np.bool_]]:
        """Return, for every term that any of ``ids`` holds, which of them do."""
        held = {term: np.array([term in self._terms[id] for id in ids], bool) for term in terms}
        return {term: holds for term, holds in held.items() if holds.any()}

    def days(self, ids: Sequence[str]) -> NDArray[np.int32]:
        """Return the first and the last day that each speaks of."""
        told = [traits(self._memories[id])[2:] for id in ids]
        return np.array(told, np.int32).reshape(len(told), 2)

    def columns(self, ids: Sequence[str], question: Question) -> dict[Feature, Column]:
        """Return every feature of ``ids``."""
        columns: dict[Feature, Column] = {}
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
        columns[Feature.REPLY] = np.array(
            [is_reply(self._memories[id].speaker) for id in ids], np.float32
        )
        return columns | self._traits(ids, question.times)

    def _traits(self, ids: Sequence[str], times: tuple[Span, ...]) -> dict[Feature, Column]:
        told = [traits(self._memories[id]) for id in ids]
        found = {
            feature: np.array([bool(one.cues & cue) for one in told], np.float32)
            for feature, cue in CUES.items()
        }
        if times:
            days = np.array([one[1:] for one in told], np.int32).reshape(len(told), 3)
            found[Feature.TIME] = timeliness(times, *days.T)
        return found

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
                rare = rarity(self._statistics.documents, self._statistics.frequencies[term])
                score += weight * rare * float(saturation(np.array(frequency, np.float32), norm))
        return score

    def _cosines(self, id: str, query: Vector) -> tuple[float, float]:
        own = self._dot(id, query)
        others = [self._dot(other, query) for other in self._window(id, 1) if other != id]
        total = own + NEIGHBOUR_WEIGHT * sum(others)
        return own, total / (1 + NEIGHBOUR_WEIGHT * len(others))

    def _dot(self, id: str, query: Vector) -> float:
        vector = self.vectors.get(id)
        return 0.0 if vector is None else float(vector @ query)
