"""What goes over the wire to a ``/chat/completions`` server, and what comes back."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, cast

import msgspec

from memos.models._http.chat import Reported, status_of
from memos.models._http.gathering import Gathering
from memos.models._http.service import complaint, events, sendable
from memos.ports.models import ChatEvent, ChatMessage, FinishReason, Generation, Usage
from memos.types import JsonObject

_DONE: Final = "[DONE]"
_FINISHES: Final[Mapping[str, FinishReason]] = {
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Said(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct):
    delta: _Said | None = None
    message: _Said | None = None
    finish_reason: str | None = None


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _Details | None = None
    prompt_cache_hit_tokens: int | None = None
    cost: float | None = None


class _Document(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: object = None


@dataclass(frozen=True, slots=True)
class OpenAIDialect:
    """Requests and answers as OpenAI writes them.

    Attributes:
        model: The model to ask for.
        options: Further fields of every request; those that are None are left out.
        length_field: What the limit of an answer is called.
        schema_in_prompt: Write the schema into the prompt and ask for any JSON.
        stream_usage: Ask for token counts at the end of a stream.
    """

    model: str
    options: Mapping[str, object]
    length_field: str
    schema_in_prompt: bool
    stream_usage: bool

    def body(
        self, messages: Sequence[ChatMessage], how: Generation, *, streamed: bool
    ) -> Mapping[str, object]:
        """Return the body of a request."""
        body: dict[str, object] = {
            "model": self.model,
            **{name: value for name, value in self.options.items() if value is not None},
        }
        told = list(messages)
        if how.max_tokens is not None:
            body[self.length_field] = how.max_tokens
        if how.tools:
            body["tools"] = [
                {
                    "type": "function",
                    "function": {
                        "name": tool.name,
                        "description": tool.description,
                        "parameters": tool.parameters,
                    },
                }
                for tool in how.tools
            ]
        if how.schema is not None and self.schema_in_prompt:
            body["response_format"] = {"type": "json_object"}
            told.insert(0, ChatMessage("system", schema_told(how.schema)))
        elif how.schema is not None:
            body["response_format"] = _format(how.schema)
        if streamed:
            body["stream"] = True
        if streamed and self.stream_usage:
            body["stream_options"] = {"include_usage": True}
        return {**body, "messages": [_written(message) for message in told]}

    async def payloads(self, lines: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
        """Yield the data of server-sent events, ``[DONE]`` included."""
        async with aclosing(events(lines)) as documents:
            async for document in documents:
                yield document
                if document.strip() == _DONE:
                    return

    def read(self, payload: str | bytes, gathering: Gathering) -> Iterator[ChatEvent]:
        """Take in one chunk, or a whole completion."""
        if isinstance(payload, str) and payload.strip() == _DONE:
            if gathering.begun and gathering.finish is None:
                gathering.finish = "stop"  # some servers give no reason
            return
        document = msgspec.json.decode(payload, type=_Document)
        if document.error:
            raise _reported(document.error)
        if document.usage is not None:
            gathering.usage = _counted(document.usage)
        if isinstance(payload, bytes) and not document.choices:
            raise ValueError("no choices")
        for choice in document.choices or ():
            yield from _taken(choice.message or choice.delta or _Said(), gathering)
            if choice.finish_reason:
                gathering.finish = _FINISHES.get(choice.finish_reason, "stop")
            elif choice.message is not None:
                gathering.finish = "stop"
            break  # one answer is asked for


def schema_told(schema: JsonObject) -> str:
    """Return the words that tell a model to follow a schema where the server cannot enforce it."""
    written = msgspec.json.encode(schema).decode()
    return f"Answer with one JSON object that follows this schema: {written}"


def _format(schema: JsonObject) -> Mapping[str, object]:
    strict = schema.get("additionalProperties") is False
    named = {"name": "answer", "schema": schema, **({"strict": True} if strict else {})}
    return {"type": "json_schema", "json_schema": named}


def _written(message: ChatMessage) -> Mapping[str, object]:
    written: dict[str, object] = {"role": message.role, "content": sendable(message.text)}
    if message.tool_calls:
        written["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        written["tool_call_id"] = message.tool_call_id
    return written


def _taken(said: _Said, gathering: Gathering) -> Iterator[ChatEvent]:
    if reasoning := said.reasoning_content or said.reasoning:
        yield from gathering.reasoning(reasoning)
    if text := said.content or said.refusal:
        yield from gathering.text(text)
    for place, call in enumerate(said.tool_calls or ()):
        function = call.function or _Function()
        gathering.call(
            place if call.index is None else call.index,
            id=call.id or "",
            name=function.name or "",
            arguments=function.arguments or "",
        )


def _counted(usage: _Usage) -> Usage:
    details = usage.prompt_tokens_details
    cached = (details and details.cached_tokens) or usage.prompt_cache_hit_tokens or 0
    return Usage(usage.prompt_tokens, usage.completion_tokens, cached, usage.cost)


def _reported(error: object) -> Reported:
    said = complaint(msgspec.json.encode({"error": error}))
    if not isinstance(error, Mapping):
        return Reported(said)
    fields = cast("Mapping[str, object]", error)
    return Reported(said, status_of(fields.get("code") or fields.get("type")))
