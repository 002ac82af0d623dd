"""Chat in the dialects: whole answers, and MemOS's sequences of server-sent events."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

import uuid_utils
from fastapi.responses import Response, StreamingResponse

from memos.chat.conversation import ChatResult, ChatStreamEvent, Recalled
from memos.chat.prompt import PLACEHOLDER, SYSTEM
from memos.errors import MemosError
from memos.options import ChatOptions
from memos.ports.models import ReasoningDelta, TextDelta
from memos.retrieve.pages import is_page
from memos.server.compat import callers
from memos.server.compat.bodies import ChatIn
from memos.server.compat.cloudbodies import CloudChatIn
from memos.server.compat.items import item, preferences_text
from memos.server.compat.selectors import where
from memos.server.deps import Visit
from memos.server.streams import begun
from memos.telemetry import span

_HEADERS: Final = {"X-Accel-Buffering": "no"}
_HISTORY: Final = 20
"""Messages of a history that a client sends which go into the prompt."""
Events: TypeAlias = Sequence[Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, and how to answer it."""

    query: str
    options: ChatOptions


@dataclass(frozen=True, slots=True)
class Form:
    """Which events a kind of stream has around the pieces of the answer.

    Attributes:
        opening: What comes first, from the question and what was recalled.
        reasoning: What comes before the first piece of reasoning.
        text: What comes before the first piece of text.
        closing: What comes last, from the seconds that everything took.
    """

    opening: Callable[[str, Recalled], Events] = lambda _query, _recalled: ()
    reasoning: Events = ()
    text: Events = ()
    closing: Callable[[float], Events] = lambda _seconds: ()


def _status(word: str) -> Mapping[str, object]:
    return {"type": "status", "data": word}


def _references(recalled: Recalled) -> Mapping[str, object]:
    shown = [{"metadata": item(memory)["metadata"]} for memory in recalled.memories]
    return {"type": "reference", "data": shown}


def _playing(query: str, recalled: Recalled) -> Events:
    text, _ = preferences_text(recalled.preferences, query)
    liked = {"type": "pref_md_string", "data": text}
    return [_status("0"), _status("1"), _references(recalled), liked]


def _ended(seconds: float) -> Events:
    """Return the last events of a playground; the time is what it took, the gain is not guessed."""
    taken = {"total_time": round(seconds, 3), "speed_improvement": "0%"}
    return [
        {"type": "time", "data": taken},
        {"type": "suggestion", "data": []},
        {"type": "end"},
    ]


PLAIN: Final = Form()
PLAYGROUND: Final = Form(
    _playing, [_status("reasoning")], [_status("2")],
    lambda seconds: [{"type": "internet_reference", "data": []}, *_ended(seconds)],
)  # fmt: skip
FIRST: Final = Form(
    lambda _query, recalled: [_status("0"), _status("1"), _references(recalled)],
    text=[_status("2")],
    closing=_ended,
)


async def asked(visit: Visit, body: ChatIn | CloudChatIn) -> Asked:
    """Return what a body asks, of whom, over which cubes."""
    visit.caller.limits.check_write()
    user = await callers.subject(visit, body.user_id)
    reads, writes, session, mode = [user], user, body.session_id, None
    history: Sequence[Mapping[str, object]] = ()
    if isinstance(body, ChatIn):
        one = [] if body.mem_cube_id is None else [body.mem_cube_id]
        named = body.readable_cube_ids or one
        (writes, *_) = await callers.reaching(visit, user, body.writable_cube_ids or one)
        reads = await callers.reaching(visit, user, named)
        history = () if session else body.history or ()
        mode = body.mode
    given: dict[str, Any] = {
        "user": user,
        "cube": writes,
        "cubes": reads,
        # A conversation without a name is not gone on with, as MemOS does not either.
        "session": session or str(uuid_utils.uuid7()),
        "where": where(body.filter, reads),
        "limit": body.top_k,
        "recipe": mode,
        "max_tokens": body.max_tokens,
        "remember": body.add_message_on_answer,
        "agent": body.agent_id,
        "app": body.app_id,
        "system": _system(body.system_prompt, history),
    }
    options = {name: value for name, value in given.items() if value is not None}
    return Asked(body.query, cast("ChatOptions", options))


async def whole(visit: Visit, body: ChatIn | CloudChatIn) -> ChatResult:
    """Return the answer to a body."""
    question = await asked(visit, body)
    with span("chat_seconds"):
        return await visit.mos.chat(question.query, **question.options)


async def streamed(visit: Visit, body: ChatIn | CloudChatIn, form: Form) -> Response:
    """Return the answer to a body, piece by piece; what fails at once has a status of its own."""
    start = time.perf_counter()
    question = await asked(visit, body)
    events = visit.mos.chat_stream(question.query, **question.options)
    first = await begun(events)
    lines = _lines(_Stream(visit, question, form, start), first, events)
    return StreamingResponse(lines, 200, _HEADERS, "text/event-stream")


@dataclass(frozen=True, slots=True)
class _Stream:
    visit: Visit
    asked: Asked
    form: Form
    start: float


async def _lines(
    stream: _Stream, first: ChatStreamEvent, events: AsyncGenerator[ChatStreamEvent, None]
) -> AsyncIterator[str]:
    recalled = first if isinstance(first, Recalled) else Recalled((), ())
    cubes = sorted({memory.place.cube for memory in recalled.memories if not is_page(memory)})
    user = stream.asked.options.get("user", "")
    before = {ReasoningDelta: stream.form.reasoning, TextDelta: stream.form.text}
    async with aclosing(events):
        try:
            for line in stream.form.opening(stream.asked.query, recalled):
                yield sent(line)
            async for event in events:
                # Who lost its key or its rights meanwhile gets nothing more.
                await stream.visit.tenants.check(stream.visit.caller, user, cubes)
                if not isinstance(event, TextDelta | ReasoningDelta):
                    continue
                for line in before.pop(type(event), ()):
                    yield sent(line)
                kind = "text" if isinstance(event, TextDelta) else "reasoning"
                yield sent({"type": kind, "data": event.text})
        except MemosError as error:
            yield sent({"type": "error", "content": error.detail, "data": error.code})
            return
    for line in stream.form.closing(time.perf_counter() - stream.start):
        yield sent(line)


def sent(event: Mapping[str, object]) -> str:
    """Return an event as a line of a stream."""
    return f"data: {json.dumps(event, ensure_ascii=False, default=str)}\n\n"


def _system(given: str | None, history: Sequence[Mapping[str, object]]) -> str | None:
    """Return the system text of a call, with the history that the client keeps itself."""
    said = [
        f"{message.get('role', 'user')}: {message.get('content')}".replace(PLACEHOLDER, "{...}")
        for message in history[-_HISTORY:]
        if isinstance(message.get("content"), str)
    ]
    if not said:
        return given or None
    before, placeholder, after = (given or SYSTEM).partition(PLACEHOLDER)
    earlier = "\n".join(["The conversation so far:", *said])
    return f"{before.rstrip()}\n\n{earlier}\n\n{placeholder}{after}"
