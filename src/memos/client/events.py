"""Server-sent events as values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Generic, TypeVar

import msgspec

from memos.chat.conversation import ChatDone, ChatStreamEvent, Recalled
from memos.client.calls import decoder
from memos.client.failures import Problem, of_problem, unreadable
from memos.ports.models import ReasoningDelta, TextDelta

E = TypeVar("E")
CHAT: Final[Mapping[str, type[ChatStreamEvent]]] = {
    "recalled": Recalled,
    "delta": TextDelta,
    "reasoning": ReasoningDelta,
    "done": ChatDone,
}


class Events(Generic[E]):
    """Reads the lines of one stream (WHATWG HTML, server-sent events)."""

    def __init__(
        self, shapes: Mapping[str, type[E]], last: frozenset[str] = frozenset({"done"})
    ) -> None:
        """Read no line yet.

        Args:
            shapes: Name of an event -> what it holds.
            last: The events that end a stream.
        """
        self._shapes = shapes
        self._last = last
        self._name = ""
        self._data: list[str] = []
        self._done = False

    def take(self, line: str) -> E | None:
        """Return the event that ends with this line, if one does; unknown ones are passed over.

        Raises:
            MemosError: What the server reports in the stream.
            UpstreamError: An event is not what it should be.
        """
        if line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "event":
                self._name = value
            elif name == "data":
                self._data.append(value)
            return None
        name, data = self._name, "\n".join(self._data)
        self._name, self._data = "", []
        try:
            return self._event(name, data)
        except msgspec.MsgspecError as error:
            raise unreadable(error) from error

    def end(self) -> None:
        """Say that the stream ended.

        Raises:
            UpstreamError: It ended before the answer did.
        """
        if not self._done:
            raise unreadable("the stream ended before the answer did")

    def _event(self, name: str, data: str) -> E | None:
        if name == "error":
            raise of_problem(decoder(Problem).decode(data))
        shape = self._shapes.get(name)
        self._done = self._done or name in self._last
        return None if shape is None else decoder(shape).decode(data)
