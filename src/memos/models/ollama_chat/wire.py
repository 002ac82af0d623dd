"""What goes over the wire to Ollama's ``/api/chat``, and the JSON lines that come back."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import msgspec

from memos.models._http.chat import Reported
from memos.models._http.gathering import Gathering
from memos.models._http.service import sendable
from memos.ports.models import ChatEvent, ChatMessage, Generation, Usage


class _Function(msgspec.Struct):
    name: str = ""
    arguments: object = None


class _Call(msgspec.Struct):
    function: _Function


class _Said(msgspec.Struct):
    content: str = ""
    thinking: str | None = None
    tool_calls: list[_Call] | None = None


class _Document(msgspec.Struct):
    message: _Said | None = None
    done: bool = False
    done_reason: str | None = None
    prompt_eval_count: int = 0
    eval_count: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True)
class OllamaDialect:
    """Requests and answers as Ollama writes them.

    Attributes:
        model: The model to ask for.
        fields: Further fields of every request; those that are None are left out.
        options: The model's own parameters, likewise.
    """

    model: str
    fields: Mapping[str, object]
    options: Mapping[str, object]

    def body(
        self, messages: Sequence[ChatMessage], how: Generation, *, streamed: bool
    ) -> Mapping[str, object]:
        """Return the body of a request."""
        options = _present(self.options)
        if how.max_tokens is not None:
            options["num_predict"] = how.max_tokens
        body: dict[str, object] = {
            "model": self.model,
            "stream": streamed,
            **_present(self.fields),
            "messages": [_written(message) for message in messages],
        }
        if options:
            body["options"] = options
        if how.schema is not None:
            body["format"] = how.schema
        if how.tools:
            body["tools"] = [
                {"type": "function", "function": msgspec.to_builtins(tool)} for tool in how.tools
            ]
        return body

    async def payloads(self, lines: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
        """Yield the lines that hold anything."""
        async with aclosing(lines):
            async for line in lines:
                if line.strip():
                    yield line

    def read(self, payload: str | bytes, gathering: Gathering) -> Iterator[ChatEvent]:
        """Take in one line, or a whole answer."""
        document = msgspec.json.decode(payload, type=_Document)
        if document.error is not None:
            raise Reported(document.error)
        said = document.message
        if said is None and not document.done:
            raise ValueError("no message")
        if said is not None:
            if said.thinking:
                yield from gathering.reasoning(said.thinking)
            if said.content:
                yield from gathering.text(said.content)
            for call in said.tool_calls or ():
                arguments = msgspec.json.encode(call.function.arguments or {}).decode()
                gathering.call(gathering.calls, name=call.function.name, arguments=arguments)
        if document.done:
            gathering.finish = "length" if document.done_reason == "length" else "stop"
            gathering.usage = Usage(document.prompt_eval_count, document.eval_count)


def _present(values: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}


def _written(message: ChatMessage) -> Mapping[str, object]:
    written: dict[str, object] = {"role": message.role, "content": sendable(message.text)}
    if message.tool_calls:
        written["tool_calls"] = [
            {"function": {"name": call.name, "arguments": msgspec.Raw(call.arguments.encode())}}
            for call in message.tool_calls
        ]
    return written
