"""``/v1/chat``: answers from what is remembered, whole or as server-sent events; what it took."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, Final, cast

from fastapi.responses import Response, StreamingResponse

from memos.chat.conversation import ChatStreamEvent, Recalled
from memos.errors import MemosError
from memos.options import ChatOptions, UsageOptions
from memos.ports.models import ReasoningDelta, TextDelta
from memos.retrieve.pages import is_page
from memos.server.account_schemas import SpendingsOut
from memos.server.deps import (
    Acting,
    Cube,
    Cubes,
    IdempotencyKey,
    Instant,
    Visit,
    Visiting,
    native,
    present,
)
from memos.server.problems import body_of, of_error
from memos.server.replies import problems, reply
from memos.server.schemas import ChatIn, ChatOut
from memos.server.streams import EVENT_HEADERS, begun, sent
from memos.telemetry import span
from memos.wire import to_json

router: Final = native("chat")
_EVENT: Final = {
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "event": {"enum": ["recalled", "delta", "reasoning", "done", "error"]},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
}
"""What the document says of each event."""


@router.post("/chat", response_model=ChatOut, responses=problems(409, 502))
async def chat(visit: Visiting, body: ChatIn, idempotency_key: IdempotencyKey = None) -> Response:
    """Answer from what is remembered, and remember the exchange, once per key."""
    options = await _options(visit, body, idempotency_key)
    with span("chat_seconds"):
        return reply(await visit.mos.chat(body.query, **options))


@router.post(
    "/chat/stream",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/event-stream": {"schema": _EVENT}}},
        **problems(409, 502),
    },
)
async def stream(visit: Visiting, body: ChatIn, idempotency_key: IdempotencyKey = None) -> Response:
    """Answer piece by piece: the events ``recalled``, ``delta``, ``reasoning``, ``done``.

    What fails after the first event ends the stream with ``error``. Whoever goes away ends the
    answer; what was said until then is remembered.
    """
    options = await _options(visit, body, idempotency_key)
    events = visit.mos.chat_stream(body.query, **options)
    first = await begun(events)
    lines = _lines(visit, options.get("user", ""), first, events)
    return StreamingResponse(lines, 200, EVENT_HEADERS, "text/event-stream")


@router.get("/usage", response_model=SpendingsOut, responses=problems())
async def usage(
    visit: Visiting,
    user: Acting = None,
    cube: Cube = None,
    cubes: Cubes = None,
    since: Instant = None,
) -> Response:
    """Return what chat models took for the cubes that the user may read, by day and model."""
    options = await visit.options(present(user=user, cube=cube, cubes=cubes, since=since))
    return reply(await visit.mos.usage(**cast("UsageOptions", options)))


async def _options(visit: Visit, body: ChatIn, key: str | None) -> ChatOptions:
    visit.caller.limits.check_write()
    given: dict[str, Any] = {**body.model_dump(exclude_none=True), **present(batch_id=key)}
    return cast("ChatOptions", await visit.options(given, "query"))


async def _lines(
    visit: Visit,
    user: str,
    first: ChatStreamEvent,
    events: AsyncGenerator[ChatStreamEvent, None],
) -> AsyncIterator[str]:
    used = first.memories if isinstance(first, Recalled) else ()
    cubes = sorted({memory.place.cube for memory in used if not is_page(memory)})
    async with aclosing(events):
        yield _line(first)
        try:
            async for event in events:
                # Who lost its key or its rights meanwhile gets nothing more.
                await visit.tenants.check(visit.caller, user, cubes)
                yield _line(event)
        except MemosError as error:
            yield sent("error", body_of(of_error(error)))


def _line(event: ChatStreamEvent) -> str:
    match event:
        case Recalled():
            return sent("recalled", to_json(event))
        case TextDelta(text):
            return sent("delta", {"text": text})
        case ReasoningDelta(text):
            return sent("reasoning", {"text": text})
        case _:
            return sent("done", to_json(event))
