"""The job queue of the reference engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from msgspec import structs

from memos.errors import NotFound
from memos.ports.queue import QueueStats
from memos.types import Job


@dataclass(slots=True)
class _Entry:
    """A job in the queue."""

    job: Job
    due_at: datetime
    leased_until: datetime | None = None
    dead: bool = False
    cause: str | None = None

    def leased(self, now: datetime) -> bool:
        return self.leased_until is not None and self.leased_until > now

    def before(self, other: _Entry) -> bool:
        """Whether this job, which arrived earlier, has to be done before ``other``."""
        return self.job.priority >= other.job.priority


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
                self._entries.append(_Entry(job, job.due_at or now))

    def forget(self, account: str, cube: str, memories: Sequence[str]) -> None:
        """Drop the jobs about memories that are erased."""
        self._entries = [
            entry
            for entry in self._entries
            if (entry.job.account, entry.job.cube) != (account, cube)
            or not set(entry.job.memories) & set(memories)
        ]

    async def lease(self, count: int, hold: timedelta) -> list[Job]:
        """Take due jobs, one per scope key."""
        now = datetime.now(UTC)
        taken: list[Job] = []
        for entry in sorted(self._entries, key=lambda entry: -entry.job.priority):
            if len(taken) < count and self._free(entry, now):
                entry.job = structs.replace(entry.job, attempts=entry.job.attempts + 1)
                entry.leased_until = now + hold
                taken.append(entry.job)
        return taken

    def _free(self, entry: _Entry, now: datetime) -> bool:
        if entry.dead or entry.leased(now) or entry.due_at > now:
            return False
        key = entry.job.account, entry.job.scope_key
        at = self._entries.index(entry)
        return not any(
            (other.job.account, other.job.scope_key) == key
            and not other.dead
            and (other.leased(now) or (index < at and other.before(entry)))
            for index, other in enumerate(self._entries)
            if other is not entry
        )

    async def ack(self, ids: Sequence[str]) -> None:
        """Forget finished jobs."""
        self._entries = [entry for entry in self._entries if entry.job.id not in ids]

    async def retry(self, id: str, *, due_at: datetime | None, cause: str) -> None:
        """Give a job back, or up."""
        for entry in self._entries:
            if entry.job.id == id:
                entry.leased_until = None
                entry.due_at = due_at or entry.due_at
                entry.dead = due_at is None
                entry.cause = cause
                return
        raise NotFound(f"no job {id!r}")

    async def stats(self) -> QueueStats:
        """Return the depth of the queue."""
        now = datetime.now(UTC)
        alive = [entry for entry in self._entries if not entry.dead]
        leased = sum(entry.leased(now) for entry in alive)
        return QueueStats(
            waiting=len(alive) - leased,
            leased=leased,
            dead=len(self._entries) - len(alive),
            oldest_due=min((entry.due_at for entry in alive), default=None),
        )
