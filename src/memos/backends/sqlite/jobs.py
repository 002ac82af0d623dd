"""The job queue of the embedded engine, in the records' file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, cast

import apsw
import msgspec
from msgspec import structs

from memos._offload import Offload
from memos.backends.sqlite import codec
from memos.backends.sqlite.connection import File
from memos.backends.sqlite.write import put_jobs
from memos.errors import NotFound
from memos.ports.queue import QueueStats
from memos.types import Job

_jobs: Final = msgspec.json.Decoder(Job)


class Jobs:
    """``JobQueue`` over one file."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._offload = Offload(1)

    async def put(self, jobs: Sequence[Job]) -> None:
        """Store the jobs durably."""
        now = datetime.now(UTC)
        await self._file.commit(lambda db: put_jobs(db, jobs, now))

    async def lease(self, count: int, hold: timedelta) -> list[Job]:
        """Take due jobs, one per scope key."""
        now = datetime.now(UTC)
        return await self._file.commit(lambda db: _lease(db, count, now, now + hold))

    async def ack(self, ids: Sequence[str]) -> None:
        """Forget finished jobs."""

        def work(db: apsw.Connection) -> None:
            for id in ids:
                db.execute(
                    "DELETE FROM job_memories WHERE job = (SELECT seq FROM jobs WHERE id = ?)",
                    (id,),
                )
                db.execute("DELETE FROM jobs WHERE id = ?", (id,))

        await self._file.commit(work)

    async def retry(self, id: str, *, due_at: datetime | None, cause: str) -> None:
        """Give a job back, or up."""

        def work(db: apsw.Connection) -> None:
            db.execute(
                "UPDATE jobs SET leased_until = NULL, cause = ?, dead = ?, due = ifnull(?, due)"
                " WHERE id = ?",
                (cause, int(due_at is None), None if due_at is None else codec.micros(due_at), id),
            )
            if not db.changes():
                raise NotFound(f"no job {id!r}")

        await self._file.commit(work)

    async def stats(self) -> QueueStats:
        """Return the depth of the queue."""
        return await self._offload.run(self._stats)

    def _stats(self) -> QueueStats:
        with self._file.reading() as db:
            now = codec.micros(datetime.now(UTC))
            found = db.execute(
                "SELECT sum(NOT dead AND ifnull(leased_until, 0) <= ?1), sum(NOT dead AND"
                " ifnull(leased_until, 0) > ?1), sum(dead), min(CASE WHEN NOT dead THEN due END)"
                " FROM jobs",
                (now,),
            ).fetchone()
        waiting, leased, dead, due = cast(
            "tuple[int | None, int | None, int | None, int | None]", found
        )
        return QueueStats(
            waiting or 0, leased or 0, dead or 0, None if due is None else codec.moment(due)
        )


def _lease(db: apsw.Connection, count: int, now: datetime, until: datetime) -> list[Job]:
    free = (
        "SELECT seq, body, attempts, account, scope_key FROM jobs j WHERE NOT dead AND due <= ?1"
        " AND ifnull(leased_until, 0) <= ?1 AND NOT EXISTS (SELECT 1 FROM jobs o WHERE"
        " o.account = j.account AND o.scope_key = j.scope_key AND NOT o.dead AND o.seq <> j.seq"
        " AND (o.leased_until > ?1 OR (o.seq < j.seq AND o.priority >= j.priority)))"
        " ORDER BY priority DESC, seq"
    )
    leased: list[Job] = []
    keys: set[tuple[str, str]] = set()
    rows = db.execute(free, (codec.micros(now),)).fetchall()
    for seq, body, attempts, *owner in cast("Iterable[tuple[int, bytes, int, str, str]]", rows):
        key = (owner[0], owner[1])
        if len(leased) == count:
            break
        if key in keys:
            continue
        keys.add(key)
        db.execute(
            "UPDATE jobs SET leased_until = ?, attempts = attempts + 1 WHERE seq = ?",
            (codec.micros(until), seq),
        )
        leased.append(structs.replace(_jobs.decode(body), attempts=attempts + 1))
    return leased
