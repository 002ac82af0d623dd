"""From pieces of an answer, in whatever order a provider sends them, to the events of a stream."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from memos.ports.models import (
    ChatEvent,
    Finished,
    FinishReason,
    ReasoningDelta,
    Reply,
    TextDelta,
    ToolCall,
    Usage,
)

_OPEN: Final = "<think>"
_CLOSE: Final = "</think>"
_MILLION: Final = 1_000_000
_State: TypeAlias = Literal["start", "thinking", "thought", "said"]


class Incomplete(ValueError):
    """The answer ended before the provider said that it was at its end."""


@dataclass(frozen=True, slots=True)
class Prices:
    """What a million tokens cost; without a price of their own cached ones cost as others do."""

    prompt: float | None = None
    completion: float | None = None
    cached: float | None = None

    def priced(self, usage: Usage) -> Usage:
        """Return ``usage`` with its cost, unless it has one or there are no prices."""
        if usage.cost is not None or (self.prompt is None and self.completion is None):
            return usage
        prompt, completion = self.prompt or 0.0, self.completion or 0.0
        cached = prompt if self.cached is None else self.cached
        cost = (usage.prompt - usage.cached) * prompt + usage.cached * cached
        return replace(usage, cost=(cost + usage.completion * completion) / _MILLION)


class Thinking:
    """Splits off what stands between ``<think>`` and ``</think>`` at the start of a text."""

    def __init__(self) -> None:
        self._state: _State = "start"
        self._held = ""

    def split(self, piece: str) -> tuple[str, str]:
        """Return what of the text so far, and not returned before, is reasoning and what is said.

        What may be the beginning of a tag is held back until more comes.
        """
        self._held += piece
        reasoning = ""
        if self._state == "start":
            begun = self._held.lstrip()
            if begun.startswith(_OPEN):
                self._state, self._held = "thinking", begun.removeprefix(_OPEN)
            elif not _OPEN.startswith(begun):
                self._state = "said"
        if self._state == "thinking":
            reasoning = self._thought()
        if self._state == "thought":  # blank lines after the tag belong to nobody
            self._held = self._held.lstrip()
            if self._held:
                self._state = "said"
        return reasoning, self._take() if self._state == "said" else ""

    def rest(self) -> tuple[str, str]:
        """Return what was held back when nothing more comes."""
        held = self._take()
        return (held, "") if self._state == "thinking" else ("", held)

    def _thought(self) -> str:
        before, closed, after = self._held.partition(_CLOSE)
        if closed:
            self._state, self._held = "thought", after
            return before
        kept = next(n for n in range(len(_CLOSE) - 1, -1, -1) if before.endswith(_CLOSE[:n]))
        self._held = before[len(before) - kept :]
        return before[: len(before) - kept]

    def _take(self) -> str:
        held, self._held = self._held, ""
        return held


@dataclass(slots=True)
class _Call:
    id: str = ""
    name: str = ""
    arguments: str = ""


class Gathering:
    """An answer under way; its methods yield what is new.

    Attributes:
        finish: Why it ended, None as long as the provider did not say.
        usage: What the provider counted so far.
    """

    def __init__(self, model: str, prices: Prices) -> None:
        self.finish: FinishReason | None = None
        self.usage: Usage | None = None
        self._model = model
        self._prices = prices
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: dict[int, _Call] = {}
        self._thinking = Thinking()

    @property
    def begun(self) -> bool:
        """Whether anything came."""
        return bool(self._text or self._reasoning or self._calls)

    @property
    def calls(self) -> int:
        """How many tool calls there are so far."""
        return len(self._calls)

    def knows(self, index: int) -> bool:
        """Whether a tool call of that number has begun."""
        return index in self._calls

    def text(self, piece: str) -> Iterator[ChatEvent]:
        """Go on with the text."""
        yield from self._said(*self._thinking.split(piece))

    def reasoning(self, piece: str) -> Iterator[ChatEvent]:
        """Go on with the reasoning."""
        yield from self._said(piece, "")

    def call(self, index: int, *, id: str = "", name: str = "", arguments: str = "") -> None:
        """Go on with a tool call; it is handed on, whole, at the end."""
        call = self._calls.setdefault(index, _Call())
        call.id = id or call.id
        call.name = name or call.name
        call.arguments += arguments

    def end(self) -> Iterator[ChatEvent]:
        """Yield what is left, and the answer as a whole.

        Raises:
            Incomplete: The provider did not say that the answer is at its end.
        """
        if self.finish is None:
            raise Incomplete
        yield from self._said(*self._thinking.rest())
        calls = tuple(
            ToolCall(call.id or f"call_{index}", call.name, call.arguments or "{}")
            for index, call in sorted(self._calls.items())
        )
        yield from calls
        finish = "tool_calls" if calls and self.finish == "stop" else self.finish
        usage = None if self.usage is None else self._prices.priced(self.usage)
        reasoning = "".join(self._reasoning)
        yield Finished(Reply("".join(self._text), self._model, finish, reasoning, calls, usage))

    def _said(self, reasoning: str, text: str) -> Iterator[ChatEvent]:
        if reasoning:
            self._reasoning.append(reasoning)
            yield ReasoningDelta(reasoning)
        if text:
            self._text.append(text)
            yield TextDelta(text)
