"""Adds that wait for the same commit go on as one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final, Generic, TypeVar

from memos.errors import MemosError

Item = TypeVar("Item")
Result = TypeVar("Result")

_RETURN_S: Final = 0.005
"""How long the first of those who were answered together may take to come back."""
_PAUSE_S: Final = 0.001
"""How long it waits for the others then."""


class Line(Generic[Item, Result]):
    """Where items wait while others are being written.

    They would wait for the writer anyway; here they wait before anything was done for them, so that
    it is done once for all of them. Callers who were answered at once tend to come back at once:
    the line pauses for them, or each time the quickest would go alone and make all others wait.

    ``work`` takes several items, returns a result for each, and tells the line while it writes. It
    must be harmless to repeat: when it fails for several, each is tried by itself.
    """

    def __init__(self, work: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]]) -> None:
        self._work = work
        self._writing = 0
        self._waiting: list[tuple[Item, asyncio.Future[Result | None]]] = []
        self._expected = 0
        self._pause: asyncio.TimerHandle | None = None
        self._next: asyncio.Task[None] | None = None

    async def run(self, item: Item) -> Result:
        """Return the result for ``item``, worked out alone or with others."""
        if self._writing or self._pause or self._next:
            future: asyncio.Future[Result | None] = asyncio.get_running_loop().create_future()
            self._waiting.append((item, future))
            if self._pause:
                self._returned()
            result = await future
            if result is not None:
                return result
        return (await self._work([item]))[0]

    def writing(self, count: int) -> Writing:
        """Return what holds the line while ``count`` items are being written."""
        return Writing(self, count)

    def begin(self) -> None:
        """Let who comes now wait."""
        self._writing += 1

    def end(self, count: int) -> None:
        """Go on, if nothing else is being written, after ``count`` items were."""
        self._writing -= 1
        if self._writing or self._next or self._pause:
            return
        if count > 1:
            self._expected = count + len(self._waiting)
            self._rest(_PAUSE_S if self._waiting else _RETURN_S)
        elif self._waiting:
            self._go()

    def _returned(self) -> None:
        if len(self._waiting) >= self._expected:
            self._go()
        elif len(self._waiting) == 1:
            self._rest(_PAUSE_S)

    def _rest(self, seconds: float) -> None:
        if self._pause:
            self._pause.cancel()
        self._pause = asyncio.get_running_loop().call_later(seconds, self._go)

    def _go(self) -> None:
        if self._pause:
            self._pause.cancel()
            self._pause = None
        if self._waiting:
            self._next = asyncio.get_running_loop().create_task(self._together())

    async def _together(self) -> None:
        task, self._next = self._next, None  # held, so that nobody collects it meanwhile
        group, self._waiting = self._waiting, []
        group = [(item, future) for item, future in group if not future.cancelled()]
        try:
            with suppress(MemosError):
                items = [item for item, _ in group]
                results = await self._work(items) if items else ()
                for (_, future), result in zip(group, results, strict=True):
                    if not future.done():
                        future.set_result(result)
        finally:
            for _, future in group:
                if not future.done():
                    future.set_result(None)
            del task


class Writing:
    """Holds a line for a while."""

    def __init__(self, line: Line[Any, Any], count: int) -> None:
        self._line = line
        self._count = count

    def __enter__(self) -> None:
        self._line.begin()

    def __exit__(self, *_error: object) -> None:
        self._line.end(self._count)
