"""What ``ChatModel`` promises, whatever it says."""

from __future__ import annotations

from contextlib import aclosing

import pytest

from memos.ports.backend import Opened
from memos.ports.models import (
    ChatEvent,
    ChatMessage,
    Finished,
    Generation,
    ReasoningDelta,
    Reply,
    TextDelta,
    ToolCall,
)
from memos.testing.contracts.making import need

_HELLO = (ChatMessage("system", "Be brief."), ChatMessage("user", "Say hello."))
_BRIEFLY = Generation(max_tokens=24)
_TALKS = (
    (ChatMessage("user", "你好，世界 😀"),),
    (ChatMessage("user", ""),),
    (ChatMessage("user", "half \ud800 of a pair, and null \0"),),
    (
        ChatMessage("user", "What is the time?"),
        ChatMessage("assistant", "Noon."),
        ChatMessage("user", "And in an hour?"),
    ),
)


async def _streamed(opened: Opened, *messages: ChatMessage) -> list[ChatEvent]:
    async with aclosing(need(opened.chat).stream(messages, _BRIEFLY)) as events:
        return [event async for event in events]


@pytest.mark.anyio
class Chats:
    """Expects a model that has something to say to a greeting."""

    async def test_reply(self, opened: Opened) -> None:
        """'Return the whole answer.'"""
        reply = await need(opened.chat).reply(_HELLO, _BRIEFLY)
        assert isinstance(reply, Reply)
        assert reply.text or reply.reasoning or reply.tool_calls
        assert reply.finish in ("stop", "length", "tool_calls", "content_filter")

    async def test_finished_is_last(self, opened: Opened) -> None:
        """'The last event, and only it, is ``Finished``.'"""
        events = await _streamed(opened, *_HELLO)
        assert [type(event) for event in events].count(Finished) == 1
        assert isinstance(events[-1], Finished)

    async def test_deltas_are_the_reply(self, opened: Opened) -> None:
        """'The deltas together are the reply's text and reasoning; every tool call comes once.'"""
        *deltas, last = await _streamed(opened, *_HELLO)
        assert isinstance(last, Finished)
        said = "".join(event.text for event in deltas if isinstance(event, TextDelta))
        thought = "".join(event.text for event in deltas if isinstance(event, ReasoningDelta))
        calls = tuple(event for event in deltas if isinstance(event, ToolCall))
        assert (said, thought, calls) == (
            last.reply.text, last.reply.reasoning, last.reply.tool_calls,
        )  # fmt: skip

    async def test_no_delta_is_empty(self, opened: Opened) -> None:
        """'The next piece of the answer; never empty.'"""
        events = await _streamed(opened, *_HELLO)
        assert all(e.text for e in events if isinstance(e, TextDelta | ReasoningDelta))

    async def test_closing(self, opened: Opened) -> None:
        """'Closing the generator ends the request': and the model can be asked again."""
        model = need(opened.chat)
        for _ in range(3):
            async with aclosing(model.stream(_HELLO, _BRIEFLY)) as events:
                async for _event in events:
                    break
        assert await model.reply(_HELLO, _BRIEFLY)

    @pytest.mark.parametrize("talk", range(len(_TALKS)))
    async def test_every_string_is_taken(self, opened: Opened, talk: int) -> None:
        """Any text of any script, and any number of turns."""
        assert isinstance((await _streamed(opened, *_TALKS[talk]))[-1], Finished)

    async def test_usage_counts(self, opened: Opened) -> None:
        """'Tokens that a call took; ``cached`` of the prompt's came from the provider's cache.'"""
        usage = (await need(opened.chat).reply(_HELLO, _BRIEFLY)).usage
        if usage is not None:
            assert 0 <= usage.cached <= usage.prompt
            assert usage.completion >= 0

    async def test_model_is_named(self, opened: Opened) -> None:
        """'The model that answered, as its adapter is called.'"""
        model = need(opened.chat)
        assert model.name
        assert (await model.reply(_HELLO, _BRIEFLY)).model == model.name
