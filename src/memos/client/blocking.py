"""``Client``: for code without an event loop."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self, Unpack

import httpx

from memos import options as opt
from memos.chat.accounting import UsageReport
from memos.chat.conversation import ChatResult, ChatStreamEvent
from memos.client import accounts, memories, transfers
from memos.client.calls import Call, T, given
from memos.client.connection import LIMITS, headers_of, timeout_of
from memos.client.events import CHAT, Events
from memos.client.files import Target
from memos.client.retry import Attempts, Retries
from memos.client.syncjobs import ClientJobs
from memos.client.values import AddedOne, Key, NewKey
from memos.cubes.dump import DumpResult
from memos.cubes.load import LoadResult
from memos.ingest.exports.conversations import Format
from memos.mos import AddResult, ForgetResult
from memos.ports.transfer import CubeStats, OnConflict
from memos.progress import Progress, unseen
from memos.retrieve.pipeline import SearchResult
from memos.transfer import ImportResult
from memos.types import Access, Cube, Grant, KeyScope, Memory, MemoryPage, Role, User
from memos.users.audit import AuditPage


class _Sender:
    """Sends calls, again where that may help."""

    def __init__(self, http: httpx.Client, retries: Retries) -> None:
        self.http = http
        self._retries = retries

    def send(self, call: Call[T]) -> T:
        attempts = Attempts(self._retries, repeatable=call.repeatable)
        while True:
            try:
                response = self.http.send(call.request(self.http))
            except httpx.TransportError as error:
                wait = attempts.lost(error)
            else:
                wait = attempts.answered(response)
                if wait is None:
                    return call.result(response)
            time.sleep(wait)

    @contextmanager
    def stream(self, call: Call[T]) -> Generator[httpx.Response]:
        """Send a call whose answer is read as it comes; nothing of it is sent again."""
        attempts = Attempts(Retries(attempts=1), repeatable=False)
        try:
            response = self.http.send(call.request(self.http), stream=True)
            try:
                if response.is_error:
                    response.read()
                    attempts.answered(response)
                yield response
            finally:
                response.close()
        except httpx.TransportError as error:
            attempts.lost(error)


class ClientUsers:
    """Users of the account; see ``memos.users.service.Users``. Needs a key with ``admin``."""

    def __init__(self, sender: _Sender) -> None:
        self._sender = sender

    def create(
        self, id: str, *, name: str | None = None, role: Role = "USER", by: str | None = None
    ) -> User:
        """Create a user and its private cube."""
        return self._sender.send(accounts.make_user(given(id=id, name=name, role=role), by))

    def ensure(self, id: str) -> User:
        """Return the user, created when it does not exist."""
        return self._sender.send(accounts.user("PUT", id))

    def get(self, id: str) -> User:
        """Return a user."""
        return self._sender.send(accounts.user("GET", id))

    def list(self, *, by: str | None = None) -> list[User]:
        """Return all users, by id."""
        return self._sender.send(accounts.users(by))

    def rename(self, id: str, name: str, *, by: str | None = None) -> User:
        """Give a user another name."""
        return self._sender.send(accounts.change_user(id, by, name=name))

    def set_role(self, id: str, role: Role, *, by: str | None = None) -> User:
        """Give a user another role."""
        return self._sender.send(accounts.change_user(id, by, role=role))

    def deactivate(self, id: str, *, by: str | None = None) -> User:
        """Refuse every call of a user from now on."""
        return self._sender.send(accounts.change_user(id, by, active=False))

    def activate(self, id: str, *, by: str | None = None) -> User:
        """Let a deactivated user act again."""
        return self._sender.send(accounts.change_user(id, by, active=True))


class ClientCubes:
    """Cubes of the account; see ``memos.users.sharing.Cubes``."""

    def __init__(self, sender: _Sender) -> None:
        self._sender = sender

    def create(self, id: str, *, name: str | None = None, owner: str | None = None) -> Cube:
        """Create a cube that its owner may read and write."""
        return self._sender.send(accounts.make_cube(id, name, owner))

    def get(self, id: str, *, user: str | None = None) -> Cube:
        """Return a cube that ``user`` may read."""
        return self._sender.send(accounts.cube(id, user))

    def list(self, *, user: str | None = None, unregistered: bool = False) -> list[Cube]:
        """Return the cubes that ``user`` may read, by id."""
        return self._sender.send(accounts.cubes(user, unregistered=unregistered))

    def grants(self, id: str, *, user: str | None = None) -> list[Grant]:
        """Return who may read or write a cube."""
        return self._sender.send(accounts.grants(id, user))

    def rename(self, id: str, name: str, *, user: str | None = None) -> Cube:
        """Give a cube another name."""
        return self._sender.send(accounts.rename_cube(id, name, user))

    def share(self, id: str, to: str, access: Access = "read", *, user: str | None = None) -> Grant:
        """Let another user read a cube, or read and write it."""
        return self._sender.send(accounts.share(id, to, access, user))

    def revoke(self, id: str, of: str, *, user: str | None = None) -> None:
        """Take back what was shared."""
        return self._sender.send(accounts.revoke(id, of, user))

    def transfer(self, id: str, to: str, *, user: str | None = None) -> Cube:
        """Give a cube to another user."""
        return self._sender.send(accounts.give(id, to, user))

    def unregister(self, id: str, *, user: str | None = None) -> Cube:
        """Put a cube out of reach, and keep its memories."""
        return self._sender.send(accounts.register(id, "unregister", user))

    def register(self, id: str, *, user: str | None = None) -> Cube:
        """Bring an unregistered cube back."""
        return self._sender.send(accounts.register(id, "register", user))


class ClientKeys:
    """API keys of the account. Needs a key with ``admin``."""

    def __init__(self, sender: _Sender) -> None:
        self._sender = sender

    def create(
        self,
        name: str,
        *,
        scopes: Sequence[KeyScope] = ("read", "write"),
        user: str | None = None,
        cubes: Sequence[str] | None = None,
        expires_at: datetime | None = None,
    ) -> NewKey:
        """Make a key; its token is shown now and never again."""
        body = given(name=name, scopes=scopes, user=user, cubes=cubes, expires_at=expires_at)
        return self._sender.send(accounts.make_key(body))

    def list(self) -> list[Key]:
        """Return the keys that one may manage, oldest first."""
        return self._sender.send(accounts.keys())

    def rotate(self, id: str) -> NewKey:
        """Give a key another secret; the former one is refused from now on."""
        return self._sender.send(accounts.rotate(id))

    def revoke(self, id: str) -> Key:
        """Refuse a key from now on."""
        return self._sender.send(accounts.refuse(id))


class _Talking:
    """Chatting, and what it took."""

    _sender: _Sender

    def chat(self, query: str, **options: Unpack[opt.ChatOptions]) -> ChatResult:
        """Answer from what is remembered; see ``AsyncMOS.chat``."""
        return self._sender.send(memories.chat(query, {**options}))

    def chat_stream(
        self, query: str, **options: Unpack[opt.ChatOptions]
    ) -> Generator[ChatStreamEvent, None, None]:
        """Answer piece by piece; see ``AsyncMOS.chat_stream``."""
        events = Events(CHAT)
        with self._sender.stream(memories.chat_stream(query, {**options})) as response:
            for line in response.iter_lines():
                if (event := events.take(line)) is not None:
                    yield event
        events.end()

    def usage(self, **options: Unpack[opt.UsageOptions]) -> UsageReport:
        """Return what chat models took; see ``AsyncMOS.usage``."""
        return self._sender.send(memories.usage({**options}))


class _Told:
    """What a server keeps beside memories."""

    _sender: _Sender

    def feedback(
        self,
        text: str,
        *,
        memories: Sequence[str] = (),
        session: str | None = None,
        **who: Unpack[opt.Who],
    ) -> str:
        """Store what somebody says about memories, and return its id; nothing applies it yet."""
        options = {**who, **given(memories=memories, session=session)}
        return self._sender.send(accounts.feedback(text, options))

    def audit(
        self,
        *,
        user: str | None = None,
        of: str | None = None,
        cube: str | None = None,
        since: opt.Moment | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> AuditPage:
        """Return who did what to which cube, newest first. Needs a key with ``admin``.

        Args:
            user: Who asks: an ADMIN or ROOT.
            of: Only what this user did.
            cube: Only what was done to it.
            since: From when on.
            limit: Entries at most.
            cursor: ``next`` of the last page.
        """
        asked = given(user=user, of=of, cube=cube, since=since, limit=limit, cursor=cursor)
        return self._sender.send(accounts.audit(asked))


class _Transfers:
    """Whole cubes and files in and out."""

    _sender: _Sender

    def dump(
        self, target: Path | str, *, progress: Progress | None = None, **who: Unpack[opt.Who]
    ) -> DumpResult:
        """Write a cube into a new ``.memcube`` file; see ``AsyncMOS.dump``."""
        path = Path(target)
        target_file, done = Target(path), 0
        with self._sender.stream(transfers.export({**who})) as response:
            result = transfers.dumped(response, path)
            total = int(response.headers.get("Content-Length", "0"))
            with target_file.open() as out:
                for piece in response.iter_bytes():
                    out.write(piece)
                    done += len(piece)
                    (progress or unseen)(done, max(done, total))
        return result

    def load(
        self,
        source: Path | str,
        *,
        on_conflict: OnConflict = "fail",
        sha256: str | None = None,
        progress: Progress | None = None,
        **who: Unpack[opt.Who],
    ) -> LoadResult:
        """Load a ``.memcube`` file as a whole or not at all; see ``AsyncMOS.load``."""
        call = transfers.load(source, {**who}, progress, on_conflict=on_conflict, sha256=sha256)
        return self._sender.send(call)

    def init_from_dir(
        self,
        source: Path | str,
        *,
        sha256: str | None = None,
        progress: Progress | None = None,
        **who: Unpack[opt.Who],
    ) -> LoadResult:
        """Make a new cube of a ``.memcube`` file; see ``AsyncMOS.init_from_dir``."""
        return self._sender.send(
            transfers.load(source, {**who}, progress, sha256=sha256, fresh=True)
        )

    def import_chats(
        self,
        source: Path | str,
        *,
        format: Format | None = None,
        progress: Progress | None = None,
        **who: Unpack[opt.Who],
    ) -> ImportResult:
        """Remember exported conversations, from one file; see ``AsyncMOS.import_chats``."""
        return self._sender.send(transfers.import_chats(source, format, progress, {**who}))


class Client(_Talking, _Told, _Transfers):
    """The methods of ``MOS`` over HTTP.

    It may be shared between threads::

        with Client("http://127.0.0.1:8000", api_key="mk_...") as memos:
            memos.add("Zoe is allergic to peanuts.", user="zoe")
            print(memos.search("What must Zoe not eat?", user="zoe").hits[0].memory.text)

    It raises the errors of ``MOS``, ``Timeout`` and ``UpstreamError`` when the server cannot be
    reached.

    Attributes:
        users: Create, list, rename users, give them roles, deactivate them.
        cubes: Create, list, share, transfer, unregister cubes.
        keys: Make, list, rotate, revoke API keys.
        jobs: Work in the background: ask for it, see how far it is, wait for it.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        *,
        api_key: str | None = None,
        timeout_s: float = 60.0,
        retries: Retries | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Connect to nothing yet.

        Args:
            base_url: Where the server is.
            api_key: The key; a server on this machine may need none.
            timeout_s: How long an answer, or a pause in it, may take.
            retries: How failures that may pass are met.
            transport: What sends requests in place of the network.
        """
        http = httpx.Client(
            base_url=base_url, headers=headers_of(api_key), timeout=timeout_of(timeout_s),
            limits=LIMITS, transport=transport,
        )  # fmt: skip
        self._sender = _Sender(http, retries or Retries())
        self.users = ClientUsers(self._sender)
        self.cubes = ClientCubes(self._sender)
        self.keys = ClientKeys(self._sender)
        self.jobs = ClientJobs(self._sender)

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
        """Close the connections; harmless when repeated."""
        self._sender.http.close()

    def add(self, content: object, **options: Unpack[opt.AddOptions]) -> AddResult:
        """Remember a text, messages, MemOS's items, or a text file; see ``AsyncMOS.add``."""
        return self._sender.send(memories.add(content, {**options}))

    def add_many(
        self, contents: Sequence[object], **options: Unpack[opt.AddOptions]
    ) -> list[AddedOne]:
        """Remember many things in one call; what fails does so alone, as its ``error``."""
        return self._sender.send(memories.add_many(contents, {**options}))

    def search(self, query: str, **options: Unpack[opt.SearchOptions]) -> SearchResult:
        """Find what answers ``query``; see ``AsyncMOS.search``."""
        return self._sender.send(memories.search(query, {**options}))

    def get(self, id: str, *, resolve: bool = False, **who: Unpack[opt.Where]) -> Memory:
        """Return a memory; see ``AsyncMOS.get``."""
        return self._sender.send(memories.get(id, {**who}, resolve=resolve))

    def get_all(self, **options: Unpack[opt.ListOptions]) -> MemoryPage:
        """Return a page of memories; see ``AsyncMOS.get_all``."""
        return self._sender.send(memories.get_all({**options}))

    def iter_all(self, **options: Unpack[opt.ListOptions]) -> Iterator[Memory]:
        """Yield memories page by page, ``limit`` of them a call."""
        asked = {**options}
        while True:
            page = self._sender.send(memories.get_all(asked))
            yield from page.items
            if page.next is None:
                return
            asked["cursor"] = page.next

    def history(self, id: str, **who: Unpack[opt.Where]) -> list[Memory]:
        """Return every version of a memory; see ``AsyncMOS.history``."""
        return self._sender.send(memories.history(id, {**who}))

    def update(self, id: str, **changes: Unpack[opt.UpdateOptions]) -> Memory:
        """Store a new version of a memory; see ``AsyncMOS.update``."""
        return self._sender.send(memories.update(id, {**changes}))

    def forget(
        self, ids: str | Sequence[str] | None = None, **options: Unpack[opt.ForgetOptions]
    ) -> ForgetResult:
        """Retire or erase memories; see ``AsyncMOS.forget``."""
        return self._sender.send(memories.forget(ids, {**options}))

    def stats(self, **who: Unpack[opt.Who]) -> CubeStats:
        """Count what a cube holds; see ``AsyncMOS.stats``."""
        return self._sender.send(accounts.stats({**who}))
