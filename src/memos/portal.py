"""The way from threads without an event loop into the thread of one that runs an ``AsyncMOS``."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from memos.build import AsyncMOS
from memos.chat.conversation import ChatStreamEvent
from memos.errors import ConfigError, InvalidInput

T = TypeVar("T")
Opener = Callable[[], AbstractAsyncContextManager[AsyncMOS]]


class Stream:
    """An asynchronous generator that another thread drives, one step at a time."""

    def __init__(self, events: AsyncGenerator[ChatStreamEvent, None]) -> None:
        self._events = events
        self._step = asyncio.Lock()

    async def following(self) -> ChatStreamEvent | None:
        """Return the next event, None at the end."""
        async with self._step:
            return await anext(self._events, None)

    async def close(self) -> None:
        """End the generator once the step that it is at is over."""
        # A step that Ctrl-C cancelled may still be remembering what was said.
        async with self._step:
            await self._events.aclose()


async def _begun(events: AsyncGenerator[ChatStreamEvent, None]) -> Stream:
    return Stream(events)


class Portal:
    """The thread whose event loop runs an ``AsyncMOS``; started with the first call.

    Plain asyncio, where a call costs two thread switches and no task group.
    """

    def __init__(self, opener: Opener) -> None:
        self._opener = opener
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._running: _Running | None = None
        self._closed = False
        self._streams: set[Stream] = set()
        self._calls: set[_Call[Any]] = set()

    def call(self, work: Callable[[AsyncMOS], Coroutine[object, object, T]]) -> T:
        """Return what the work returns, or raise what it raises."""
        running = self._running
        if running is None or self._pid != os.getpid():
            running = self._start()
        call = _Call(work(running.mos))
        self._calls.add(call)
        try:
            call.submit(running.loop)
            return call.result()
        except KeyboardInterrupt:
            running.loop.call_soon_threadsafe(call.cancel)
            raise
        finally:
            self._calls.discard(call)

    def begin(self, work: Callable[[AsyncMOS], AsyncGenerator[ChatStreamEvent, None]]) -> Stream:
        """Return a stream, which ``end`` is to end."""
        stream = self.call(lambda mos: _begun(work(mos)))
        self._streams.add(stream)
        return stream

    def end(self, stream: Stream) -> None:
        """End a stream; harmless when repeated."""
        if stream in self._streams and self._pid == os.getpid():
            self._streams.discard(stream)
            self.call(lambda _: stream.close())

    def _start(self) -> _Running:
        if self._pid != os.getpid():
            raise ConfigError(
                "this MOS was opened before a fork; open a new one in the child", code="forked"
            )
        with self._lock:
            if self._closed:
                raise _closed()
            if self._running is None:
                opened: Future[_Running] = Future()
                threading.Thread(
                    target=self._run,
                    args=(opened,),
                    name="memos",
                    daemon=True,  # closed by the finaliser, which runs before daemons are killed
                ).start()
                self._running = opened.result()
            return self._running

    def _run(self, opened: Future[_Running]) -> None:
        asyncio.run(_host(self._opener, opened))
        for call in tuple(self._calls):  # they came too late for the loop to begin them
            call.abandon()

    def close(self) -> None:
        """End what goes on in the loop, the loop and its thread."""
        with self._lock:
            running, self._running, self._closed = self._running, None, True
            if running is not None and self._pid == os.getpid():
                while self._streams:  # what was said so far is remembered while the store is open
                    closing = self._streams.pop().close()
                    asyncio.run_coroutine_threadsafe(closing, running.loop).result()
                running.loop.call_soon_threadsafe(running.stop.set)
                running.done.result()


class _Call(Generic[T]):
    """One call from a thread into the loop.

    The thread waits for a lock, which costs a fraction of what a ``Future`` and its link to a task
    cost, and is woken one turn of the loop earlier.
    """

    def __init__(self, work: Coroutine[object, object, T]) -> None:
        self._work = work
        self._task: asyncio.Task[None] | None = None
        self._outcome: list[T] = []
        self._error: BaseException | None = None
        self._ended = threading.Lock()
        self._ended.acquire()

    def submit(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let the loop begin."""
        try:
            loop.call_soon_threadsafe(self.start)
        except RuntimeError:  # it was closed meanwhile
            self.abandon()

    def start(self) -> None:
        """Begin; called by the loop."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    def cancel(self) -> None:
        """Give up; called by the loop."""
        if self._task is not None:
            self._task.cancel()

    def abandon(self) -> None:
        """Release who waits for a call that the loop did not begin before it ended."""
        if not self._outcome and self._error is None:
            self._work.close()
            with suppress(RuntimeError):  # both threads may find out, and one comes second
                self.__exit__(None, _closed(), None)

    def result(self) -> T:
        """Wait for the end, and return or raise what became of the call."""
        self._ended.acquire()
        if self._error is not None:
            raise self._error
        return self._outcome[0]

    async def _run(self) -> None:
        with self:
            self._outcome.append(await self._work)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: object, error: BaseException | None, _trace: TracebackType | None
    ) -> bool:
        self._error = _closed() if isinstance(error, asyncio.CancelledError) else error
        self._ended.release()
        return True


def _closed() -> InvalidInput:
    return InvalidInput("this MOS is closed", code="closed")


@dataclass(frozen=True, slots=True)
class _Running:
    mos: AsyncMOS
    loop: asyncio.AbstractEventLoop
    stop: asyncio.Event
    done: Future[None]


async def _host(opener: Opener, opened: Future[_Running]) -> None:
    """Open, hand over, wait for the end, close; whoever waits learns of any error."""
    done: Future[None] = Future()
    task = asyncio.ensure_future(_serve(opener, opened, done))
    await asyncio.wait([task])
    error = task.exception()
    if error is None:
        done.set_result(None)
    else:
        (done if opened.done() else opened).set_exception(error)


async def _serve(opener: Opener, opened: Future[_Running], done: Future[None]) -> None:
    async with opener() as mos:
        running = _Running(mos, asyncio.get_running_loop(), asyncio.Event(), done)
        opened.set_result(running)
        await running.stop.wait()
