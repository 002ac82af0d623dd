"""Adds that wait for the same commit go on as one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Generic, Self, TypeVar

from memos.errors import MemosError

Item = TypeVar("Item")
Result = TypeVar("Result")


class Line(Generic[Item, Result]):
    """Where items wait while others are being written.

    They would wait for the writer anyway; here they wait before anything was done for them, so that
    it is done once for all of them. ``work`` takes several items, returns a result for each, and
    enters the line while it writes. It must be harmless to repeat: when it fails for several, each
    is tried by itself.
    """

    def __init__(self, work: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]]) -> None:
        self._work = work
        self._writing = 0
        self._waiting: list[tuple[Item, asyncio.Future[Result | None]]] = []
        self._next: asyncio.Task[None] | None = None

    async def run(self, item: Item) -> Result:
        """Return the result for ``item``, worked out alone or with others."""
        if self._writing or self._next is not None:
            future: asyncio.Future[Result | None] = asyncio.get_running_loop().create_future()
            self._waiting.append((item, future))
            result = await future
            if result is not None:
                return result
        return (await self._work([item]))[0]

    def __enter__(self) -> Self:
        self._writing += 1
        return self

    def __exit__(
        self,
        type_: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writing -= 1
        if self._waiting and not self._writing and self._next is None:
            self._next = asyncio.get_running_loop().create_task(self._together())

    async def _together(self) -> None:
        task, self._next = self._next, None  # kept, so that nobody collects it meanwhile
        group, self._waiting = self._waiting, []
        group = [(item, future) for item, future in group if not future.cancelled()]
        try:
            with suppress(MemosError):
                results = await self._work([item for item, _ in group])
                for (_, future), result in zip(group, results, strict=True):
                    if not future.done():
                        future.set_result(result)
        finally:
            for _, future in group:
                if not future.done():
                    future.set_result(None)
            del task
