"""Doing jobs: lease, run, end; again after a while when that may help, else give up."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import anyio
from anyio import CancelScope, create_task_group, get_cancelled_exc_class, move_on_after

from memos.errors import Conflict, InvalidInput, MemosError, RateLimited, UpstreamError
from memos.jobs import files
from memos.jobs.handlers import Handlers
from memos.jobs.types import LABELS, WRITING, Bell, Manner
from memos.ports.queue import JobQueue, Wanted
from memos.progress import unseen
from memos.telemetry import bind, observe
from memos.types import Job, JsonObject, Scope

_logger: Final = logging.getLogger(__name__)
_POLL_S: Final = 0.5
"""How often is looked for what other processes put."""
_TELL_S: Final = 1.0
"""How often progress is written down."""
_PRUNE_S: Final = 3600.0
_LONGEST: Final = timedelta(minutes=10)
"""So long a further attempt waits at most."""


@dataclass(slots=True)
class _Progress:
    """The latest that a job told of its progress; told from any thread."""

    told: tuple[int, int] | None = None
    written: tuple[int, int] | None = None

    def __call__(self, done: int, total: int) -> None:
        self.told = (done, total)


@dataclass(slots=True)
class Worker:
    """Does the jobs of a queue; several of them, also in several processes, share it."""

    queue: JobQueue
    handlers: Handlers
    manner: Manner
    bell: Bell
    _pruned: float = field(default=float("-inf"))

    async def run(self) -> None:
        """Do jobs until this is cancelled; what is under way then is handed back."""
        slots = anyio.Semaphore(self.manner.concurrency)
        async with create_task_group() as group:
            while True:
                await slots.acquire()
                job = await self._next()
                group.start_soon(self._in_slot, job, slots)

    async def drain(self) -> int:
        """Do what is due until nothing is, and return how many jobs that were."""
        count = 0
        await self._prune()
        while (job := await self._lease()) is not None:
            await self._do(job)
            count += 1
        return count

    async def settle(self, scope: Scope) -> None:
        """End what is to be written into the cubes of a scope, before these are erased from.

        What waits, or runs elsewhere, is done here and now; as it is done once however often, the
        other's end changes nothing. What had been given up, or cannot be done, is dropped.

        Raises:
            UpstreamError: Something could not be done now, and may be later.
        """
        wanted = Wanted(tuple(scope.grants), WRITING, ("waiting", "running", "failed"))
        while found := await self.queue.find(scope.account, wanted):
            for status in reversed(found):
                job = await self.queue.open(scope.account, status.id)
                if job is not None:
                    await self._settle(job, given_up=status.state == "failed")

    async def _settle(self, job: Job, *, given_up: bool) -> None:
        result: JsonObject | None = None
        if not given_up:
            try:
                result = await self.handlers.run(job, unseen)
            except MemosError as error:
                if _may_help(error):
                    raise
        if result is None:
            await self.queue.ack([job.id])
        else:
            await self.queue.finish(job.id, result)
        await files.drop(self.handlers.blobs, job)
        self.bell.ring()

    async def _in_slot(self, job: Job, slots: anyio.Semaphore) -> None:
        try:
            await self._do(job)
        finally:
            slots.release()

    async def _next(self) -> Job:
        while True:
            rung = self.bell.next()
            try:
                await self._prune()
                job = await self._lease()
            except MemosError as error:
                _logger.warning("queue failed", extra={"code": error.code})
                job = None
            if job is not None:
                return job
            with move_on_after(_POLL_S):
                await rung.wait()

    async def _lease(self) -> Job | None:
        leased: list[Job] = []
        with CancelScope(shield=True):  # else what is leased just then is nobody's
            leased = await self.queue.lease(1, self.manner.hold, LABELS)
        return leased[0] if leased else None

    async def _do(self, job: Job) -> None:
        start = time.perf_counter()
        progress = _Progress()
        outcome: JsonObject | Exception | None = None
        end = "lost"
        with bind(job=job.id, account=job.account):
            try:
                async with create_task_group() as group:
                    group.start_soon(self._hold, job, progress, group.cancel_scope)
                    outcome = await self._outcome(job, progress)
                    group.cancel_scope.cancel()
            except get_cancelled_exc_class():
                with CancelScope(shield=True), suppress(MemosError):  # else its lease ends
                    await self.queue.release(job.id)
                raise
            with CancelScope(shield=True):
                end = await self._end(job, outcome)
        observe("job_seconds", time.perf_counter() - start, label=job.label, outcome=end)
        self.bell.ring()

    async def _outcome(self, job: Job, progress: _Progress) -> JsonObject | Exception:
        try:
            return await self.handlers.run(job, progress)
        except Exception as error:  # noqa: BLE001 - the worker loop; noted with the job
            return error

    async def _hold(self, job: Job, progress: _Progress, scope: CancelScope) -> None:
        """Keep the lease, and stop the work when the job is gone."""
        renewed, pause = time.monotonic(), min(_TELL_S, self.manner.hold.total_seconds() / 4)
        while True:
            await anyio.sleep(pause)
            moved = progress.told != progress.written
            if not moved and time.monotonic() - renewed < self.manner.hold.total_seconds() / 3:
                continue
            told, renewed = progress.told, time.monotonic()
            try:
                if not await self.queue.renew(job.id, self.manner.hold, told):
                    scope.cancel()
                    return
            except MemosError as error:
                _logger.warning("lease not renewed", extra={"code": error.code})
            progress.written = told
            self.bell.ring()

    async def _end(self, job: Job, outcome: JsonObject | Exception | None) -> str:
        """Write down how a job ended, and return one word for it."""
        try:
            if outcome is None:
                return "gone"
            if isinstance(outcome, Exception):
                return await self._failed(job, outcome)
            await self.queue.finish(job.id, outcome)
            await files.drop(self.handlers.blobs, job)
        except MemosError as error:  # its lease ends, and it is done again
            _logger.warning("job not ended", extra={"code": error.code, "label": job.label})
            return "lost"
        return "done"

    async def _failed(self, job: Job, error: Exception) -> str:
        code = error.code if isinstance(error, MemosError) else "internal"
        facts = {"code": code, "label": job.label, "attempts": job.attempts}
        again = _may_help(error) and job.attempts < self.manner.attempts
        due_at: datetime | None = None
        if again:
            due_at = datetime.now(UTC) + self._pause(job, error)
            _logger.info("job put off", extra=facts)
        else:
            unexpected = None if isinstance(error, MemosError) else error
            _logger.error("job failed", extra=facts, exc_info=unexpected)
        await self.queue.retry(job.id, due_at=due_at, cause=_told(error), code=code)
        return "retry" if again else "failed"

    def _pause(self, job: Job, error: Exception) -> timedelta:
        pause = min(self.manner.retry * 2 ** min(job.attempts - 1, 20), _LONGEST)
        if isinstance(error, RateLimited) and error.retry_after is not None:
            return max(pause, timedelta(seconds=error.retry_after))
        return pause

    async def _prune(self) -> None:
        if time.monotonic() - self._pruned < _PRUNE_S:
            return
        self._pruned = time.monotonic()
        for job in await self.queue.prune(datetime.now(UTC) - self.manner.keep):
            if job.label in LABELS:
                await files.drop(self.handlers.blobs, job)


def _may_help(error: Exception) -> bool:
    """Whether another attempt may end otherwise."""
    if isinstance(error, UpstreamError):
        return error.retryable
    return isinstance(error, Conflict) and error.code == "head_moved"


def _told(error: Exception) -> str:
    """Return what is kept of an error: a cause, and nothing of what was handed over."""
    if isinstance(error, InvalidInput):
        return "what was handed over cannot be read"
    if isinstance(error, UpstreamError):
        return f"{error.service} failed"
    return error.detail if isinstance(error, MemosError) else "it failed as it should not"
