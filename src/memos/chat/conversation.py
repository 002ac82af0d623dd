"""An exchange: recall, prompt, stream, and remember what was said, once, however it ends."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias

import anyio

from memos import options as opt
from memos.chat.accounting import Meter, MeteredChat
from memos.chat.fallback import FallbackChat
from memos.chat.history import TURN_NUMBER, cited_numbers, said
from memos.chat.prompt import Frame, Prompt, kept, prompt
from memos.errors import ConfigError
from memos.filters import Filter, parse
from memos.ingest import reader
from memos.ingest.pipeline import Ingest
from memos.options import ChatOptions
from memos.ports.models import (
    ChatModel,
    Finished,
    FinishReason,
    Generation,
    ReasoningDelta,
    Reply,
    TextDelta,
    Usage,
)
from memos.ports.stores import RecordStore
from memos.retrieve.pages import is_page
from memos.retrieve.pipeline import Query, SearchResult
from memos.retrieve.recipe import Recipe, named
from memos.retrieve.search import Search
from memos.types import Json, Memory, Place, Scope
from memos.users.access import Gate

_PREFERENCE: Final = "preference"
_PREFERENCES: Final = 8
"""Preferences of a prompt at most."""
_ROWS_PER_TURN: Final = 16
"""Rows of a session that are read for every turn of the window: long messages have several."""
_MAX_BUDGET: Final = 10_000_000
DEFAULT_SESSION: Final = "chat"


@dataclass(frozen=True, slots=True)
class Recalled:
    """The first event of a chat: the memories in the prompt; the first is cited as [1].

    Pages of the web, if it was asked, come behind the memories; they are of no cube.
    """

    memories: tuple[Memory, ...]
    preferences: tuple[Memory, ...]


@dataclass(frozen=True, slots=True)
class Citation:
    """A memory that the answer cites, and its number there."""

    number: int
    memory: Memory


@dataclass(frozen=True, slots=True)
class ChatResult:
    """An answer, what it rests on, and where the exchange is kept.

    Attributes:
        text: The answer.
        cited: The memories that it cites, in the order of their numbers.
        memories: All memories that were in the prompt, pages of the web behind them.
        preferences: The preferences that were in it.
        session: The conversation that it belongs to.
        ids: The memories that the exchange became; empty when it was not to be remembered.
        model: The model that answered.
        finish: Why it ended; "length" when it was cut off.
        reasoning: What the model thought aloud, which is not remembered.
        usage: What the service counted, None when it does not say.
        degraded: What failed in the search and is not in the answer.
    """

    text: str
    cited: tuple[Citation, ...]
    memories: tuple[Memory, ...]
    preferences: tuple[Memory, ...]
    session: str
    ids: tuple[str, ...]
    model: str
    finish: FinishReason
    reasoning: str
    usage: Usage | None
    degraded: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ChatDone:
    """The last event of a chat."""

    result: ChatResult


ChatStreamEvent: TypeAlias = Recalled | TextDelta | ReasoningDelta | ChatDone


@dataclass(frozen=True, slots=True)
class ChatDefaults:
    """What holds when a call does not say."""

    account: str
    user: str
    session: str | None
    frame: Frame
    limit: int
    recipe: str
    candidates: int
    chunk_tokens: int
    max_characters: int


@dataclass(frozen=True, slots=True)
class _Asked:
    """A checked call."""

    question: str
    place: Place
    session: str
    exchange: str
    where: Filter
    limit: int
    recipe: Recipe
    at: datetime
    frame: Frame
    how: Generation
    remember: bool
    internet: bool
    reading: Scope
    writing: Scope


@dataclass(frozen=True, slots=True)
class _Context:
    """What is known before the model is asked."""

    prompt: Prompt
    turn: int
    degraded: tuple[str, ...]


def metered(models: Sequence[ChatModel], meter: Meter, cube: str) -> ChatModel:
    """Return models as one, asked in their order, whose calls are accounted to a cube."""
    counted = [MeteredChat(model, meter, cube) for model in models]
    return counted[0] if len(counted) == 1 else FallbackChat(*counted)


@dataclass(frozen=True, slots=True)
class Chat:
    """Talks with the configured models, in order of preference, about what is remembered."""

    models: tuple[ChatModel, ...]
    meter: Meter
    gate: Gate
    records: RecordStore
    search: Search
    ingest: Ingest
    defaults: ChatDefaults
    now: Callable[[], datetime]
    new_id: Callable[[], str]

    async def answer(self, query: str, options: ChatOptions) -> ChatResult:
        """Return the whole answer."""
        async with aclosing(self.stream(query, options)) as events:
            async for event in events:
                if isinstance(event, ChatDone):
                    return event.result
        raise AssertionError

    async def stream(
        self, query: str, options: ChatOptions
    ) -> AsyncGenerator[ChatStreamEvent, None]:
        """Yield the answer as it comes; closing the generator ends and remembers the exchange."""
        asked = await self._asked(query, options)
        context = await self._context(asked)
        model = self._model(asked.place.cube)
        pieces: list[str] = []
        reply: Reply | None = None
        ids: tuple[str, ...] = ()
        try:
            yield Recalled(context.prompt.memories, context.prompt.preferences)
            async with aclosing(model.stream(context.prompt.messages, asked.how)) as events:
                async for event in events:
                    match event:
                        case TextDelta():
                            pieces.append(event.text)
                            yield event
                        case ReasoningDelta():
                            yield event
                        case Finished():
                            reply = event.reply
                        case _:  # no tools are offered
                            pass
        finally:
            # The caller went away, the model failed, or all is well: once, in each case.
            with anyio.CancelScope(shield=True):
                text = "".join(pieces) if reply is None else reply.text
                ids = await self._remember(asked, context, text, reply)
        yield ChatDone(_result(asked, context, reply, ids))

    async def _asked(self, query: str, options: ChatOptions) -> _Asked:
        opt.known(options, ChatOptions)
        if not self.models:
            raise ConfigError(
                "no chat model is configured: set chat.kind and chat.model (memos.toml), or "
                "MEMOS_CHAT__KIND and MEMOS_CHAT__MODEL, for example to 'openai' and 'gpt-4o-mini'",
                code="no_chat_model",
            )
        user = opt.name(options.get("user"), "user") or self.defaults.user
        given = opt.name(options.get("cube"), "cube")
        cube = given or user
        remember = opt.flag(options.get("remember", True), "remember")
        writing = await self.gate.scope(user, [cube], "write" if remember else "read")
        cubes = options.get("cubes")
        named_cubes = opt.names(cubes, "cubes") if cubes is not None else given and [given]
        session = opt.name(options.get("session"), "session") or self.defaults.session
        session = session or DEFAULT_SESSION
        frame, budget = self.defaults.frame, options.get("budget")
        length = options.get("max_tokens")
        return _Asked(
            question=opt.text(query, "query").strip(),
            place=Place(
                self.defaults.account, cube, user,
                opt.name(options.get("agent"), "agent"), opt.name(options.get("app"), "app"),
                session,
            ),
            session=session,
            exchange=opt.name(options.get("batch_id"), "batch_id") or self.new_id(),
            where=parse(options.get("where")),
            limit=opt.count(options.get("limit", self.defaults.limit), "limit"),
            recipe=named(options.get("recipe", self.defaults.recipe)),
            at=opt.moment(options.get("at"), "at") or self.now(),
            frame=Frame(
                opt.text(options.get("system", frame.system), "system"),
                frame.budget if budget is None else opt.count(budget, "budget", _MAX_BUDGET),
                frame.turns,
            ),
            how=Generation(
                max_tokens=None if length is None else opt.count(length, "max_tokens", _MAX_BUDGET)
            ),
            remember=remember,
            internet=self.search.browses(options.get("internet", False)),
            reading=await self.gate.scope(user, named_cubes or None, "read"),
            writing=writing,
        )  # fmt: skip

    async def _context(self, asked: _Asked) -> _Context:
        rows = self.defaults.frame.turns * _ROWS_PER_TURN + 1
        tail = await self.records.tail(asked.place, asked.writing, rows)
        session = said(tail.memories)
        history = kept(asked.frame, session, asked.question)
        shown = {id for message in history for id in message.ids}
        found, liked = await self._search(asked, len(shown))
        shown |= {hit.memory.id for hit in liked.hits}
        known = [hit for hit in found.hits if not is_page(hit.memory)]
        fresh = [hit.memory for hit in known if hit.memory.id not in shown]
        pages = [hit.memory for hit in found.hits[len(known) :]]
        made = prompt(
            asked.frame, history, asked.question, asked.at,
            memories=fresh[: asked.limit],
            pages=pages[: asked.limit],
            preferences=[hit.memory for hit in liked.hits],
        )  # fmt: skip
        degraded = tuple(dict.fromkeys((*found.degraded, *liked.degraded)))
        return _Context(made, session[-1].turn + 1 if session else 0, degraded)

    async def _search(self, asked: _Asked, shown: int) -> tuple[SearchResult, SearchResult]:
        """Return what answers the question, and the preferences that bear on it.

        ``shown`` memories stand in the history and do not count.
        """
        liked = parse({"kind": _PREFERENCE})
        results: dict[str, SearchResult] = {}

        async def look(
            what: str, where: Filter, limit: int, recipe: Recipe, *, internet: bool = False
        ) -> None:
            query = Query(
                text=asked.question, where=where, limit=limit, budget=None, recipe=recipe,
                dedup=recipe.dedup, at=asked.at, as_of=None,
                candidates=max(self.defaults.candidates, limit), session=asked.session,
                internet=internet,
            )  # fmt: skip
            results[what] = await self.search.search(query, asked.reading)

        # The question is embedded once: the second search finds its vector in the cache.
        most = asked.limit + shown + _PREFERENCES
        await look("memories", asked.where, most, asked.recipe, internet=asked.internet)
        await look("preferences", liked, _PREFERENCES, asked.recipe.alone())
        return results["memories"], results["preferences"]

    def _model(self, cube: str) -> ChatModel:
        return metered(self.models, self.meter, cube)

    async def _remember(
        self, asked: _Asked, context: _Context, text: str, reply: Reply | None
    ) -> tuple[str, ...]:
        """Keep what was said by both sides, and nothing of what was recalled."""
        if not asked.remember:
            return ()
        messages = [_message(asked, context, "user", asked.question)]
        if text.strip():
            used = [citation.memory for citation in _cited(context.prompt, text)]
            cited: list[Json] = [memory.id for memory in used if not is_page(memory)]
            told: dict[str, Json] = {"cited": cited} if cited else {}
            role = "assistant"
            if reply is None:
                told["incomplete"] = True
                role = "assistant/incomplete"  # a repeated call may still bring the whole answer
            messages.append(_message(asked, context, role, text) | told)
        reading = reader.Reading(
            asked.place, self.defaults.chunk_tokens, self.defaults.max_characters, reader.Shared()
        )
        added = await self.ingest.add(reader.read(messages, reading), asked.writing, None)
        return added.ids


def _message(asked: _Asked, context: _Context, part: str, text: str) -> dict[str, Json]:
    """Return a message whose id makes a repeated exchange known."""
    return {
        "role": part.partition("/")[0],
        "content": text.replace("\0", " ").encode("utf-8", "replace").decode("utf-8"),
        "message_id": f"{asked.exchange}/{part}",
        "chat_time": asked.at,
        TURN_NUMBER: context.turn,
    }


def _cited(made: Prompt, text: str) -> tuple[Citation, ...]:
    numbers = sorted(set(cited_numbers(text)))
    return tuple(
        Citation(number, made.memories[number - 1])
        for number in numbers
        if 0 < number <= len(made.memories)
    )


def _result(
    asked: _Asked, context: _Context, reply: Reply | None, ids: Sequence[str]
) -> ChatResult:
    if reply is None:  # a stream that does not end with Finished has raised
        raise AssertionError
    return ChatResult(
        text=reply.text,
        cited=_cited(context.prompt, reply.text),
        memories=context.prompt.memories,
        preferences=context.prompt.preferences,
        session=asked.session,
        ids=tuple(ids),
        model=reply.model,
        finish=reply.finish,
        reasoning=reply.reasoning,
        usage=reply.usage,
        degraded=context.degraded,
    )
