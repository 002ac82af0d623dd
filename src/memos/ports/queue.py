"""Work for later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from memos.types import Job, JobState, JobStatus, JsonObject


@dataclass(frozen=True, slots=True)
class QueueStats:
    """How many jobs wait, are leased, or were given up, and when the oldest became due."""

    waiting: int
    leased: int
    dead: int
    oldest_due: datetime | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which jobs of an account are looked for.

    Attributes:
        cubes: Those of these cubes.
        labels: Those of these kinds.
        states: Those in one of these states; in any when empty.
        limit: At most so many.
        after: Older than this one, by id.
    """

    cubes: Sequence[str]
    labels: Sequence[str]
    states: Sequence[JobState] = ()
    limit: int = 100
    after: str | None = None


class JobQueue(Protocol):
    """At-least-once delivery, in order within a job's ``scope_key``.

    While a job of a scope key is leased, no other job of that key is given out. A lease that
    ends without ``ack``, ``finish`` or ``retry`` makes the job visible again. Higher ``priority``
    goes first among the due jobs, then the order of arrival. Putting a known job id again does
    nothing. A job ends by ``finish``, or is given up by ``retry``; how it ended stays to be seen
    until ``prune``.

    Raises:
        QueueError: The queue failed.
    """

    async def put(self, jobs: Sequence[Job]) -> None:
        """Store the jobs durably."""
        ...

    async def lease(
        self, count: int, hold: timedelta, labels: Sequence[str] | None = None
    ) -> list[Job]:
        """Take up to ``count`` due jobs for the time ``hold``; ``attempts`` counts this one.

        Only jobs of ``labels`` are given out, those of all when None; the order within a scope key
        is that of the jobs that may be.
        """
        ...

    async def renew(
        self, id: str, hold: timedelta, progress: tuple[int, int] | None = None
    ) -> bool:
        """Hold a job for ``hold`` from now on; False when it ended or is gone."""
        ...

    async def release(self, id: str) -> None:
        """Give a leased job back as if it had not been begun; one that ended is left alone."""
        ...

    async def ack(self, ids: Sequence[str]) -> None:
        """Forget jobs; unknown ids are ignored."""
        ...

    async def finish(self, id: str, result: JsonObject) -> None:
        """Keep what a job brought and nothing of what it was given; an unknown id is ignored."""
        ...

    async def retry(self, id: str, *, due_at: datetime | None, cause: str, code: str = "") -> None:
        """Give a job back for ``due_at``, or, with None, to the dead letters with its cause.

        A job that was given up is begun again when it is given back.

        Raises:
            NotFound: There is no such job, or it is done.
        """
        ...

    async def status(self, account: str, id: str) -> JobStatus | None:
        """Return how far a job of the account is."""
        ...

    async def open(self, account: str, id: str) -> Job | None:
        """Return a job that is not done, as it was put, but for ``attempts``."""
        ...

    async def find(self, account: str, wanted: Wanted) -> list[JobStatus]:
        """Return jobs of the account, the latest first."""
        ...

    async def prune(self, before: datetime) -> list[Job]:
        """Forget what ended before a moment, and return those of it that had been given up."""
        ...

    async def stats(self, labels: Sequence[str] | None = None) -> QueueStats:
        """Return the depth of the queue, of the jobs of ``labels`` alone when they are named."""
        ...
