"""Work on its way to the writer's thread, and its results on their way back."""

from __future__ import annotations

import asyncio
import queue
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeAlias, TypeVar

import apsw

T = TypeVar("T")
Work: TypeAlias = Callable[[apsw.Connection], Any]


class Task:
    """A unit of work that waits for the writer.

    Attributes:
        transaction: Whether it has to run inside one.
        error: What went wrong the last time it was tried.
        since: When it began to wait, by ``time.perf_counter``.
    """

    def __init__(
        self, work: Work, future: asyncio.Future[Any] | Future[Any], *, transaction: bool
    ) -> None:
        self.transaction = transaction
        self.error: Exception | None = None
        self.future = future
        self.since = time.perf_counter()
        self._work = work
        self._result: object = None

    def wanted(self) -> bool:
        """Whether somebody still waits for it."""
        return not self.future.cancelled()

    def attempt(self, run: Callable[[Work], object]) -> bool:
        """Do the work and say whether it was done; it may be asked again after a rollback.

        The writer serves everybody, so it outlives any error of one caller's work.
        """
        self.error = None
        try:
            self._result = run(self._work)
        except Exception as error:  # noqa: BLE001 - the worker loop; handed to the caller
            self.error = error
        return self.error is None

    def settle(self) -> None:
        """Hand the outcome to whoever waits."""
        if self.future.cancelled():
            return
        if self.error is None:
            self.future.set_result(self._result)
        else:
            self.future.set_exception(self.error)


class Inbox:
    """What the writer has to do, in the order in which it came.

    What coroutines of one event loop submit within one turn of it arrives together: the writer
    then finds a whole group to commit, and is woken once.
    """

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[list[Task]] = queue.SimpleQueue()
        self._held: deque[Task] = deque()
        self._turns: dict[asyncio.AbstractEventLoop, list[Task]] = {}

    async def submit(self, work: Callable[[apsw.Connection], T]) -> T:
        """Return the result of ``work``, run in a transaction that was committed."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        turn = self._turns.get(loop)
        if turn is None:
            turn = self._turns[loop] = []
            loop.call_soon(self._end_turn, loop)
        turn.append(Task(work, future, transaction=True))
        return await future

    def put(self, work: Callable[[apsw.Connection], T], *, transaction: bool) -> T:
        """Return the result of ``work``; blocks the calling thread."""
        future: Future[T] = Future()
        self._queue.put([Task(work, future, transaction=transaction)])
        return future.result()

    def depth(self) -> int:
        """Return about how much waits."""
        return self._queue.qsize() + len(self._held)

    def close(self) -> None:
        """Let ``take`` return nothing once everything that came before is done."""
        self._queue.put([])

    def take(self, most: int) -> list[Task]:
        """Wait for work and return what one transaction may hold; nothing at the end."""
        if not self._held:
            self._held.extend(self._queue.get())
            if not self._held:
                return []
        while self._held[-1].transaction and not self._queue.empty():
            more = self._queue.get()
            if not more:
                self.close()  # for the next time
                break
            self._held.extend(more)
        group = [self._held.popleft()]
        while group[0].transaction and len(group) < most and self._held:
            if not self._held[0].transaction:
                break
            group.append(self._held.popleft())
        return group

    def _end_turn(self, loop: asyncio.AbstractEventLoop) -> None:
        self._queue.put(self._turns.pop(loop))


def settle(tasks: Sequence[Task]) -> None:
    """Hand every outcome to whoever waits; an event loop is woken once for all of its own."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Task]] = defaultdict(list)
    for task in tasks:
        if isinstance(task.future, asyncio.Future):
            by_loop[task.future.get_loop()].append(task)
        else:
            task.settle()
    for loop, own in by_loop.items():
        with suppress(RuntimeError):  # the loop was closed; nobody waits there any more
            loop.call_soon_threadsafe(_settle_here, own)


def _settle_here(tasks: Sequence[Task]) -> None:
    for task in tasks:
        task.settle()
