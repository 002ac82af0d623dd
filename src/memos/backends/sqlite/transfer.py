"""Whole cubes out of the file and into it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, cast

import anyio
import apsw
import uuid_utils

from memos._offload import Offload
from memos.backends.sqlite import codec, publish
from memos.backends.sqlite.connection import File
from memos.backends.sqlite.lock import Lease
from memos.backends.sqlite.purge import Purge
from memos.backends.sqlite.records import cube_numbers
from memos.backends.sqlite.schema import EMBEDDERS_PER_FILE
from memos.backends.sqlite.staging import Staged, put_piece, throw_away
from memos.ports import refusals
from memos.ports.stores import Entry
from memos.ports.transfer import (
    Counts,
    CubeStats,
    Cursor,
    OnConflict,
    Piece,
    Published,
    Snapshot,
    Version,
)
from memos.types import Link, Scope, Tombstone

_DUMPS: Final = 2
"""Dumps at a time; each holds a connection of the pool."""
_SESSIONS: Final = (
    "SELECT count(DISTINCT session) FROM memories m JOIN places p ON p.place = m.place"
    " WHERE m.cube = ? AND m.live"
)


class Transfers:
    """``Transfer`` over one file."""

    def __init__(self, file: File, purge: Purge) -> None:
        self._file = file
        self._purge = purge
        self._folder = file.path.parent / "staging"
        self._offload = Offload(2)
        self._dumps = anyio.CapacityLimiter(_DUMPS)
        self._leases: dict[str, Lease] = {}

    @asynccontextmanager
    async def snapshot(self, cube: str, scope: Scope) -> AsyncGenerator[Snapshot]:
        """Hold a read transaction, which nothing that is written meanwhile can change."""
        refusals.check_read(scope, cube)
        async with self._dumps:
            reading = self._file.reading()
            db = await self._offload.run(reading.__enter__)
            try:
                yield await self._offload.run(_State.of, db, self._offload, scope.account, cube)
            finally:
                with anyio.CancelScope(shield=True):
                    await self._offload.run(reading.__exit__, None, None, None)

    async def stage(self, cube: str, scope: Scope, embedder: str) -> str:
        """Begin a staging cube."""
        refusals.check_write(scope, cube)
        token, lease = "", None
        while lease is None:  # another process may be sweeping the file away as it is made
            token = str(uuid_utils.uuid7())
            lease = Lease.take(self._lease_path(token))
        self._leases[token] = lease

        def work(db: apsw.Connection) -> None:
            db.execute("INSERT INTO cubes (account, id) VALUES ('', ?)", (token,))
            db.execute(
                "INSERT INTO staged VALUES (?, ?, ?, ?, ?)",
                (db.last_insert_rowid(), token, scope.account, cube, embedder),
            )

        await self._file.commit(work)
        return token

    async def restore(self, staging: str, piece: Piece) -> None:
        """Add to a staging cube."""
        prepared = await self._offload.run(Staged.of, piece)
        await self._file.commit(lambda db: put_piece(db, staging, prepared))

    async def publish(
        self, staging: str, on_conflict: OnConflict, entries: Sequence[Entry]
    ) -> Published:
        """Make the staging cube visible, or part of another, in one transaction."""
        now = datetime.now(UTC)
        published = await self._file.commit(
            lambda db: publish.publish(db, staging, on_conflict, entries, now)
        )
        self._end(staging)
        return published

    async def discard(self, staging: str) -> None:
        """Throw a staging cube away."""
        await self._offload.run(self._discard, staging)
        self._end(staging)

    async def stats(self, cube: str, scope: Scope) -> CubeStats:
        """Count by SQL what the cube holds."""
        refusals.check_read(scope, cube)

        def read() -> CubeStats:
            with self._file.reading() as db:
                number = cube_numbers(db, scope.account, [cube]).get(cube, -1)
                return _stats(db, number, self._file.path)

        return await self._offload.run(read)

    def sweep(self) -> None:
        """Throw away the staging cubes of processes that are gone."""
        # Who was killed just before staging, or just after publishing, left a file and no row.
        tokens = {path.stem for path in self._folder.glob("*.lock")}
        with self._file.reading() as db:
            tokens |= {cast("str", t) for (t,) in db.execute("SELECT token FROM staged").fetchall()}
        for token in tokens:
            lease = None if token in self._leases else Lease.take(self._lease_path(token))
            if lease is not None:
                self._discard(token)
                lease.end()

    def close(self) -> None:
        """Let go of what is unfinished; who opens the file next throws it away."""
        for token in list(self._leases):
            self._end(token)

    def _discard(self, token: str) -> None:
        while not self._file.write(lambda db: throw_away(db, token)):
            pass
        self._purge.complete()

    def _end(self, token: str) -> None:
        if lease := self._leases.pop(token, None):
            lease.end()

    def _lease_path(self, token: str) -> Path:
        return self._folder / f"{token}.lock"


@dataclass(frozen=True, slots=True)
class _State:
    """``Snapshot`` over an open read transaction."""

    db: apsw.Connection
    offload: Offload
    cube: str
    number: int
    embedder: int

    @classmethod
    def of(cls, db: apsw.Connection, offload: Offload, account: str, cube: str) -> _State:
        number = cube_numbers(db, account, [cube]).get(cube, -1)
        embedder = db.execute("SELECT embedder FROM cubes WHERE cube = ?", (number,)).get
        return cls(db, offload, cube, number, -1 if embedder is None else cast("int", embedder))

    async def counts(self) -> Counts:
        """Return how much there is."""
        return await self.offload.run(self._counts)

    async def versions(self, after: int, limit: int) -> Cursor:
        """Return versions in row order."""
        return await self.offload.run(self._versions, after, limit)

    async def links(self, after: Link | None, limit: int) -> list[Link]:
        """Return links in key order."""
        return await self.offload.run(self._links, after, limit)

    async def tombstones(self, after: str, limit: int) -> list[Tombstone]:
        """Return tombstones by id."""
        return await self.offload.run(self._tombstones, after, limit)

    def _counts(self) -> Counts:
        counted = _counted(
            self.db,
            self.number,
            "SELECT count(*) FROM memories WHERE cube = ?",
            "SELECT count(*) FROM memories WHERE cube = ? AND latest",
            "SELECT count(*) FROM links WHERE cube = ?",
            "SELECT count(*) FROM tombstones WHERE cube = ?",
        )
        found = self.db.execute(
            "SELECT name, dimensions FROM embedders WHERE embedder = ?", (self.embedder,)
        ).fetchone()
        name, dimensions = (None, 0) if found is None else cast("tuple[str, int]", found)
        return Counts(*counted, embedder=name, dimensions=dimensions)

    def _versions(self, after: int, limit: int) -> Cursor:
        # "+": walk the table in row order; an index would sort the cube for every page.
        rows = self.db.execute(
            "SELECT m.row, m.body, m.ended, m.live, v.data FROM memories m"
            f" LEFT JOIN vectors v ON v.key = m.row * {EMBEDDERS_PER_FILE} + ?"
            " WHERE +m.cube = ? AND m.row > ? ORDER BY m.row LIMIT ?",
            (self.embedder, self.number, after, limit),
        ).fetchall()
        found = cast("list[tuple[int, bytes, int | None, int, bytes | None]]", rows)
        versions = tuple(self._version(*row[1:]) for row in found)
        return Cursor(versions, found[-1][0] if len(found) == limit else None)

    def _version(self, body: bytes, ended: int | None, live: int, data: bytes | None) -> Version:
        memory = codec.decode_memory(body)
        return Version(
            memory,
            None if ended is None else codec.moment(ended),
            self._held(memory.id, memory.keys) if live and memory.keys else (),
            None if data is None else codec.decode_vector(data),
        )

    def _held(self, id: str, keys: tuple[str, ...]) -> tuple[str, ...]:
        rows = self.db.execute(
            "SELECT digest FROM keys WHERE cube = ? AND id = ?", (self.number, id)
        ).fetchall()
        held = {cast("bytes", digest) for (digest,) in rows}
        return tuple(key for key in dict.fromkeys(keys) if codec.key_digest(key) in held)

    def _links(self, after: Link | None, limit: int) -> list[Link]:
        start = ("", "", "") if after is None else (after.source, after.target, after.relation)
        rows = self.db.execute(
            "SELECT source, target, relation, weight FROM links"
            " WHERE cube = ? AND (source, target, relation) > (?, ?, ?)"
            " ORDER BY source, target, relation LIMIT ?",
            (self.number, *start, limit),
        )
        return [Link(*row) for row in cast("Iterable[tuple[str, str, str, float]]", rows)]

    def _tombstones(self, after: str, limit: int) -> list[Tombstone]:
        rows = self.db.execute(
            "SELECT id, erased FROM tombstones WHERE cube = ? AND id > ? ORDER BY id LIMIT ?",
            (self.number, after, limit),
        )
        return [
            Tombstone(self.cube, id, codec.moment(at))
            for id, at in cast("Iterable[tuple[str, int]]", rows)
        ]


def _stats(db: apsw.Connection, number: int, path: Path) -> CubeStats:
    # Counted here, not by GROUP BY, which would sort all of it in memory.
    groups = Counter(
        cast(
            "Iterable[tuple[int, str, str, str]]",
            db.execute(
                "SELECT live, json_extract(text, '$.kind'), json_extract(text, '$.tier'),"
                " json_extract(text, '$.status')"
                " FROM (SELECT live, CAST(body AS TEXT) text FROM memories"
                " WHERE cube = ? AND latest)",
                (number,),
            ),
        )
    )
    kinds, tiers, statuses = Counter[str](), Counter[str](), Counter[str]()
    memories = retired = 0
    for (live, kind, tier, status), count in groups.items():
        statuses[status] += count
        retired += 0 if live else count
        if live:
            memories += count
            kinds[kind] += count
            tiers[tier] += count
    versions, erased, links, sessions = _counted(
        db,
        number,
        "SELECT count(*) FROM memories WHERE cube = ?",
        "SELECT count(*) FROM tombstones WHERE cube = ?",
        "SELECT count(*) FROM links WHERE cube = ?",
        _SESSIONS,
    )
    first, last = cast(
        "tuple[int | None, int | None]",
        db.execute(
            "SELECT min(recorded), max(recorded) FROM memories WHERE cube = ? AND live", (number,)
        ).fetchone(),
    )
    return CubeStats(
        memories=memories, retired=retired, versions=versions, erased=erased, links=links,
        sessions=sessions, kinds=kinds, tiers=tiers, statuses=statuses,
        first=None if first is None else codec.moment(first),
        last=None if last is None else codec.moment(last),
        bytes=sum(file.stat().st_size for file in path.parent.rglob("*") if file.is_file()),
    )  # fmt: skip


def _counted(db: apsw.Connection, number: int, *queries: str) -> list[int]:
    return [cast("int", db.execute(query, (number,)).get) for query in queries]
