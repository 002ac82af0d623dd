"""A search from question to hits."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from msgspec import structs

from memos.analysis import words
from memos.dates import Span, anchored, spans
from memos.errors import ConfigError, InvalidInput, UpstreamError
from memos.filters import Filter, matches
from memos.ports.models import Embedder, Reranker
from memos.ports.stores import Feature, FeatureIndex, Features, Question, RecordStore
from memos.relevance import NOMINATING
from memos.retrieve.advice import liking, towards
from memos.retrieve.anchors import meant, terms_of, without
from memos.retrieve.aspects import asking, aspects, wanted_terms
from memos.retrieve.neighbours import beside, fitting
from memos.retrieve.pack import POOL, Dedup, Key, crowded, full, pack, room, spent
from memos.retrieve.recipe import Recipe
from memos.retrieve.rerank import LANE, RERANKED, Reranked, rerank
from memos.retrieve.score import Order, Ranked
from memos.retrieve.together import together
from memos.telemetry import observe, span
from memos.types import Memory, Scope, Vector

_SPARE: Final = 1.2
"""How many more rows than hits are read at first, so that dropped ones have a successor."""
_RANKED_BY: Final[Mapping[str, Sequence[str]]] = {
    LANE: (LANE,),
    "text": (Feature.BM25, NOMINATING),
    "vector": (Feature.COSINE,),
    "window": (Feature.COSINE_NEAR,),
    "time": (Feature.COSINE,),
}
"""The features whose sum orders a lane."""
_TOKENS_PER_MEMORY: Final = 20
"""A low guess; how many memories may fit into a token budget."""


@dataclass(frozen=True, slots=True)
class Query:
    """A question and how to answer it.

    Attributes:
        text: The question.
        where: Which memories may answer.
        limit: Hits at most.
        budget: Tokens that the hits' texts may have together, or None.
        recipe: The strategy.
        dedup: What counts as said before.
        at: The moment of the question.
        as_of: Answer from what was known at that instant.
        candidates: How many each lane nominates.
        rerank: Let the reranker, if there is one, put the best in order.
        neighbours: How many turns before and after a hit are shown with it.
        internet: Ask the web, too.
        session: The conversation in which it is asked; it selects nothing.
    """

    text: str
    where: Filter
    limit: int
    budget: int | None
    recipe: Recipe
    dedup: Dedup
    at: datetime
    as_of: datetime | None
    candidates: int
    rerank: bool = True
    neighbours: int = 0
    internet: bool = False
    session: str | None = None


@dataclass(frozen=True, slots=True)
class Why:
    """Why a memory was found.

    Attributes:
        lanes: Lane -> its rank there, from 0.
        scores: Lane -> what it was ranked by there, where the lane has a number for it.
        parts: What each feature added to the score.
        features: The features themselves: cosines, BM25 of the turn and of its windows, ...
        words: The query's index terms that the text holds.
    """

    lanes: Mapping[str, int]
    parts: Mapping[str, float]
    features: Mapping[str, float]
    words: tuple[str, ...]
    scores: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True)
class Hit:
    """A memory that answers.

    Attributes:
        memory: The memory.
        score: What it was ranked by; compares hits of one search only.
        why: What the score is made of.
        repeats: Memories of the same words by the same speaker, with sources of their own.
        relativity: From 0 to 1, about how often a memory that looks like this is evidence for the
            question; compares hits of any searches and cubes, so that it can be cut at a bound.
        neighbours: Turns around it in its session, in their order, if they were asked for.
    """

    memory: Memory
    score: float
    why: Why
    repeats: tuple[Memory, ...] = ()
    relativity: float = 0.0
    neighbours: tuple[Memory, ...] = ()


@dataclass(frozen=True, slots=True)
class Trace:
    """What a search did: milliseconds by step, candidates that were scored, the recipe.

    ``asked`` is what a model had searched for beside the question.
    """

    timings_ms: Mapping[str, float]
    candidates: int
    recipe: str
    asked: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Hits, best first.

    Attributes:
        hits: What was found.
        degraded: The lanes that failed and are not in the answer.
        trace: What the search did.
        answerable: From 0 to 1: low where the memories say little of what the question asks, or
            somebody else than who is asked about says it. Orders questions; no probability.
    """

    hits: tuple[Hit, ...]
    degraded: tuple[str, ...]
    trace: Trace
    answerable: float = 0.0


class _Clock:
    """Milliseconds by step."""

    def __init__(self) -> None:
        self.steps: dict[str, float] = {}
        self._last = time.perf_counter()

    def mark(self, step: str) -> None:
        """Note what passed since the last mark."""
        now = time.perf_counter()
        self.steps[step] = (now - self._last) * 1000
        observe("search_step_seconds", now - self._last, step=step)
        self._last = now


@dataclass(frozen=True, slots=True)
class Retrieve:
    """Searches the cubes of a scope: embed, features per cube, score, read once, pack."""

    records: RecordStore
    features: FeatureIndex
    embedder: Embedder
    narrow: Callable[[Scope, Collection[str]], Scope]
    reranker: Reranker | None = None

    def reranks(self, asked: object) -> bool:
        """Return whether to rerank, when a caller asked for it, against it or not at all.

        Raises:
            InvalidInput: It is no truth value.
            ConfigError: There is no reranker.
        """
        if asked is None or isinstance(asked, bool):
            if asked and self.reranker is None:
                raise ConfigError(
                    "no reranker is configured: set reranker.kind (memos.toml) or "
                    "MEMOS_RERANKER__KIND, for example to 'cosine'",
                    code="no_reranker",
                )
            return asked is not False
        raise InvalidInput(f"rerank: expected true or false, got {asked!r:.80}")

    async def search(self, query: Query, scope: Scope) -> SearchResult:
        """Return the hits of ``query`` over the cubes of ``scope``.

        Raises:
            StoreError: The record store failed. A failing model only degrades the answer.
            Conflict: A cube was embedded with another model.
        """
        clock = _Clock()
        questions, degraded = await self._prepare(query, scope)
        clock.mark("prepare")
        found, *sentences = await self._features(questions, scope)
        clock.mark("features")
        order = Order(found, query.recipe.asked(query.text), sentences)
        clock.mark("score")
        if self.reranker is not None and query.rerank:
            rows = await self._read(order.keys(RERANKED), query, scope)
            order, failed = await rerank(self.reranker, query.text, order, rows)
            degraded += failed
            clock.mark("rerank")
        hits = await self._hits(order, query, scope)
        clock.mark("read")
        trace = Trace(clock.steps, len(order), query.recipe.name)
        return SearchResult(hits, degraded, trace, order.answerable)

    async def cut(self, hits: Sequence[Hit], query: Query, scope: Scope) -> tuple[Hit, ...]:
        """Return what fits of hits that were found already, in their order, as ``query`` wants."""
        by_key = {(hit.memory.place.cube, hit.memory.id): hit for hit in hits}
        rows = {key: hit.memory for key, hit in by_key.items()}
        packed = pack(
            rows.values(), limit=query.limit, budget=query.budget, dedup=query.dedup,
            vectors=await self._vectors(rows, query, scope),
        )  # fmt: skip
        keys = [(group[0].place.cube, group[0].id) for group in packed]
        near = await self._found(keys, query, scope, query.neighbours) if query.neighbours else []
        shown = _neighbours(packed, near, query)
        return tuple(
            replace(by_key[key], repeats=tuple(group[1:]), neighbours=shown.get(key, ()))
            for key, group in zip(keys, packed, strict=True)
        )

    async def read(self, keys: Sequence[Key], query: Query, scope: Scope) -> Mapping[Key, Memory]:
        """Return those memories that the scope and the query allow to be seen at its moment."""
        rows = await self._read(keys, query, scope)
        return {
            key: memory
            for key, memory in rows.items()
            if memory.expires_at is None or memory.expires_at > query.at
        }

    async def _prepare(self, query: Query, scope: Scope) -> tuple[list[Question], tuple[str, ...]]:
        """Return the question, its sentences where they ask for several things, and what failed."""
        text, times = await self._dated(query, scope)
        texts = [text, *(aspects(text) if query.recipe.aspects else ())]
        vectors: Sequence[Vector | None] = [None] * len(texts)
        degraded: tuple[str, ...] = ()
        if query.recipe.meaning:
            try:
                with span("embed_seconds", role="query"):
                    vectors = await self._embedded(texts, query.recipe)
            except UpstreamError as error:
                if not query.recipe.text:
                    raise
                degraded = (f"vector: {error.code}",)
        speakers = words(query.text)
        questions = [
            Question(
                vector, "" if vector is None else self.embedder.name,
                wanted_terms(text) if query.recipe.text else {},
                speakers, query.where, query.at, query.as_of, query.candidates,
                times,
            )
            for text, vector in zip(texts, vectors, strict=True)
        ]  # fmt: skip
        return questions, degraded

    async def _embedded(self, texts: Sequence[str], recipe: Recipe) -> list[Vector]:
        """Return a vector for each text; the first is the question, which may plead for advice."""
        wished = liking(texts[0]) if recipe.liking else None
        if wished is None:
            return list(await self.embedder.embed(texts, "query"))
        asked, (answer,) = await together(
            lambda: self.embedder.embed(texts, "query"),
            lambda: self.embedder.embed([wished], "passage"),
        )
        return [towards(asked[0], answer, recipe.liking), *asked[1:]]

    async def _dated(self, query: Query, scope: Scope) -> tuple[str, tuple[Span, ...]]:
        """Return what is asked, and the days that it is asked about.

        Days that count from an event are told by a memory that says when the event is, if there is
        one; the words that told them are no part of what is asked then.
        """
        if Feature.TIME not in query.recipe.weights:
            return query.text, ()
        day, asking_for = query.at.date(), asking(query.text)
        event = anchored(asking_for, day) if query.recipe.text else None
        if event is not None:
            look = Question(
                None, "", terms_of(event), words(event.anchor),
                query.where, query.at, query.as_of, query.candidates,
            )  # fmt: skip
            (found,) = await self._features([look], scope)
            if (days := meant(event, found, day)) is not None:
                return without(event, query.text), (days, *spans(event.rest, day))
        return query.text, spans(asking_for, day)

    async def _features(self, questions: Sequence[Question], scope: Scope) -> list[list[Features]]:
        """Return, for every question, the candidates of every cube; all are asked at once."""
        cubes = sorted(scope.grants)
        if len(cubes) == len(questions) == 1:
            return [[await self.features.features(questions[0], cubes[0], scope)]]
        wanted = [(question, cube) for question in questions for cube in cubes]

        def look(question: Question, cube: str) -> Callable[[], Awaitable[Features]]:
            narrowed = scope if len(cubes) == 1 else self.narrow(scope, [cube])
            return lambda: self.features.features(question, cube, narrowed)

        found = await together(*(look(question, cube) for question, cube in wanted))
        size = len(cubes)
        return [found[start : start + size] for start in range(0, len(found), size)]

    async def _hits(self, order: Order | Reranked, query: Query, scope: Scope) -> tuple[Hit, ...]:
        spare = POOL if query.dedup == "mmr" else _SPARE
        want = few = min(len(order), int(most(query) * spare) + 4)
        while True:
            keys = order.keys(want)
            found = await self._found(keys, query, scope, query.neighbours)
            rows = _held(keys, found, query)
            packed = pack(
                rows.values(), limit=query.limit, budget=query.budget, dedup=query.dedup,
                vectors=await self._vectors(rows, query, scope),
            )  # fmt: skip
            left = room(query.budget, [first for first, *_ in packed])
            if len(packed) >= query.limit or want == len(order) or full(left):
                break
            # Once more is looked for what is short enough for the rest of a budget, not for ever.
            read = list(rows.values())
            if spent(read, packed, left) or (want > few and crowded(read, packed, left)):
                break
            want = min(len(order), want * 4)
        rank_of = {key: rank for rank, key in enumerate(keys)}
        shown = _neighbours(packed, found, query)
        return tuple(
            _hit(order[rank_of[key]], memory, tuple(repeats), shown.get(key, ()))
            for memory, *repeats in packed
            for key in [(memory.place.cube, memory.id)]
        )

    async def _read(self, keys: Sequence[Key], query: Query, scope: Scope) -> dict[Key, Memory]:
        """Read candidates; those that moved on since their lanes looked are left out."""
        return _held(keys, await self._found(keys, query, scope), query)

    async def _found(
        self, keys: Sequence[Key], query: Query, scope: Scope, around: int = 0
    ) -> list[Memory]:
        """Return candidates as the store has them, with those up to ``around`` places from them."""
        if not keys:
            return []
        ids = list(dict.fromkeys(id for _, id in keys))
        if len(scope.grants) > 1:  # whoever may read thousands need not be looked for in all
            scope = self.narrow(scope, {cube for cube, _ in keys})
        if query.as_of is not None:
            return await self._past(ids, query.as_of, scope)
        if around:
            return await self.records.around(ids, scope, around)
        return await self.records.get(ids, scope)

    async def _vectors(
        self, rows: Mapping[Key, Memory], query: Query, scope: Scope
    ) -> Mapping[Key, Vector]:
        """Return the vectors of candidates, if likeness counts; versions of the past have none."""
        if query.dedup not in ("sim", "mmr") or query.as_of is not None or not rows:
            return {}
        ids: dict[str, list[str]] = {}
        for cube, id in rows:
            ids.setdefault(cube, []).append(id)

        def look(cube: str) -> Callable[[], Awaitable[Mapping[str, Vector]]]:
            narrowed = scope if len(scope.grants) == 1 else self.narrow(scope, [cube])
            return lambda: self.records.vectors(ids[cube], narrowed, self.embedder.name)

        found = await together(*map(look, ids))
        return {
            (cube, id): vector
            for cube, held in zip(ids, found, strict=True)
            for id, vector in held.items()
        }

    async def _past(self, ids: Sequence[str], as_of: datetime, scope: Scope) -> list[Memory]:
        versions = [version for id in ids for version in await self.records.history(id, scope)]
        return [
            structs.replace(version, retired_at=None, superseded_by=None, status="activated")
            for version in versions
            if version.recorded_at is not None
            and version.recorded_at <= as_of
            and (version.retired_at is None or version.retired_at > as_of)
        ]


def most(query: Query) -> int:
    """Return how many hits there may be, about: the limit, or what a budget has room for."""
    if query.budget is None:
        return query.limit
    return min(query.limit, query.budget // _TOKENS_PER_MEMORY + 1)


def _hit(
    ranked: Ranked, memory: Memory, repeats: tuple[Memory, ...], neighbours: tuple[Memory, ...]
) -> Hit:
    scores = {
        lane: sum(ranked.features.get(feature, 0.0) for feature in _RANKED_BY[lane])
        for lane in ranked.lanes
        if lane in _RANKED_BY
    }
    why = Why(ranked.lanes, ranked.parts, ranked.features, ranked.words, scores)
    return Hit(memory, ranked.score, why, repeats, ranked.relativity, neighbours)


def _held(keys: Sequence[Key], found: Sequence[Memory], query: Query) -> dict[Key, Memory]:
    rows = {
        (memory.place.cube, memory.id): memory
        for memory in found
        if memory.retired_at is None and matches(query.where, memory)
    }
    return {key: rows[key] for key in keys if key in rows}


def _neighbours(
    packed: Sequence[Sequence[Memory]], found: Sequence[Memory], query: Query
) -> Mapping[Key, tuple[Memory, ...]]:
    if not query.neighbours:
        return {}
    hits = [group[0] for group in packed]
    around = beside(hits, found, query.neighbours, query.where, query.at)
    return fitting(packed, around, room(query.budget, hits))
