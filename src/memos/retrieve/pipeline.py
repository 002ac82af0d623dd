"""A search from question to hits."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import anyio
from msgspec import structs

from memos.analysis import query_terms, words
from memos.dates import spans
from memos.errors import ConfigError, InvalidInput, UpstreamError
from memos.filters import Filter, matches
from memos.ports.models import Embedder, Reranker
from memos.ports.stores import FeatureIndex, Features, Question, RecordStore
from memos.retrieve.aspects import asking, aspects
from memos.retrieve.pack import Dedup, pack
from memos.retrieve.recipe import Recipe
from memos.retrieve.rerank import RERANKED, Reranked, rerank
from memos.retrieve.score import Order, Ranked
from memos.telemetry import observe, span
from memos.types import Memory, Scope, Vector

_SPARE: Final = 1.2
"""How many more rows than hits are read at first, so that dropped ones have a successor."""
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


@dataclass(frozen=True, slots=True)
class Why:
    """Why a memory was found.

    Attributes:
        lanes: Lane -> its rank there, from 0.
        parts: What each feature added to the score.
        features: The features themselves: cosines, BM25 of the turn and of its windows, ...
        words: The query's index terms that the text holds.
    """

    lanes: Mapping[str, int]
    parts: Mapping[str, float]
    features: Mapping[str, float]
    words: tuple[str, ...]


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
    """

    memory: Memory
    score: float
    why: Why
    repeats: tuple[Memory, ...] = ()
    relativity: float = 0.0


@dataclass(frozen=True, slots=True)
class Trace:
    """What a search did: milliseconds by step, candidates that were scored, the recipe."""

    timings_ms: Mapping[str, float]
    candidates: int
    recipe: str


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
    narrow: Callable[[Scope, str], Scope]
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
        questions, degraded = await self._prepare(query)
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

    async def _prepare(self, query: Query) -> tuple[list[Question], tuple[str, ...]]:
        """Return the question, its sentences where they ask for several things, and what failed."""
        texts = [query.text, *(aspects(query.text) if query.recipe.aspects else ())]
        vectors: Sequence[Vector | None] = [None] * len(texts)
        degraded: tuple[str, ...] = ()
        if query.recipe.meaning:
            try:
                with span("embed_seconds", role="query"):
                    vectors = list(await self.embedder.embed(texts, "query"))
            except UpstreamError as error:
                if not query.recipe.text:
                    raise
                degraded = (f"vector: {error.code}",)
        speakers = words(query.text)
        times = spans(asking(query.text), query.at.date())
        questions = [
            Question(
                vector, "" if vector is None else self.embedder.name,
                query_terms(text) if query.recipe.text else {},
                speakers, query.where, query.at, query.as_of, query.candidates,
                times,
            )
            for text, vector in zip(texts, vectors, strict=True)
        ]  # fmt: skip
        return questions, degraded

    async def _features(self, questions: Sequence[Question], scope: Scope) -> list[list[Features]]:
        """Return, for every question, the candidates of every cube; all are asked at once."""
        cubes = sorted(scope.grants)
        if len(cubes) == len(questions) == 1:
            return [[await self.features.features(questions[0], cubes[0], scope)]]
        found: dict[tuple[int, str], Features] = {}

        async def look(number: int, cube: str) -> None:
            narrowed = scope if len(cubes) == 1 else self.narrow(scope, cube)
            found[number, cube] = await self.features.features(questions[number], cube, narrowed)

        async with anyio.create_task_group() as tasks:
            for number in range(len(questions)):
                for cube in cubes:
                    tasks.start_soon(look, number, cube)
        return [[found[number, cube] for cube in cubes] for number in range(len(questions))]

    async def _hits(self, order: Order | Reranked, query: Query, scope: Scope) -> tuple[Hit, ...]:
        most = query.limit if query.budget is None else query.budget // _TOKENS_PER_MEMORY + 1
        want = min(len(order), int(min(most, query.limit) * _SPARE) + 4)
        while True:
            rows = await self._read(order.keys(want), query, scope)
            packed = pack(rows.values(), limit=query.limit, budget=query.budget, dedup=query.dedup)
            if len(packed) >= query.limit or want == len(order):
                break
            want = min(len(order), want * 4)
        rank_of = {key: rank for rank, key in enumerate(order.keys(want))}
        return tuple(
            _hit(order[rank_of[memory.place.cube, memory.id]], memory, tuple(repeats))
            for memory, *repeats in packed
        )

    async def _read(
        self, keys: Sequence[tuple[str, str]], query: Query, scope: Scope
    ) -> dict[tuple[str, str], Memory]:
        """Read candidates; those that moved on since their lanes looked are left out."""
        if not keys:
            return {}
        ids = list(dict.fromkeys(id for _, id in keys))
        if query.as_of is None:
            found = await self.records.get(ids, scope)
        else:
            found = await self._past(ids, query.as_of, scope)
        rows = {
            (memory.place.cube, memory.id): memory
            for memory in found
            if memory.retired_at is None and matches(query.where, memory)
        }
        return {key: rows[key] for key in keys if key in rows}

    async def _past(self, ids: Sequence[str], as_of: datetime, scope: Scope) -> list[Memory]:
        versions = [version for id in ids for version in await self.records.history(id, scope)]
        return [
            structs.replace(version, retired_at=None, superseded_by=None, status="activated")
            for version in versions
            if version.recorded_at is not None
            and version.recorded_at <= as_of
            and (version.retired_at is None or version.retired_at > as_of)
        ]


def _hit(ranked: Ranked, memory: Memory, repeats: tuple[Memory, ...]) -> Hit:
    why = Why(ranked.lanes, ranked.parts, ranked.features, ranked.words)
    return Hit(memory, ranked.score, why, repeats, ranked.relativity)
