"""``MOS``: the same names as ``AsyncMOS``, for code without an event loop."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from anyio.from_thread import BlockingPortal, start_blocking_portal

from memos.build import AsyncMOS, simple_settings
from memos.errors import ConfigError, InvalidInput
from memos.mos import AddResult, ForgetResult
from memos.options import (
    AddOptions,
    ForgetOptions,
    ListOptions,
    SearchOptions,
    UpdateOptions,
    Where,
    Who,
)
from memos.ports.models import Embedder
from memos.retrieve.pipeline import SearchResult
from memos.settings import Settings
from memos.types import Cube, Memory, MemoryPage, User

T = TypeVar("T")
Opener = Callable[[], AbstractAsyncContextManager[AsyncMOS]]


class _Portal:
    """The thread whose event loop runs an ``AsyncMOS``; started with the first call."""

    def __init__(self, opener: Opener) -> None:
        self._opener = opener
        self._stack = ExitStack()
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._running: tuple[BlockingPortal, AsyncMOS] | None = None
        self._closed = False

    def call(self, work: Callable[[AsyncMOS], Awaitable[T]]) -> T:
        portal, mos = self._running if self._running and self._pid == os.getpid() else self._start()
        return portal.call(work, mos)

    def _start(self) -> tuple[BlockingPortal, AsyncMOS]:
        if self._pid != os.getpid():
            raise ConfigError(
                "this MOS was opened before a fork; open a new one in the child", code="forked"
            )
        with self._lock:
            if self._closed:
                raise InvalidInput("this MOS is closed", code="closed")
            if self._running is None:
                with ExitStack() as stack:
                    portal = stack.enter_context(start_blocking_portal("asyncio"))
                    mos = stack.enter_context(portal.wrap_async_context_manager(self._opener()))
                    self._running = portal, mos
                    self._stack = stack.pop_all()
            return self._running

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._running = None
            if self._pid == os.getpid():
                self._stack.close()


class _SyncUsers:
    """Users of the account; see ``AsyncMOS.users``."""

    def __init__(self, portal: _Portal) -> None:
        self._portal = portal

    def create(self, id: str, *, name: str | None = None) -> User:
        """Create a user and its private cube."""
        return self._portal.call(lambda mos: mos.users.create(id, name=name))

    def ensure(self, id: str) -> User:
        """Return the user, created when it does not exist."""
        return self._portal.call(lambda mos: mos.users.ensure(id))

    def get(self, id: str) -> User:
        """Return a user."""
        return self._portal.call(lambda mos: mos.users.get(id))

    def list(self) -> list[User]:
        """Return all users, by id."""
        return self._portal.call(lambda mos: mos.users.list())


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

    def list(self, *, user: str | None = None) -> list[Cube]:
        """Return the cubes that ``user`` may read, by id."""
        return self._portal.call(lambda mos: mos.cubes.list(user=user))


class MOS:
    """Remembers what agents hand over, and finds what matters, with its sources.

    Made by ``MOS.open`` or ``MOS.simple``; everything opens with the first call. Use it as a
    context manager, or call ``close``. Safe to share between threads, also inside a running event
    loop; not across a fork::

        with MOS.simple() as mos:
            mos.add("Zoe is allergic to peanuts.")
            print(mos.search("What must Zoe not eat?").hits[0].memory.text)

    Attributes:
        users: Create, get and list users.
        cubes: Create, get and list cubes.
    """

    def __init__(self, opener: Opener) -> None:
        self._portal = _Portal(opener)
        self._finalizer = weakref.finalize(self, self._portal.close)
        self.users = _SyncUsers(self._portal)
        self.cubes = _SyncCubes(self._portal)

    @classmethod
    def open(cls, settings: Settings | None = None, *, embedder: Embedder | None = None) -> Self:
        """Compose what the settings name; see ``AsyncMOS.open``."""
        return cls(lambda: AsyncMOS.open(settings, embedder=embedder))

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

    def reindex(
        self, *, progress: Callable[[int, int], None] | None = None, **who: Unpack[Who]
    ) -> int:
        """Embed a cube anew; see ``AsyncMOS.reindex``."""
        return self._portal.call(lambda mos: mos.reindex(progress=progress, **who))

    def check(self) -> list[Any]:
        """Prove that the store is sound; see ``AsyncMOS.check``."""
        return self._portal.call(lambda mos: mos.check())

    def rebuild(self, **who: Unpack[Who]) -> None:
        """Build a cube's derived state anew; see ``AsyncMOS.rebuild``."""
        return self._portal.call(lambda mos: mos.rebuild(**who))
