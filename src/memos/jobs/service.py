"""Asking for work in the background, and for how far it is."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Unpack, cast

import msgspec
from anyio import CancelScope, current_time, move_on_after

from memos import options as opt
from memos.errors import InvalidInput, NotFound
from memos.ingest.exports.conversations import Format
from memos.jobs import files
from memos.jobs.types import ADD, IMPORT, LABELS, REINDEX, Kept, Work
from memos.jobs.worker import Worker
from memos.options import AddOptions, JobsOptions, Who
from memos.ports.queue import Wanted
from memos.ports.stores import BlobStore
from memos.progress import Progress
from memos.remember import Remember
from memos.types import ENDED, Access, Job, JobPage, JobState, JobStatus, JsonObject
from memos.users.access import Gate

_POLL_S: Final = 0.25
"""How often is looked for what workers of other processes did."""
_LONGEST_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class JobParts:
    """What ``build`` composes ``Jobs`` from; ``new_id`` makes ids, ``user`` acts by default."""

    worker: Worker
    blobs: BlobStore
    gate: Gate
    remember: Remember
    user: str


async def looks(
    jobs: Jobs, id: str, *, timeout_s: float | None = None, user: str | None = None
) -> AsyncGenerator[JobStatus, None]:
    """Look at a job whenever something may have happened to it, until it ended or the time is up.

    Raises:
        NotFound: There is none, or the user may not read its cube, or not any more.
    """
    until = current_time() + _seconds(timeout_s)
    while True:
        rung = jobs.bell.next()
        status = await jobs.get(id, user=user)
        yield status
        left = until - current_time()
        if status.state in ENDED or left <= 0:
            return
        with move_on_after(min(_POLL_S, left)):
            await rung.wait()


class Jobs:
    """Work in the background: put by any process, done by a worker, seen by who reads its cube.

    Servers run workers; elsewhere ``run`` does what is due.

    Attributes:
        bell: Rings when something may have happened to a job.
    """

    def __init__(self, parts: JobParts) -> None:
        self._parts = parts
        self._queue = parts.worker.queue
        self._account = parts.gate.account
        self.bell = parts.worker.bell

    async def add(self, content: object, **options: Unpack[AddOptions]) -> JobStatus:
        """Remember something later; as ``AsyncMOS.add``, and malformed things are refused now.

        Args:
            content: See ``AsyncMOS.add``.
            **options: See ``AddOptions``. With a ``batch_id`` there is one job however often it is
                asked for.

        Raises:
            InvalidInput: The content or an option is malformed; nothing was put.
            NotFound: The user or the cube does not exist.
            Forbidden: The user may not write the cube.
        """
        read = await self._parts.remember.read(content, options)
        place = read.drafts[0].place
        given: dict[str, Any] = {**options, "user": read.scope.principal, "cube": place.cube}
        plain = opt.json_object(msgspec.to_builtins(given), "options")
        work = Work(read.scope.principal, options=plain)
        if read.file is None:
            work = msgspec.structs.replace(work, content=_plain(content))
        name = cast("Path", content).name if read.file is not None else None
        return await self._put(ADD, place.cube, work, read.batch, name, read.file)

    async def import_chats(
        self,
        source: Path | str,
        *,
        format: Format | None = None,
        batch_id: str | None = None,
        **who: Unpack[Who],
    ) -> JobStatus:
        """Remember later what another program exported; see ``AsyncMOS.import_chats``.

        Args:
            source: One file; it is read now, and not needed any more when this returns.
            format: See ``AsyncMOS.import_chats``.
            batch_id: With one there is one job however often it is asked for.
            **who: See ``Who``.

        Raises:
            InvalidInput: There is no such file.
            NotFound: The user or the cube does not exist.
            Forbidden: The user may not write the cube.
        """
        opt.known(who, Who)
        batch = opt.name(batch_id, "batch_id")
        if format is not None:
            opt.one_of(format, Format, "format")
        user, cube = await self._writable(who)
        content = await files.read(Path(source))
        work = Work(user, format=format)
        return await self._put(IMPORT, cube, work, batch, Path(source).name, content)

    async def reindex(self, **who: Unpack[Who]) -> JobStatus:
        """Embed a cube anew later; see ``AsyncMOS.reindex``."""
        opt.known(who, Who)
        user, cube = await self._writable(who)
        return await self._put(REINDEX, cube, Work(user), None, None, None)

    async def get(self, id: str, *, user: str | None = None) -> JobStatus:
        """Return how far a job is.

        Raises:
            NotFound: There is none, or the user may not read the cube that it is about.
        """
        return await self._found(opt.text(id, "id"), user, "read")

    async def list(self, **options: Unpack[JobsOptions]) -> JobPage:
        """Return jobs about the cubes that the user may read, the latest first.

        Args:
            **options: See ``JobsOptions``.

        Raises:
            InvalidInput: An option is malformed.
            NotFound: The user or a cube does not exist.
        """
        opt.known(options, JobsOptions)
        scope = await self._parts.gate.scope(self._user(options), _named(options))
        labels, states = LABELS, cast("tuple[JobState, ...]", ())
        if options.get("label") is not None:
            labels = (_label(options.get("label")),)
        if options.get("state") is not None:
            states = (cast("JobState", opt.one_of(options.get("state"), JobState, "state")),)
        limit = opt.count(options.get("limit", 100), "limit", 1000)
        after = opt.name(options.get("cursor"), "cursor")
        wanted = Wanted(tuple(scope.grants), labels, states, limit + 1, after)
        found = await self._queue.find(self._account, wanted)
        more = len(found) > limit
        return JobPage(tuple(found[:limit]), found[limit - 1].id if more else None)

    async def wait(
        self,
        id: str,
        *,
        timeout_s: float | None = None,
        progress: Progress | None = None,
        user: str | None = None,
    ) -> JobStatus:
        """Return how a job ended, or how far it is when the time is up.

        Args:
            id: Its id.
            timeout_s: How long to wait; for as long as it takes when None.
            progress: Called with (done, in all), in the unit of the work.
            user: Who asks.

        Raises:
            NotFound: There is none, or the user may not read its cube, or not any more.
        """
        told: tuple[int, int] | None = None
        async with aclosing(looks(self, id, timeout_s=timeout_s, user=user)) as seen:
            async for status in seen:
                step = status.progress
                if progress is not None and step is not None and step != told:
                    told = step
                    progress(*step)
                if status.state in ENDED:
                    return status
        return await self.get(id, user=user)

    async def retry(self, id: str, *, user: str | None = None) -> JobStatus:
        """Begin a job anew that was given up.

        Raises:
            NotFound: There is none for this user.
            InvalidInput: It was not given up.
        """
        status = await self._found(opt.text(id, "id"), user, "write")
        if status.state != "failed":
            raise InvalidInput(
                f"job {id!r} was not given up: it is {status.state}", code="not_failed"
            )
        await self._queue.retry(id, due_at=datetime.now(UTC), cause="")
        self._parts.worker.bell.ring()
        return await self._found(id, user, "write")

    async def run(self, *, forever: bool = False) -> int:
        """Do what is due, of all accounts of the store, in this process.

        Args:
            forever: Go on until this is cancelled, as a server does; else end when nothing is due.

        Returns:
            How many jobs were begun.
        """
        if forever:
            await self._parts.worker.run()
        return await self._parts.worker.drain()

    async def _put(
        self, label: str, cube: str, work: Work, batch: str | None, name: str | None,
        content: bytes | None,
    ) -> JobStatus:  # fmt: skip
        id = self._id(label, cube, work.by, batch)
        known = await self._queue.status(self._account, id)
        if known is not None:
            return known
        kept: Kept | None = None
        if content is not None and name is not None:
            kept = await files.keep(self._parts.blobs, self._account, name, content)
            work = msgspec.structs.replace(work, file=kept)
        payload = cast("JsonObject", msgspec.to_builtins(work))
        key = f"{'reindex' if label == REINDEX else 'write'} {cube}"
        job = Job(id, label, self._account, cube, payload, scope_key=key)
        try:
            await self._queue.put([job])
            kept = None
        finally:
            if kept is not None:
                with CancelScope(shield=True):
                    await self._parts.blobs.delete(self._account, kept.blob)
        self._parts.worker.bell.ring()
        put = await self._queue.status(self._account, id)
        if put is None:  # erased, or pruned, between two breaths
            raise NotFound(f"there is no job {id!r}", code="unknown_job")
        return put

    def _id(self, label: str, cube: str, user: str, batch: str | None) -> str:
        if batch is None:
            return f"job-{self._parts.remember.ingest.new_id()}"
        named = f"{self._account}\x00{label}\x00{cube}\x00{user}\x00{batch}"
        return f"job-{sha256(named.encode()).hexdigest()[:32]}"

    async def _found(self, id: str, user: str | None, need: Access) -> JobStatus:
        acting = opt.name(user, "user") or self._parts.user
        scope = await self._parts.gate.scope(acting)
        status = await self._queue.status(self._account, id)
        if status is None or status.label not in LABELS or not scope.may(status.cube, "read"):
            raise NotFound(f"there is no job {id!r}", code="unknown_job")
        if need == "write":
            await self._parts.gate.scope(acting, [status.cube], need)
        return status

    async def _writable(self, who: Who) -> tuple[str, str]:
        user = self._user(who)
        cube = opt.name(who.get("cube"), "cube") or user
        await self._parts.gate.scope(user, [cube], "write")
        return user, cube

    def _user(self, who: Mapping[str, Any]) -> str:
        return opt.name(who.get("user"), "user") or self._parts.user


def _plain(content: object) -> object:
    try:
        return msgspec.to_builtins(content)
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise InvalidInput(f"it cannot be kept as JSON ({error})") from None


def _named(options: Mapping[str, Any]) -> list[str] | None:
    cube = opt.name(options.get("cube"), "cube")
    if options.get("cubes") is None:
        return None if cube is None else [cube]
    if cube is not None:
        raise InvalidInput("name 'cube' or 'cubes', not both")
    return opt.names(options["cubes"], "cubes")


def _label(value: object) -> str:
    if value not in LABELS:
        raise InvalidInput(f"label: {value!r:.80} is none of {', '.join(LABELS)}")
    return cast("str", value)


def _seconds(timeout_s: object) -> float:
    if timeout_s is None:
        return float("inf")
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float):
        raise InvalidInput(f"timeout_s: expected a number, got {timeout_s!r:.80}")
    if not 0 <= timeout_s <= _LONGEST_S:
        raise InvalidInput(f"timeout_s: expected 0 to {_LONGEST_S:.0f}, got {timeout_s!r:.80}")
    return float(timeout_s)
