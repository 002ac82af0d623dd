"""The beginning of an answer that comes piece by piece."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from anyio import CancelScope

from memos.chat.conversation import ChatStreamEvent


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
