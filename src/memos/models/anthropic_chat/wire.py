"""What goes over the wire to Anthropic's ``/v1/messages``, and what comes back.

An answer in JSON is asked for as the input of a tool that the model has to call.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

import msgspec

from memos.models._http.chat import Reported, status_of
from memos.models._http.gathering import Gathering
from memos.models._http.service import events, sendable
from memos.ports.models import ChatEvent, ChatMessage, FinishReason, Generation, Usage

_ANSWER: Final = "answer"
_MARK: Final[Mapping[str, object]] = {"cache_control": {"type": "ephemeral"}}
_FINISHES: Final[Mapping[str, FinishReason]] = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


class _Counts(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None


class _Block(msgspec.Struct):
    type: str = ""
    id: str = ""
    name: str = ""
    text: str = ""
    thinking: str = ""
    input: msgspec.Raw = msgspec.Raw(b"")


class _Delta(msgspec.Struct):
    type: str = ""
    text: str = ""
    thinking: str = ""
    partial_json: str = ""
    stop_reason: str | None = None


class _Message(msgspec.Struct):
    usage: _Counts | None = None


class _Fault(msgspec.Struct):
    type: str = ""
    message: str = ""


class _Document(msgspec.Struct):
    type: str
    index: int = 0
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: _Counts | None = None
    error: _Fault | None = None
    content: list[_Block] | None = None
    stop_reason: str | None = None


@dataclass(frozen=True, slots=True)
class AnthropicDialect:
    """Requests and answers as Anthropic writes them.

    Attributes:
        model: The model to ask for.
        max_tokens: Most tokens of an answer, which the API wants to know.
        options: Further fields of every request; those that are None are left out.
        cache: Mark the end of the unchanging part of a prompt.
        thinking_tokens: How much the model may think, None for not at all.
    """

    model: str
    max_tokens: int
    options: Mapping[str, object]
    cache: bool
    thinking_tokens: int | None

    def body(
        self, messages: Sequence[ChatMessage], how: Generation, *, streamed: bool
    ) -> Mapping[str, object]:
        """Return the body of a request."""
        system = [sendable(message.text) for message in messages if message.role == "system"]
        said = [message for message in messages if message.role != "system"]
        body: dict[str, object] = {
            "model": self.model,
            "max_tokens": how.max_tokens or self.max_tokens,
            "stream": streamed,
            **{name: value for name, value in self.options.items() if value is not None},
        }
        if system:
            body["system"] = self._marked(
                [{"type": "text", "text": text} for text in system], cache=self.cache
            )
        # All but the last message come again in the next prompt.
        body["messages"] = [
            {
                "role": "assistant" if message.role == "assistant" else "user",
                "content": self._marked(
                    _blocks(message), cache=self.cache and place == len(said) - 2
                ),
            }
            for place, message in enumerate(said)
        ]
        return {**body, **self._tools(how)}

    def _tools(self, how: Generation) -> Mapping[str, object]:
        tools: list[object] = [
            {"name": tool.name, "description": tool.description, "input_schema": tool.parameters}
            for tool in how.tools
        ]
        if how.schema is not None:
            tools.append({"name": _ANSWER, "description": "Answer.", "input_schema": how.schema})
            return {"tools": tools, "tool_choice": {"type": "tool", "name": _ANSWER}}
        asked: dict[str, object] = {"tools": tools} if tools else {}
        if self.thinking_tokens is not None:  # not together with a tool that must be called
            asked["thinking"] = {"type": "enabled", "budget_tokens": self.thinking_tokens}
        return asked

    def _marked(
        self, blocks: list[Mapping[str, object]], *, cache: bool
    ) -> list[Mapping[str, object]]:
        return [*blocks[:-1], {**blocks[-1], **_MARK}] if cache else blocks

    async def payloads(self, lines: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
        """Yield the data of server-sent events."""
        async with aclosing(events(lines)) as documents:
            async for document in documents:
                yield document

    def read(self, payload: str | bytes, gathering: Gathering) -> Iterator[ChatEvent]:
        """Take in one event, or a whole message."""
        document = msgspec.json.decode(payload, type=_Document)
        if document.error is not None:
            raise Reported(document.error.message, status_of(document.error.type))
        _count(document.usage or (document.message and document.message.usage), gathering)
        if document.type == "message":
            yield from _whole(document, gathering)
        elif document.content_block is not None:
            yield from _begun(document.index, document.content_block, gathering)
        elif document.delta is not None:
            yield from _continued(document.index, document.delta, gathering)


def _blocks(message: ChatMessage) -> list[Mapping[str, object]]:
    text = sendable(message.text)
    if message.role == "tool":
        return [{"type": "tool_result", "tool_use_id": message.tool_call_id, "content": text}]
    blocks: list[Mapping[str, object]] = [{"type": "text", "text": text}] if text else []
    blocks += [
        {
            "type": "tool_use",
            "id": call.id,
            "name": call.name,
            "input": msgspec.Raw(call.arguments.encode()),
        }
        for call in message.tool_calls
    ]
    return blocks or [{"type": "text", "text": " "}]


def _whole(document: _Document, gathering: Gathering) -> Iterator[ChatEvent]:
    for index, block in enumerate(document.content or ()):
        yield from _begun(index, block, gathering)
        written = bytes(block.input).decode()
        if written:
            yield from _continued(index, _Delta(partial_json=written), gathering)
    _end(document.stop_reason, gathering)


def _begun(index: int, block: _Block, gathering: Gathering) -> Iterator[ChatEvent]:
    if block.thinking:
        yield from gathering.reasoning(block.thinking)
    if block.text:
        yield from gathering.text(block.text)
    if block.type == "tool_use" and block.name != _ANSWER:
        gathering.call(index, id=block.id, name=block.name)


def _continued(index: int, delta: _Delta, gathering: Gathering) -> Iterator[ChatEvent]:
    if delta.thinking:
        yield from gathering.reasoning(delta.thinking)
    if delta.text:
        yield from gathering.text(delta.text)
    if delta.partial_json and gathering.knows(index):
        gathering.call(index, arguments=delta.partial_json)
    elif delta.partial_json:  # the input of the tool that stands for the answer
        yield from gathering.text(delta.partial_json)
    _end(delta.stop_reason, gathering)


def _end(reason: str | None, gathering: Gathering) -> None:
    if reason is not None:
        finish: FinishReason = _FINISHES.get(reason, "stop")
        # The tool that stands for the answer is none.
        gathering.finish = "stop" if finish == "tool_calls" and not gathering.calls else finish


def _count(counts: _Counts | None, gathering: Gathering) -> None:
    """Add to what was counted: the prompt comes first, the answer at the end."""
    if counts is None:
        return
    before = gathering.usage or Usage(0, 0)
    cached = counts.cache_read_input_tokens or 0
    prompt = (counts.input_tokens or 0) + cached + (counts.cache_creation_input_tokens or 0)
    gathering.usage = Usage(
        max(prompt, before.prompt),
        counts.output_tokens or before.completion,
        max(cached, before.cached),
    )
