"""Searches as recipes have them: once, or with a model's help, with the web, with earlier turns."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from memos.errors import ConfigError, InvalidInput, MemosError, UpstreamError
from memos.ports.models import ChatModel
from memos.ports.web import WebPage, WebSearch
from memos.retrieve import think
from memos.retrieve.aspects import shortened
from memos.retrieve.earlier import KEPT, Conversation, Earlier, conversation
from memos.retrieve.fuse import fused
from memos.retrieve.pack import Key, cost_of, room
from memos.retrieve.pages import as_memories, shared_words
from memos.retrieve.pipeline import Hit, Query, Retrieve, SearchResult, Why, most
from memos.retrieve.together import together
from memos.telemetry import count
from memos.types import Memory, Scope

_Rankings = dict[str, Sequence[Hit]]


@dataclass(frozen=True, slots=True)
class Search:
    """Answers questions for one account.

    Attributes:
        retrieve: Finds memories for one question.
        web: The search engine, if one is configured.
        thinker: Cube -> the chat model whose calls are accounted to it; None without a model.
        earlier: What earlier turns found; shared by all accounts of a process.
    """

    retrieve: Retrieve
    web: WebSearch | None = None
    thinker: Callable[[str], ChatModel] | None = None
    earlier: Earlier = field(default_factory=Earlier)

    def reranks(self, asked: object) -> bool:
        """Return whether to rerank; see ``Retrieve.reranks``."""
        return self.retrieve.reranks(asked)

    def browses(self, asked: object) -> bool:
        """Return whether to ask the web.

        Raises:
            InvalidInput: It is no truth value.
            ConfigError: No search engine is configured.
        """
        if not isinstance(asked, bool):
            raise InvalidInput(f"internet: expected true or false, got {asked!r:.80}")
        if asked and self.web is None:
            raise ConfigError(
                "no search engine is configured: set web.kind (memos.toml) or MEMOS_WEB__KIND, "
                "for example to 'searxng'",
                code="no_web",
            )
        return asked

    async def search(self, query: Query, scope: Scope) -> SearchResult:
        """Return the hits of ``query`` over the cubes of ``scope``, then the web's, if asked for.

        Of a question that is a long text only the ends are asked.

        Raises:
            StoreError: The record store failed. A failing model or engine only degrades the answer.
            Conflict: A cube was embedded with another model.
        """
        query = replace(query, text=shortened(query.text))
        if query.internet and self.web is not None:
            return await self._with_pages(query, scope, self.web)
        return await self._memories(query, scope)

    async def _memories(self, query: Query, scope: Scope) -> SearchResult:
        if query.recipe.thinks:
            return await self._fine(query, scope)
        if query.recipe.recalls:
            return await self._mixture(query, scope)
        return await self.retrieve.search(query, scope)

    # --- the web

    async def _with_pages(self, query: Query, scope: Scope, web: WebSearch) -> SearchResult:
        pages: list[WebPage] = []
        failed: list[str] = []
        found: list[SearchResult] = []

        async def browse() -> None:
            try:
                pages.extend(await web.find(query.text, query.limit))
            except UpstreamError as error:
                failed.append(f"web: {error.code}")

        async def remember() -> None:
            found.append(await self._memories(query, scope))

        await together(remember, browse)
        (result,) = found
        known = [hit.memory for hit in result.hits]
        shown = [memory for hit in result.hits for memory in (hit.memory, *hit.neighbours)]
        made = as_memories(pages, web.name, scope.account, known)[: query.limit]
        hits = [
            Hit(memory, 0.0, Why({"web": place}, {}, {}, shared_words(query.text, memory)))
            for place, memory in enumerate(_fitting(made, room(query.budget, shown)))
        ]
        return replace(result, hits=(*result.hits, *hits), degraded=(*result.degraded, *failed))

    # --- a model's help

    async def _fine(self, query: Query, scope: Scope) -> SearchResult:
        """Search with what a model adds: queries before, and what is missing after."""
        model = self._model(scope)
        if model is None:
            result = await self.retrieve.search(query, scope)
            return replace(result, degraded=(*result.degraded, f"{query.recipe.name}: no_chat"))
        started = time.perf_counter()
        wide = _wide(query)
        first: list[SearchResult] = []
        planned: list[str] = []
        failed: list[str] = []

        async def look() -> None:
            first.append(await self.retrieve.search(wide, scope))

        async def think_first() -> None:
            try:
                planned.extend(await think.plan(model, query.text, query.at))
            except UpstreamError as error:
                failed.append(f"{query.recipe.name}: {error.code}")

        await together(look, think_first)
        (result,) = first
        rankings: _Rankings = {"question": result.hits}
        asked = await self._widen(rankings, planned, wide, scope)
        if not failed:
            try:
                found = [hit.memory for hit in fused(rankings)]
                more = await think.missing(model, query.text, query.at, found, [query.text, *asked])
                asked += await self._widen(rankings, more, wide, scope)
            except UpstreamError as error:
                failed.append(f"{query.recipe.name}: {error.code}")
        hits = await self.retrieve.cut(fused(rankings), query, scope)
        timings = {**result.trace.timings_ms, "fine": (time.perf_counter() - started) * 1000}
        return replace(
            result,
            hits=hits,
            degraded=(*result.degraded, *failed),
            trace=replace(result.trace, timings_ms=timings, asked=tuple(asked)),
        )

    async def _widen(
        self, rankings: _Rankings, queries: Sequence[str], wide: Query, scope: Scope
    ) -> list[str]:
        """Search for more, all at once, and return what was asked."""

        def look(text: str) -> Callable[[], Awaitable[SearchResult]]:
            return lambda: self.retrieve.search(replace(wide, text=text, rerank=False), scope)

        for result in await together(*map(look, queries)):
            rankings[f"query {len(rankings)}"] = result.hits
        return list(queries)

    def _model(self, scope: Scope) -> ChatModel | None:
        if self.thinker is None or not scope.grants:
            return None
        own = scope.principal
        return self.thinker(own if own in scope.grants else min(scope.grants))

    # --- earlier turns

    async def _mixture(self, query: Query, scope: Scope) -> SearchResult:
        """Search fast, and merge what better searches found for earlier turns."""
        if query.session is None:
            result = await self.retrieve.search(query, scope)
            return replace(result, degraded=(*result.degraded, "mixture: no_session"))
        of = conversation(scope, query.session)
        turns = self.earlier.turns(of)
        result = await self.retrieve.search(_wide(query) if turns else query, scope)
        if turns:
            held = await self._still(turns, query, scope)
            rankings: _Rankings = {"question": result.hits, **_ranked(turns, held)}
            hits = await self.retrieve.cut(fused(rankings), query, scope)
            result = replace(result, hits=hits)
        if self.thinker is None:
            return replace(result, degraded=(*result.degraded, "mixture: no_chat"))
        self.earlier.start(self._for_later(of, query, scope))
        return result

    async def _for_later(self, of: Conversation, query: Query, scope: Scope) -> None:
        try:
            few = replace(query, neighbours=0, budget=None, limit=min(KEPT, most(query)))
            found = await self._fine(few, scope)
        except MemosError as error:
            count("searches_for_later", outcome=error.code)
            return
        self.earlier.keep(of, [(hit.memory.place.cube, hit.memory.id) for hit in found.hits])

    async def _still(
        self, turns: Sequence[Sequence[Key]], query: Query, scope: Scope
    ) -> Mapping[Key, Memory]:
        """Return those memories of earlier turns that may be shown now."""
        keys = list(dict.fromkeys(key for turn in turns for key in turn))
        return await self.retrieve.read(keys, query, scope)


def _wide(query: Query) -> Query:
    """Return the query for a ranking that others are merged with: cut and packed later."""
    return replace(query, dedup="none", neighbours=0, budget=None, limit=most(query))


def _ranked(
    turns: Sequence[Sequence[Key]], held: Mapping[Key, Memory]
) -> Mapping[str, Sequence[Hit]]:
    nothing = Why({}, {}, {}, ())
    return {
        f"turn -{age}": [Hit(held[key], 0.0, nothing) for key in turn if key in held]
        for age, turn in enumerate(turns, 1)
    }


def _fitting(memories: Sequence[Memory], left: int | None) -> list[Memory]:
    kept: list[Memory] = []
    for memory in memories:
        cost = 0 if left is None else cost_of(memory)
        if left is None or cost <= left:
            left = None if left is None else left - cost
            kept.append(memory)
    return kept
