"""Answers that come piece by piece: how they begin, and what a piece looks like."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Final

from anyio import CancelScope

from memos.chat.conversation import ChatStreamEvent

EVENT_HEADERS: Final = {"X-Accel-Buffering": "no"}
"""What keeps proxies from collecting events."""


def sent(name: str, data: object) -> str:
    """Return a server-sent event."""
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"


async def begun(events: AsyncGenerator[ChatStreamEvent, None]) -> ChatStreamEvent:
    """Return the first event; what fails before it has a status of its own, and ends the stream."""
    first: list[ChatStreamEvent] = []
    try:
        first.append(await anext(events))
    finally:
        if not first:
            with CancelScope(shield=True):
                await events.aclose()
    return first[0]
