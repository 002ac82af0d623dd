"""The job queue of the embedded engine, in the records' file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar, cast

import apsw
import msgspec
from msgspec import structs

from memos._offload import Offload
from memos.backends.sqlite import codec
from memos.backends.sqlite.connection import File
from memos.backends.sqlite.write import put_jobs
from memos.errors import NotFound
from memos.ports.queue import QueueStats, Wanted
from memos.types import Job, JobState, JobStatus, JsonObject

T = TypeVar("T")
_jobs: Final = msgspec.json.Decoder(Job)
_results: Final = msgspec.json.Decoder(dict[str, object])
_FREE: Final = """
    SELECT seq, body, attempts, account, scope_key FROM jobs j WHERE ended = 0 AND due <= ?1
    AND ifnull(leased_until, 0) <= ?1 AND {mine} AND NOT EXISTS (SELECT 1 FROM jobs o WHERE
    o.account = j.account AND o.scope_key = j.scope_key AND o.ended = 0 AND o.seq <> j.seq
    AND {others} AND (o.leased_until > ?1 OR (o.seq < j.seq AND o.priority >= j.priority)))
    ORDER BY priority DESC, seq"""
_STATUS: Final = """
    SELECT id, label, account, cube, CASE ended WHEN 1 THEN 'failed' WHEN 2 THEN 'done' ELSE
    CASE WHEN ifnull(leased_until, 0) > ?1 THEN 'running' ELSE 'waiting' END END AS state,
    attempts, put_at, due, started_at, ended_at, done, total, result, code, cause FROM jobs"""


class Jobs:
    """``JobQueue`` over one file."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._offload = Offload(1)

    async def put(self, jobs: Sequence[Job]) -> None:
        """Store the jobs durably."""
        now = datetime.now(UTC)
        await self._file.commit(lambda db: put_jobs(db, jobs, now))

    async def lease(
        self, count: int, hold: timedelta, labels: Sequence[str] | None = None
    ) -> list[Job]:
        """Take due jobs, one per scope key."""
        now = datetime.now(UTC)
        if not await self._read(lambda db: _is_due(db, now, labels)):
            return []  # who only looks shall not hold up who writes
        return await self._file.commit(lambda db: _lease(db, count, (now, now + hold), labels))

    async def renew(
        self, id: str, hold: timedelta, progress: tuple[int, int] | None = None
    ) -> bool:
        """Hold a job for longer."""
        until = codec.micros(datetime.now(UTC) + hold)
        done, total = progress or (None, None)

        def work(db: apsw.Connection) -> bool:
            db.execute(
                "UPDATE jobs SET leased_until = ?, done = ifnull(?, done), total = ifnull(?, total)"
                " WHERE id = ? AND ended = 0",
                (until, done, total, id),
            )
            return bool(db.changes())

        return await self._file.commit(work)

    async def release(self, id: str) -> None:
        """Give a leased job back."""
        await self._file.commit(
            lambda db: db.execute(
                "UPDATE jobs SET leased_until = NULL, attempts = max(0, attempts - 1)"
                " WHERE id = ? AND ended = 0 AND leased_until IS NOT NULL",
                (id,),
            )
        )

    async def ack(self, ids: Sequence[str]) -> None:
        """Forget jobs, and leave nothing of them in the log."""
        await self._file.commit(lambda db: _forget(db, ids))
        await self._offload.run(self._file.purge_log)

    async def finish(self, id: str, result: JsonObject) -> None:
        """Keep what a job brought."""
        now = codec.micros(datetime.now(UTC))
        await self._file.commit(lambda db: _finish(db, id, codec.encode(result), now))

    async def retry(self, id: str, *, due_at: datetime | None, cause: str, code: str = "") -> None:
        """Give a job back, or up."""
        dead, now = due_at is None, codec.micros(datetime.now(UTC))

        def work(db: apsw.Connection) -> None:
            db.execute(
                "UPDATE jobs SET leased_until = NULL, cause = ?, code = ?, ended = ?, ended_at = ?,"
                " due = ifnull(?, due) WHERE id = ? AND ended < 2",
                (cause or None, code or None, int(dead), now if dead else None,
                 None if due_at is None else codec.micros(due_at), id),
            )  # fmt: skip
            if not db.changes():
                raise NotFound(f"no job {id!r}")

        await self._file.commit(work)

    async def status(self, account: str, id: str) -> JobStatus | None:
        """Return how far a job is."""
        query = f"{_STATUS} WHERE account = ?2 AND id = ?3"
        with self._file.glance as db:  # whoever waits looks often: a thread would cost more
            found = db.execute(query, (_now(), account, id)).fetchone()
        return None if found is None else _status(cast("tuple[object, ...]", found))

    async def open(self, account: str, id: str) -> Job | None:
        """Return a job that is not done."""
        query = "SELECT body, attempts FROM jobs WHERE account = ? AND id = ? AND ended < 2"
        found = await self._read(lambda db: db.execute(query, (account, id)).fetchone())
        if found is None:
            return None
        body, attempts = cast("tuple[bytes, int]", found)
        return structs.replace(_jobs.decode(body), attempts=attempts)

    async def find(self, account: str, wanted: Wanted) -> list[JobStatus]:
        """Return jobs, the latest first."""
        query = (
            f"SELECT * FROM ({_STATUS} WHERE account = ?2"
            " AND cube IN (SELECT value FROM json_each(?3))"
            " AND label IN (SELECT value FROM json_each(?4))"
            " AND (?6 IS NULL OR seq < (SELECT seq FROM jobs WHERE account = ?2 AND id = ?6))"
            " ORDER BY seq DESC) WHERE json_array_length(?5) = 0"
            " OR state IN (SELECT value FROM json_each(?5)) LIMIT ?7"
        )
        lists = [codec.encode(list(x)).decode() for x in (wanted.cubes, wanted.labels)]
        states = codec.encode(list(wanted.states)).decode()
        values = (_now(), account, *lists, states, wanted.after, wanted.limit)
        found = await self._read(lambda db: db.execute(query, values).fetchall())
        return [_status(cast("tuple[object, ...]", row)) for row in found]

    async def prune(self, before: datetime) -> list[Job]:
        """Forget what ended before a moment."""
        bound = (codec.micros(before),)

        def work(db: apsw.Connection) -> list[Job]:
            query = "SELECT id, ended, body FROM jobs WHERE ended > 0 AND ended_at < ?"
            old = cast("list[tuple[str, int, bytes]]", db.execute(query, bound).fetchall())
            _forget(db, [id for id, _, _ in old])
            return [_jobs.decode(body) for _, ended, body in old if ended == 1]

        return await self._file.commit(work)

    async def stats(self, labels: Sequence[str] | None = None) -> QueueStats:
        """Return the depth of the queue."""
        query = (
            "SELECT sum(ended = 0 AND ifnull(leased_until, 0) <= ?1), sum(ended = 0 AND"
            " ifnull(leased_until, 0) > ?1), sum(ended = 1), min(CASE ended WHEN 0 THEN due END)"
            f" FROM jobs WHERE {_among(labels)}"
        )
        found = await self._read(lambda db: db.execute(query, (_now(),)).fetchone())
        waiting, leased, dead, due = cast(
            "tuple[int | None, int | None, int | None, int | None]", found
        )
        return QueueStats(
            waiting or 0, leased or 0, dead or 0, None if due is None else codec.moment(due)
        )

    async def _read(self, work: Callable[[apsw.Connection], T]) -> T:
        def reading() -> T:
            with self._file.reading() as db:
                return work(db)

        return await self._offload.run(reading)


def _now() -> int:
    return codec.micros(datetime.now(UTC))


def _among(labels: Sequence[str] | None, table: str = "jobs") -> str:
    """Return a condition; labels are names in our code, and quoted all the same."""
    if labels is None:
        return "1"
    quoted = ", ".join("'" + label.replace("'", "''") + "'" for label in labels)
    return f"{table}.label IN ({quoted})"


def _is_due(db: apsw.Connection, now: datetime, labels: Sequence[str] | None) -> bool:
    query = (
        "SELECT 1 FROM jobs WHERE ended = 0 AND due <= ?1 AND ifnull(leased_until, 0) <= ?1"
        f" AND {_among(labels)} LIMIT 1"
    )
    return db.execute(query, (codec.micros(now),)).get is not None


def _lease(
    db: apsw.Connection,
    count: int,
    time: tuple[datetime, datetime],
    labels: Sequence[str] | None,
) -> list[Job]:
    now, until = map(codec.micros, time)
    leased: list[Job] = []
    keys: set[tuple[str, str]] = set()
    query = _FREE.format(mine=_among(labels, "j"), others=_among(labels, "o"))
    rows = db.execute(query, (now,)).fetchall()
    for seq, body, attempts, *owner in cast("Iterable[tuple[int, bytes, int, str, str]]", rows):
        key = (owner[0], owner[1])
        if len(leased) == count:
            break
        if key in keys:
            continue
        keys.add(key)
        db.execute(
            "UPDATE jobs SET leased_until = ?, started_at = ?, attempts = attempts + 1"
            " WHERE seq = ?",
            (until, now, seq),
        )
        leased.append(structs.replace(_jobs.decode(body), attempts=attempts + 1))
    return leased


def _forget(db: apsw.Connection, ids: Iterable[str]) -> None:
    for id in ids:
        db.execute(
            "DELETE FROM job_memories WHERE job = (SELECT seq FROM jobs WHERE id = ?)", (id,)
        )
        db.execute("DELETE FROM jobs WHERE id = ?", (id,))


def _finish(db: apsw.Connection, id: str, result: bytes, now: int) -> None:
    found = db.execute("SELECT seq, body FROM jobs WHERE id = ? AND ended < 2", (id,)).fetchone()
    if found is None:
        return
    seq, body = cast("tuple[int, bytes]", found)
    emptied = structs.replace(_jobs.decode(body), payload={}, memories=())
    db.execute("DELETE FROM job_memories WHERE job = ?", (seq,))
    db.execute(
        "UPDATE jobs SET body = ?, result = ?, ended = 2, ended_at = ?, leased_until = NULL,"
        " code = NULL, cause = NULL WHERE seq = ?",
        (codec.encode(emptied), result, now, seq),
    )


def _status(row: tuple[object, ...]) -> JobStatus:
    id, label, account, cube, state, attempts, *times, done, total, result, code, cause = row
    moments = [None if at is None else codec.moment(cast("int", at)) for at in times]
    put_at, due_at, started_at, ended_at = moments
    return JobStatus(
        cast("str", id), cast("str", label), cast("str", account), cast("str", cube),
        cast("JobState", state), cast("int", attempts),
        cast("datetime", put_at), cast("datetime", due_at), started_at, ended_at,
        None if total is None else (cast("int", done), cast("int", total)),
        None if result is None else _results.decode(cast("bytes", result)),
        cast("str | None", code), cast("str | None", cause),
    )  # fmt: skip
