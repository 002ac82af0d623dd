"""Work for later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from memos.types import Job


@dataclass(frozen=True, slots=True)
class QueueStats:
    """How many jobs wait, are leased, or were given up, and when the oldest became due."""

    waiting: int
    leased: int
    dead: int
    oldest_due: datetime | None


class JobQueue(Protocol):
    """At-least-once delivery, in order within a job's ``scope_key``.

    While a job of a scope key is leased, no other job of that key is given out. A lease that
    ends without ``ack`` or ``retry`` makes the job visible again. Higher ``priority`` goes first
    among the due jobs, then the order of arrival. Putting a known job id again does nothing.

    Raises:
        QueueError: The queue failed.
    """

    async def put(self, jobs: Sequence[Job]) -> None:
        """Store the jobs durably."""
        ...

    async def lease(self, count: int, hold: timedelta) -> list[Job]:
        """Take up to ``count`` due jobs for the time ``hold``; ``attempts`` counts this one."""
        ...

    async def ack(self, ids: Sequence[str]) -> None:
        """Forget finished jobs; unknown ids are ignored."""
        ...

    async def retry(self, id: str, *, due_at: datetime | None, cause: str) -> None:
        """Give a job back for ``due_at``, or, with None, to the dead letters with its cause.

        Raises:
            NotFound: There is no such job.
        """
        ...

    async def stats(self) -> QueueStats:
        """Return the depth of the queue."""
        ...
