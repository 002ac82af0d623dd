"""``MOS``: the same names as ``AsyncMOS``, for code without an event loop."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Sequence
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, Unpack

from memos.build import AsyncMOS, OwnModels, simple_settings
from memos.chat.accounting import UsageReport
from memos.chat.conversation import ChatResult, ChatStreamEvent
from memos.cubes.dump import DumpResult
from memos.cubes.load import LoadResult
from memos.errors import ConfigError, InvalidInput
from memos.ingest.exports.conversations import Format
from memos.mos import AddResult, ForgetResult
from memos.options import (
    AddOptions,
    ChatOptions,
    ForgetOptions,
    ListOptions,
    SearchOptions,
    UpdateOptions,
    UsageOptions,
    Where,
    Who,
)
from memos.ports.transfer import CubeStats, OnConflict
from memos.progress import Progress
from memos.retrieve.pipeline import SearchResult
from memos.settings import Settings
from memos.syncjobs import SyncJobs
from memos.transfer import ImportResult
from memos.types import Access, Cube, Grant, Memory, MemoryPage, Role, User

T = TypeVar("T")
Opener = Callable[[], AbstractAsyncContextManager[AsyncMOS]]


class _Portal:
    """The thread whose event loop runs an ``AsyncMOS``; started with the first call.

    Plain asyncio, where a call costs two thread switches and no task group.
    """

    def __init__(self, opener: Opener) -> None:
        self._opener = opener
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._running: _Running | None = None
        self._closed = False
        self._streams: set[_Stream] = set()
        self._calls: set[_Call[Any]] = set()

    def call(self, work: Callable[[AsyncMOS], Coroutine[object, object, T]]) -> T:
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

    def begin(self, work: Callable[[AsyncMOS], AsyncGenerator[ChatStreamEvent, None]]) -> _Stream:
        stream = self.call(lambda mos: _begun(work(mos)))
        self._streams.add(stream)
        return stream

    def end(self, stream: _Stream) -> None:
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


class _SyncUsers:
    """Users of the account; see ``AsyncMOS.users``."""

    def __init__(self, portal: _Portal) -> None:
        self._portal = portal

    def create(
        self, id: str, *, name: str | None = None, role: Role = "USER", by: str | None = None
    ) -> User:
        """Create a user and its private cube."""
        return self._portal.call(lambda mos: mos.users.create(id, name=name, role=role, by=by))

    def ensure(self, id: str) -> User:
        """Return the user, created when it does not exist."""
        return self._portal.call(lambda mos: mos.users.ensure(id))

    def get(self, id: str) -> User:
        """Return a user."""
        return self._portal.call(lambda mos: mos.users.get(id))

    def list(self, *, by: str | None = None) -> list[User]:
        """Return all users, by id."""
        return self._portal.call(lambda mos: mos.users.list(by=by))

    def rename(self, id: str, name: str, *, by: str | None = None) -> User:
        """Give a user another name."""
        return self._portal.call(lambda mos: mos.users.rename(id, name, by=by))

    def set_role(self, id: str, role: Role, *, by: str | None = None) -> User:
        """Give a user another role."""
        return self._portal.call(lambda mos: mos.users.set_role(id, role, by=by))

    def deactivate(self, id: str, *, by: str | None = None) -> User:
        """Refuse every call of a user from now on."""
        return self._portal.call(lambda mos: mos.users.deactivate(id, by=by))

    def activate(self, id: str, *, by: str | None = None) -> User:
        """Let a deactivated user act again."""
        return self._portal.call(lambda mos: mos.users.activate(id, by=by))


class _SyncCubes:
    """Cubes of the account; see ``AsyncMOS.cubes``."""

    def __init__(self, portal: _Portal) -> None:
        self._portal = portal

    def create(self, id: str, *, name: str | None = None, owner: str | None = None) -> Cube:
        """Create a cube that its owner may read and write."""
        return self._portal.call(lambda mos: mos.cubes.create(id, name=name, owner=owner))

    def get(self, id: str, *, user: str | None = None) -> Cube:
        """Return a cube that ``user`` may read."""
        return self._portal.call(lambda mos: mos.cubes.get(id, user=user))

    def list(self, *, user: str | None = None, unregistered: bool = False) -> list[Cube]:
        """Return the cubes that ``user`` may read, by id."""
        return self._portal.call(lambda mos: mos.cubes.list(user=user, unregistered=unregistered))

    def grants(self, id: str, *, user: str | None = None) -> list[Grant]:
        """Return who may read or write a cube."""
        return self._portal.call(lambda mos: mos.cubes.grants(id, user=user))

    def rename(self, id: str, name: str, *, user: str | None = None) -> Cube:
        """Give a cube another name."""
        return self._portal.call(lambda mos: mos.cubes.rename(id, name, user=user))

    def share(self, id: str, to: str, access: Access = "read", *, user: str | None = None) -> Grant:
        """Let another user read a cube, or read and write it."""
        return self._portal.call(lambda mos: mos.cubes.share(id, to, access, user=user))

    def revoke(self, id: str, of: str, *, user: str | None = None) -> None:
        """Take back what was shared."""
        return self._portal.call(lambda mos: mos.cubes.revoke(id, of, user=user))

    def transfer(self, id: str, to: str, *, user: str | None = None) -> Cube:
        """Give a cube to another user."""
        return self._portal.call(lambda mos: mos.cubes.transfer(id, to, user=user))

    def unregister(self, id: str, *, user: str | None = None) -> Cube:
        """Put a cube out of reach, and keep its memories."""
        return self._portal.call(lambda mos: mos.cubes.unregister(id, user=user))

    def register(self, id: str, *, user: str | None = None) -> Cube:
        """Bring an unregistered cube back."""
        return self._portal.call(lambda mos: mos.cubes.register(id, user=user))


class _Stream:
    """An asynchronous generator that another thread drives, one step at a time."""

    def __init__(self, events: AsyncGenerator[ChatStreamEvent, None]) -> None:
        self._events = events
        self._step = asyncio.Lock()

    async def following(self) -> ChatStreamEvent | None:
        async with self._step:
            return await anext(self._events, None)

    async def close(self) -> None:
        # A step that Ctrl-C cancelled may still be remembering what was said.
        async with self._step:
            await self._events.aclose()


async def _begun(events: AsyncGenerator[ChatStreamEvent, None]) -> _Stream:
    return _Stream(events)


class _SyncChat:
    """Talking with a model; see ``AsyncMOS``."""

    _portal: _Portal

    def chat(self, query: str, **options: Unpack[ChatOptions]) -> ChatResult:
        """Answer from what is remembered; see ``AsyncMOS.chat``."""
        return self._portal.call(lambda mos: mos.chat(query, **options))

    def chat_stream(
        self, query: str, **options: Unpack[ChatOptions]
    ) -> Generator[ChatStreamEvent, None, None]:
        """Answer piece by piece; see ``AsyncMOS.chat_stream``."""
        stream = self._portal.begin(lambda mos: mos.chat_stream(query, **options))
        try:
            while (event := self._portal.call(lambda _: stream.following())) is not None:
                yield event
        finally:
            self._portal.end(stream)

    def usage(self, **options: Unpack[UsageOptions]) -> UsageReport:
        """Return what chat models took; see ``AsyncMOS.usage``."""
        return self._portal.call(lambda mos: mos.usage(**options))


class _Transfers:
    """Whole cubes in and out; see ``AsyncMOS``."""

    _portal: _Portal

    def dump(
        self, target: Path | str, *, progress: Progress | None = None, **who: Unpack[Who]
    ) -> DumpResult:
        """Write a cube into a directory or an archive; see ``AsyncMOS.dump``."""
        return self._portal.call(lambda mos: mos.dump(target, progress=progress, **who))

    def load(
        self,
        source: Path | str,
        *,
        on_conflict: OnConflict = "fail",
        sha256: str | None = None,
        progress: Progress | None = None,
        **who: Unpack[Who],
    ) -> LoadResult:
        """Load a dump as a whole or not at all; see ``AsyncMOS.load``."""
        return self._portal.call(
            lambda mos: mos.load(
                source, on_conflict=on_conflict, sha256=sha256, progress=progress, **who
            )
        )

    def init_from_dir(
        self,
        source: Path | str,
        *,
        sha256: str | None = None,
        progress: Progress | None = None,
        **who: Unpack[Who],
    ) -> LoadResult:
        """Make a new cube of a dump; see ``AsyncMOS.init_from_dir``."""
        return self._portal.call(
            lambda mos: mos.init_from_dir(source, sha256=sha256, progress=progress, **who)
        )

    def import_chats(
        self,
        source: Path | str,
        *,
        format: Format | None = None,
        progress: Progress | None = None,
        **who: Unpack[Who],
    ) -> ImportResult:
        """Remember exported conversations; see ``AsyncMOS.import_chats``."""
        return self._portal.call(
            lambda mos: mos.import_chats(source, format=format, progress=progress, **who)
        )

    def stats(self, **who: Unpack[Who]) -> CubeStats:
        """Count what a cube holds; see ``AsyncMOS.stats``."""
        return self._portal.call(lambda mos: mos.stats(**who))


class MOS(_SyncChat, _Transfers):
    """Remembers what agents hand over, and finds what matters, with its sources.

    Made by ``MOS.open`` or ``MOS.simple``; everything opens with the first call. Use it as a
    context manager, or call ``close``. Safe to share between threads, also inside a running event
    loop; not across a fork::

        with MOS.simple() as mos:
            mos.add("Zoe is allergic to peanuts.")
            print(mos.search("What must Zoe not eat?").hits[0].memory.text)

    Attributes:
        users: Create, list, rename users, give them roles, deactivate them.
        cubes: Create, list, share, transfer, unregister cubes.
        jobs: Work in the background: ask for it, see how far it is, wait for it.
    """

    def __init__(self, opener: Opener) -> None:
        self._portal = _Portal(opener)
        self._finalizer = weakref.finalize(self, self._portal.close)
        self.users = _SyncUsers(self._portal)
        self.cubes = _SyncCubes(self._portal)
        self.jobs = SyncJobs(self._portal)

    @classmethod
    def open(cls, settings: Settings | None = None, **own: Unpack[OwnModels]) -> Self:
        """Compose what the settings name; see ``AsyncMOS.open``."""
        return cls(lambda: AsyncMOS.open(settings, **own))

    @classmethod
    def simple(cls, home: Path | str | None = None, user: str | None = None) -> Self:
        """Open what the environment configures: the embedded store, by default."""
        settings = simple_settings(home, user)
        return cls(lambda: AsyncMOS.open(settings))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        type_: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Finish what is under way and close every adapter; harmless when repeated."""
        self._finalizer()

    def add(self, content: object, **options: Unpack[AddOptions]) -> AddResult:
        """Remember something; see ``AsyncMOS.add``."""
        return self._portal.call(lambda mos: mos.add(content, **options))

    def search(self, query: str, **options: Unpack[SearchOptions]) -> SearchResult:
        """Find what answers ``query``; see ``AsyncMOS.search``."""
        return self._portal.call(lambda mos: mos.search(query, **options))

    def get(self, id: str, *, resolve: bool = False, **who: Unpack[Where]) -> Memory:
        """Return a memory; see ``AsyncMOS.get``."""
        return self._portal.call(lambda mos: mos.get(id, resolve=resolve, **who))

    def get_all(self, **options: Unpack[ListOptions]) -> MemoryPage:
        """Return a page of memories; see ``AsyncMOS.get_all``."""
        return self._portal.call(lambda mos: mos.get_all(**options))

    def history(self, id: str, **who: Unpack[Where]) -> list[Memory]:
        """Return every version of a memory; see ``AsyncMOS.history``."""
        return self._portal.call(lambda mos: mos.history(id, **who))

    def update(self, id: str, **changes: Unpack[UpdateOptions]) -> Memory:
        """Store a new version of a memory; see ``AsyncMOS.update``."""
        return self._portal.call(lambda mos: mos.update(id, **changes))

    def forget(
        self, ids: str | Sequence[str] | None = None, **options: Unpack[ForgetOptions]
    ) -> ForgetResult:
        """Retire or erase memories; see ``AsyncMOS.forget``."""
        return self._portal.call(lambda mos: mos.forget(ids, **options))

    def reindex(self, *, progress: Progress | None = None, **who: Unpack[Who]) -> int:
        """Embed a cube anew; see ``AsyncMOS.reindex``."""
        return self._portal.call(lambda mos: mos.reindex(progress=progress, **who))

    def check(self) -> list[Any]:
        """Prove that the store is sound; see ``AsyncMOS.check``."""
        return self._portal.call(lambda mos: mos.check())

    def rebuild(self, **who: Unpack[Who]) -> None:
        """Build a cube's derived state anew; see ``AsyncMOS.rebuild``."""
        return self._portal.call(lambda mos: mos.rebuild(**who))
