"""``MOS``: the same names as ``AsyncMOS``, for code without an event loop."""

from __future__ import annotations

import weakref
from collections.abc import Generator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

from memos.build import AsyncMOS, OwnModels, simple_settings
from memos.chat.accounting import UsageReport
from memos.chat.conversation import ChatResult, ChatStreamEvent
from memos.cubes.dump import DumpResult
from memos.cubes.load import LoadResult
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
from memos.portal import Opener, Portal
from memos.ports.transfer import CubeStats, OnConflict
from memos.progress import Progress
from memos.retrieve.pipeline import SearchResult
from memos.settings import Settings
from memos.syncjobs import SyncJobs
from memos.transfer import ImportResult
from memos.types import Access, Cube, Grant, Memory, MemoryPage, Role, User


class _SyncUsers:
    """Users of the account; see ``AsyncMOS.users``."""

    def __init__(self, portal: Portal) -> None:
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

    def __init__(self, portal: Portal) -> None:
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


class _SyncChat:
    """Talking with a model; see ``AsyncMOS``."""

    _portal: Portal

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

    _portal: Portal

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
        self._portal = Portal(opener)
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
