"""The job queue of the reference engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from msgspec import structs

from memos.errors import NotFound
from memos.ports.queue import QueueStats, Wanted
from memos.types import Job, JobState, JobStatus, JsonObject


@dataclass(slots=True)
class _Entry:
    """A job in the queue."""

    job: Job
    put_at: datetime
    due_at: datetime
    leased_until: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    dead: bool = False
    progress: tuple[int, int] | None = None
    result: JsonObject | None = None
    code: str | None = None
    cause: str | None = None

    def leased(self, now: datetime) -> bool:
        return self.leased_until is not None and self.leased_until > now

    def before(self, other: _Entry) -> bool:
        """Whether this job, which arrived earlier, has to be done before ``other``."""
        return self.job.priority >= other.job.priority

    @property
    def alive(self) -> bool:
        return self.ended_at is None

    def state(self, now: datetime) -> JobState:
        if not self.alive:
            return "failed" if self.dead else "done"
        return "running" if self.leased(now) else "waiting"

    def status(self, now: datetime) -> JobStatus:
        job = self.job
        return JobStatus(
            job.id, job.label, job.account, job.cube, self.state(now), job.attempts, self.put_at,
            self.due_at, self.started_at, self.ended_at, self.progress, self.result, self.code,
            self.cause,
        )  # fmt: skip


class Jobs:
    """``JobQueue`` in a list, in the order of arrival."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []

    async def put(self, jobs: Sequence[Job]) -> None:
        """Store the jobs."""
        self.take(jobs, datetime.now(UTC))

    def take(self, jobs: Sequence[Job], now: datetime) -> None:
        """Store jobs at once; known ids are left as they are."""
        for job in jobs:
            if all(entry.job.id != job.id for entry in self._entries):
                self._entries.append(_Entry(job, now, job.due_at or now))

    def forget(self, account: str, cube: str, memories: Sequence[str]) -> None:
        """Drop the jobs about memories that are erased; of those done nothing is left to erase."""
        self._entries = [
            entry
            for entry in self._entries
            if (entry.job.account, entry.job.cube) != (account, cube)
            or not set(entry.job.memories) & set(memories)
        ]

    async def lease(
        self, count: int, hold: timedelta, labels: Sequence[str] | None = None
    ) -> list[Job]:
        """Take due jobs, one per scope key."""
        now = datetime.now(UTC)
        taken: list[Job] = []
        queue = [entry for entry in self._entries if labels is None or entry.job.label in labels]
        for entry in sorted(queue, key=lambda entry: -entry.job.priority):
            if len(taken) < count and _is_free(entry, queue, now):
                entry.job = structs.replace(entry.job, attempts=entry.job.attempts + 1)
                entry.leased_until, entry.started_at = now + hold, now
                taken.append(entry.job)
        return taken

    async def renew(
        self, id: str, hold: timedelta, progress: tuple[int, int] | None = None
    ) -> bool:
        """Hold a job for longer."""
        entry = self._entry(id)
        if entry is None or not entry.alive:
            return False
        entry.leased_until = datetime.now(UTC) + hold
        entry.progress = progress or entry.progress
        return True

    async def release(self, id: str) -> None:
        """Give a leased job back."""
        entry = self._entry(id)
        if entry is not None and entry.alive and entry.leased_until is not None:
            entry.leased_until = None
            entry.job = structs.replace(entry.job, attempts=max(0, entry.job.attempts - 1))

    async def ack(self, ids: Sequence[str]) -> None:
        """Forget jobs."""
        self._entries = [entry for entry in self._entries if entry.job.id not in ids]

    async def finish(self, id: str, result: JsonObject) -> None:
        """Keep what a job brought."""
        entry = self._entry(id)
        if entry is not None and (entry.alive or entry.dead):
            entry.job = structs.replace(entry.job, payload={}, memories=())
            entry.ended_at, entry.dead, entry.leased_until = datetime.now(UTC), False, None
            entry.result, entry.code, entry.cause = result, None, None

    async def retry(self, id: str, *, due_at: datetime | None, cause: str, code: str = "") -> None:
        """Give a job back, or up."""
        entry = self._entry(id)
        if entry is None or not (entry.alive or entry.dead):
            raise NotFound(f"no job {id!r}")
        entry.leased_until = None
        entry.due_at = due_at or entry.due_at
        entry.dead = due_at is None
        entry.ended_at = datetime.now(UTC) if entry.dead else None
        entry.cause, entry.code = cause or None, code or None

    async def status(self, account: str, id: str) -> JobStatus | None:
        """Return how far a job is."""
        entry = self._entry(id)
        found = entry is not None and entry.job.account == account
        return entry.status(datetime.now(UTC)) if entry is not None and found else None

    async def open(self, account: str, id: str) -> Job | None:
        """Return a job that is not done."""
        entry = self._entry(id)
        if entry is None or entry.job.account != account or not (entry.alive or entry.dead):
            return None
        return entry.job

    async def find(self, account: str, wanted: Wanted) -> list[JobStatus]:
        """Return jobs, the latest first."""
        now = datetime.now(UTC)
        known = [entry.status(now) for entry in self._entries]
        ids = [status.id for status in known]
        if wanted.after is not None:
            known = known[: ids.index(wanted.after)] if wanted.after in ids else []
        found = [
            status
            for status in reversed(known)
            if status.account == account
            and status.cube in wanted.cubes
            and status.label in wanted.labels
            and (not wanted.states or status.state in wanted.states)
        ]
        return found[: wanted.limit]

    async def prune(self, before: datetime) -> list[Job]:
        """Forget what ended before a moment."""
        old = [e for e in self._entries if e.ended_at is not None and e.ended_at < before]
        self._entries = [entry for entry in self._entries if entry not in old]
        return [entry.job for entry in old if entry.dead]

    async def stats(self, labels: Sequence[str] | None = None) -> QueueStats:
        """Return the depth of the queue."""
        now = datetime.now(UTC)
        queue = [entry for entry in self._entries if labels is None or entry.job.label in labels]
        alive = [entry for entry in queue if entry.alive]
        leased = sum(entry.leased(now) for entry in alive)
        return QueueStats(
            waiting=len(alive) - leased,
            leased=leased,
            dead=sum(entry.dead for entry in queue),
            oldest_due=min((entry.due_at for entry in alive), default=None),
        )

    def _entry(self, id: str) -> _Entry | None:
        return next((entry for entry in self._entries if entry.job.id == id), None)


def _is_free(entry: _Entry, queue: Sequence[_Entry], now: datetime) -> bool:
    if not entry.alive or entry.leased(now) or entry.due_at > now:
        return False
    key = entry.job.account, entry.job.scope_key
    at = queue.index(entry)
    return not any(
        (other.job.account, other.job.scope_key) == key
        and other.alive
        and (other.leased(now) or (index < at and other.before(entry)))
        for index, other in enumerate(queue)
        if other is not entry
    )
