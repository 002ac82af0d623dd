"""The record store of the embedded engine."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from operator import itemgetter
from typing import Final, TypeVar, cast

import apsw
from msgspec import structs

from memos._offload import Offload
from memos.analysis import count_terms, index_text
from memos.backends.sqlite import codec, write
from memos.backends.sqlite.connection import READERS, File, snapshot
from memos.backends.sqlite.purge import Purge
from memos.backends.sqlite.schema import EMBEDDERS_PER_FILE
from memos.errors import InvalidInput
from memos.filters import Filter, matches
from memos.ports import refusals
from memos.ports.stores import Tail
from memos.types import (
    Batch,
    Change,
    ChangeKind,
    Memory,
    MemoryPage,
    Page,
    Place,
    Put,
    Receipt,
    Scope,
    Tombstone,
    Vector,
)

T = TypeVar("T")

_LARGE_BATCH: Final = 8
"""Puts from which on encoding is worth a thread."""
_CHUNK: Final = 500
_LOGGED: Final = "({0}.changed + ({0}.changed <= c.settled) * c.shift)"
"""Where a change stands in the log, also in a cube that was put together unseen."""
_SMALL_READ: Final = 32
"""Rows up to which a read by key stays on the event loop: 100 microseconds, as a thread hop."""


class Records:
    """``RecordStore`` over one file."""

    def __init__(self, file: File, purge: Purge) -> None:
        self._file = file
        self._purge = purge
        self._offload = Offload(READERS // 2)

    async def apply(self, batch: Batch, scope: Scope) -> Receipt:
        """Write the batch; see ``RecordStore.apply``."""
        refusals.check_batch(batch, scope)
        if len(batch.puts) > _LARGE_BATCH:
            prepared = await self._offload.run(write.prepare, batch)
        else:
            prepared = write.prepare(batch)
        now = datetime.now(UTC)
        receipt = await self._file.apply(
            lambda db, known: write.Change(db, known, prepared, now).apply()
        )
        if batch.erases:
            await self._offload.run(self._purge.complete)
        return receipt

    async def get(self, ids: Sequence[str], scope: Scope) -> list[Memory]:
        """Return the latest versions in the order of ``ids``."""
        return await self._read(self._get, ids, scope, size=len(ids) * len(scope.grants))

    def _get(self, db: apsw.Connection, ids: Sequence[str], scope: Scope) -> list[Memory]:
        found = {id: list[tuple[int, Memory]]() for id in ids}
        numbers = list(cube_numbers(db, scope.account, scope.grants).values())
        rank_of = {number: rank for rank, number in enumerate(numbers)}
        for cubes in chunks(numbers):
            for chunk in chunks(list(found)):
                rows = db.execute(
                    f"SELECT cube, body FROM memories WHERE cube IN ({_marks(cubes)}) AND latest"
                    f" AND id IN ({_marks(chunk)})",
                    (*cubes, *chunk),
                )
                for number, body in cast("Iterable[tuple[int, bytes]]", rows):
                    memory = codec.decode_memory(body)
                    found[memory.id].append((rank_of[number], memory))
        return [memory for id in ids for _, memory in sorted(found[id], key=itemgetter(0))]

    async def history(self, id: str, scope: Scope) -> list[Memory]:
        """Return all versions, oldest first."""
        return await self._read(self._history, id, scope, size=len(scope.grants))

    def _history(self, db: apsw.Connection, id: str, scope: Scope) -> list[Memory]:
        versions: list[Memory] = []
        for number in cube_numbers(db, scope.account, scope.grants).values():
            rows = db.execute(
                "SELECT body, ended FROM memories WHERE cube = ? AND id = ? ORDER BY version",
                (number, id),
            )
            for body, ended in cast("Iterable[tuple[bytes, int | None]]", rows):
                memory = codec.decode_memory(body)
                if memory.retired_at is None and ended is not None:
                    memory = structs.replace(memory, retired_at=codec.moment(ended))
                versions.append(memory)
        return versions

    async def tombstones(self, ids: Sequence[str], scope: Scope) -> list[Tombstone]:
        """Return what is left of erased memories."""
        return await self._read(self._tombstones, ids, scope)

    def _tombstones(self, db: apsw.Connection, ids: Sequence[str], scope: Scope) -> list[Tombstone]:
        stones: list[Tombstone] = []
        for cube, number in cube_numbers(db, scope.account, scope.grants).items():
            for chunk in chunks(ids):
                rows = db.execute(
                    f"SELECT id, erased FROM tombstones WHERE cube = ? AND id IN ({_marks(chunk)})",
                    (number, *chunk),
                )
                stones += [
                    Tombstone(cube, id, codec.moment(at))
                    for id, at in cast("Iterable[tuple[str, int]]", rows)
                ]
        return stones

    async def scan(
        self,
        scope: Scope,
        where: Filter,
        page: Page,
        as_of: datetime | None = None,
        *,
        hidden: bool = False,
    ) -> MemoryPage:
        """Return a page of memories in the order they were recorded."""
        return await self._read(self._scan, scope, where, page, as_of, hidden)

    def _scan(
        self,
        db: apsw.Connection,
        scope: Scope,
        where: Filter,
        page: Page,
        as_of: datetime | None,
        hidden: bool,  # noqa: FBT001 - handed through a thread
    ) -> MemoryPage:
        after = _cursor(page)
        numbers = cube_numbers(db, scope.account, scope.grants).values()
        instant = codec.micros(as_of or datetime.now(UTC))
        if hidden:
            known, values = "latest", ()
        elif as_of is None:
            known, values = "live AND (expires IS NULL OR expires > ?)", (instant,)
        else:
            known = "recorded <= ? AND (ended IS NULL OR ended > ?) AND ifnull(expires > ?, 1)"
            values = (instant,) * 3
        query = (
            f"SELECT row, body FROM memories WHERE cube = ? AND row > ? AND {known}"
            " ORDER BY row LIMIT ?"
        )
        rows = [_piecewise(db, query, number, after, values) for number in numbers]
        found: list[Memory] = []
        last = 0
        for row, body in heapq.merge(*rows):
            memory = codec.decode_memory(body)
            memory = memory if as_of is None else codec.as_known(memory, as_of)
            if matches(where, memory):
                if len(found) == page.limit:
                    return MemoryPage(tuple(found), str(last))
                found.append(memory)
                last = row
        return MemoryPage(tuple(found), None)

    async def tail(self, place: Place, scope: Scope, limit: int) -> Tail:
        """Return the last ``limit`` live memories of a session."""
        return await self._read(self._tail, place, scope, limit, size=limit)

    def _tail(self, db: apsw.Connection, place: Place, scope: Scope, limit: int) -> Tail:
        refusals.check_read_place(scope, place)
        number = cube_numbers(db, scope.account, [place.cube]).get(place.cube)
        found = None if number is None else _place(db, number, place)
        if found is None:
            return Tail(None, ())
        bodies = db.execute(
            "SELECT body FROM memories WHERE place = ? AND position IS NOT NULL AND live"
            " ORDER BY position DESC, row DESC LIMIT ?",
            (found, limit),
        )
        memories = tuple(reversed(list(_memories(bodies))))
        head = db.execute(
            "SELECT max(position) FROM memories WHERE place = ? AND position IS NOT NULL", (found,)
        ).get
        return Tail(cast("int | None", head), memories)

    async def holders(self, cube: str, keys: Sequence[str], scope: Scope) -> Mapping[str, str]:
        """Return key -> id of the memory that holds it."""
        refusals.check_read(scope, cube)
        if len(keys) > _SMALL_READ:
            return await self._read(self._holders, cube, keys, scope)
        with self._file.glance as db:
            return self._holders(db, cube, keys, scope)

    def _holders(
        self, db: apsw.Connection, cube: str, keys: Sequence[str], scope: Scope
    ) -> Mapping[str, str]:
        wanted = {codec.key_digest(key): key for key in keys}
        held: dict[str, str] = {}
        for chunk in chunks(list(wanted)):
            rows = db.execute(
                "SELECT digest, id FROM keys WHERE cube = (SELECT cube FROM cubes WHERE account = ?"
                f" AND id = ?) AND digest IN ({_marks(chunk)})",
                (scope.account, cube, *chunk),
            )
            held |= {wanted[digest]: id for digest, id in cast("Iterable[tuple[bytes, str]]", rows)}
        return held

    async def around(self, ids: Sequence[str], scope: Scope, span: int) -> list[Memory]:
        """Return the live neighbours of ``ids`` in their sessions, and themselves."""
        return await self._read(self._around, ids, scope, span)

    def _around(
        self, db: apsw.Connection, ids: Sequence[str], scope: Scope, span: int
    ) -> list[Memory]:
        found: dict[int, Memory] = {}
        for number in cube_numbers(db, scope.account, scope.grants).values():
            for id in ids:
                at = db.execute(
                    "SELECT row, place, position FROM memories WHERE cube = ? AND id = ? AND live",
                    (number, id),
                ).fetchone()
                if at is not None:
                    found |= _window(db, cast("tuple[int, int, int | None]", at), span)
        return [found[row] for row in sorted(found)]

    async def vectors(
        self, ids: Sequence[str], scope: Scope, embedder: str
    ) -> Mapping[str, Vector]:
        """Return id -> vector by ``embedder``."""
        return await self._read(self._vectors, ids, scope, embedder)

    def _vectors(
        self, db: apsw.Connection, ids: Sequence[str], scope: Scope, embedder: str
    ) -> Mapping[str, Vector]:
        number = embedder_number(db, embedder)
        found: dict[str, Vector] = {}
        if number is None:
            return found
        for cube in cube_numbers(db, scope.account, scope.grants).values():
            for chunk in chunks(ids):
                rows = db.execute(
                    "SELECT m.id, v.data FROM memories m JOIN vectors v"
                    f" ON v.key = m.row * {EMBEDDERS_PER_FILE}"
                    f" + ? WHERE m.cube = ? AND m.latest AND m.id IN ({_marks(chunk)})",
                    (number, cube, *chunk),
                )
                for id, data in cast("Iterable[tuple[str, bytes]]", rows):
                    found[id] = codec.decode_vector(data)
        return found

    async def changes(self, after: int, limit: int) -> list[Change]:
        """Return the log after a cursor."""
        return await self._read(self._changes, after, limit)

    def _changes(self, db: apsw.Connection, after: int, limit: int) -> list[Change]:
        rows = db.execute(
            f"SELECT {_LOGGED.format('m')}, c.account, c.id, m.id, m.live, m.body, v.data"
            " FROM memories m JOIN cubes c ON c.cube = m.cube"
            f" LEFT JOIN vectors v ON v.key = m.row * {EMBEDDERS_PER_FILE} + c.embedder"
            f" WHERE {_LOGGED.format('m')} > ? AND m.latest AND c.account <> ''"
            f" UNION ALL SELECT {_LOGGED.format('t')}, c.account, c.id, t.id, 0, NULL, NULL"
            " FROM tombstones t JOIN cubes c ON c.cube = t.cube"
            f" WHERE {_LOGGED.format('t')} > ? AND c.account <> '' ORDER BY 1 LIMIT ?",
            (after, after, limit),
        )
        return [
            _change(row)
            for row in cast("Iterable[tuple[int, str, str, str, int, bytes, bytes | None]]", rows)
        ]

    async def embedder(self, cube: str, scope: Scope) -> str | None:
        """Return the name of the embedder that serves a cube."""
        return await self._read(self._embedder, cube, scope)

    def _embedder(self, db: apsw.Connection, cube: str, scope: Scope) -> str | None:
        refusals.check_read(scope, cube)
        return serving_embedder(db, scope.account, cube)

    async def unembedded(self, cube: str, scope: Scope, embedder: str, limit: int) -> list[Memory]:
        """Return memory versions without a vector by ``embedder``."""
        return await self._read(self._unembedded, cube, scope, embedder, limit)

    async def count_unembedded(self, cube: str, scope: Scope, embedder: str) -> int:
        """Return how many memory versions have no vector by ``embedder``."""

        def count(db: apsw.Connection) -> int:
            query, values = self._lacking(db, cube, scope, embedder)
            return cast("int", db.execute(f"SELECT count(*) {query}", values).get)

        return await self._read(count)

    def _unembedded(
        self, db: apsw.Connection, cube: str, scope: Scope, embedder: str, limit: int
    ) -> list[Memory]:
        query, values = self._lacking(db, cube, scope, embedder)
        bodies = db.execute(f"SELECT body {query} ORDER BY row LIMIT ?", (*values, limit))
        return list(_memories(bodies))

    def _lacking(
        self, db: apsw.Connection, cube: str, scope: Scope, embedder: str
    ) -> tuple[str, tuple[int | None, int]]:
        number = _readable(db, scope, cube)
        wanted = embedder_number(db, embedder)
        query = (
            "FROM memories m WHERE cube = ? AND NOT EXISTS (SELECT 1 FROM vectors"
            f" WHERE key = m.row * {EMBEDDERS_PER_FILE} + ?)"
        )
        return query, (number, -1 if wanted is None else wanted)

    async def add_vectors(
        self, cube: str, scope: Scope, embedder: str, vectors: Mapping[tuple[str, int], Vector]
    ) -> None:
        """Store vectors of another embedder beside the serving ones."""
        refusals.check_write(scope, cube)
        data = {key: codec.encode_vector(vector) for key, vector in vectors.items()}

        def work(db: apsw.Connection) -> None:
            number = cube_numbers(db, scope.account, [cube]).get(cube)
            for (id, version), blob in data.items():
                wanted = write.embedder_number(db, embedder, len(vectors[id, version]))
                db.execute(
                    "INSERT OR REPLACE INTO vectors"
                    f" SELECT row * {EMBEDDERS_PER_FILE} + ?, ? FROM memories"
                    " WHERE cube = ? AND id = ? AND version = ?",
                    (wanted, blob, number, id, version),
                )

        await self._file.commit(work)

    async def switch_embedder(self, cube: str, scope: Scope, embedder: str) -> bool:
        """Let ``embedder`` serve the cube if no memory lacks its vector."""
        refusals.check_write(scope, cube)

        def work(db: apsw.Connection) -> bool:
            number = cube_numbers(db, scope.account, [cube]).get(cube)
            wanted = embedder_number(db, embedder)
            if self._unembedded(db, cube, scope, embedder, 1):
                return False
            if number is None:
                return True
            db.execute(
                f"DELETE FROM vectors WHERE key % {EMBEDDERS_PER_FILE} <> ?"
                f" AND key / {EMBEDDERS_PER_FILE} IN (SELECT row FROM memories WHERE cube = ?)",
                (wanted, number),
            )
            db.execute("UPDATE cubes SET embedder = ? WHERE cube = ?", (wanted, number))
            return True

        return await self._file.commit(work)

    async def _read(self, work: Callable[..., T], *args: object, size: int = _SMALL_READ + 1) -> T:
        """Run a read of about ``size`` rows: in a thread, unless the way there is longer."""
        if size <= _SMALL_READ:
            with self._file.glance as db, snapshot(db):
                return work(db, *args)

        def run() -> T:
            with self._file.reading() as db:
                return work(db, *args)

        return await self._offload.run(run)


def cube_numbers(db: apsw.Connection, account: str, cubes: Iterable[str]) -> dict[str, int]:
    """Return cube id -> number in this file, for those that hold anything, in the same order."""
    wanted = list(cubes)
    numbers: dict[str, int] = {}
    for chunk in chunks(wanted):
        rows = db.execute(
            f"SELECT id, cube FROM cubes WHERE account = ? AND id IN ({_marks(chunk)})",
            (account, *chunk),
        )
        numbers |= dict(cast("Iterable[tuple[str, int]]", rows))
    return {cube: numbers[cube] for cube in wanted if cube in numbers}


def embedder_number(db: apsw.Connection, name: str) -> int | None:
    """Return the number of an embedder, None if this file never met it."""
    return cast(
        "int | None", db.execute("SELECT embedder FROM embedders WHERE name = ?", (name,)).get
    )


def serving_embedder(db: apsw.Connection, account: str, cube: str) -> str | None:
    """Return the name of the embedder behind a cube's vectors."""
    return cast(
        "str | None",
        db.execute(
            "SELECT e.name FROM cubes c JOIN embedders e ON e.embedder = c.embedder"
            " WHERE c.account = ? AND c.id = ?",
            (account, cube),
        ).get,
    )


def chunks(ids: Sequence[T]) -> Iterable[Sequence[T]]:
    """Yield the ids in pieces that fit into one statement."""
    for start in range(0, len(ids), _CHUNK):
        yield ids[start : start + _CHUNK]


def _readable(db: apsw.Connection, scope: Scope, cube: str) -> int | None:
    refusals.check_read(scope, cube)
    return cube_numbers(db, scope.account, [cube]).get(cube)


def _marks(items: Sequence[object]) -> str:
    return ", ".join("?" * len(items))


def _memories(rows: Iterable[tuple[object, ...]]) -> Iterable[Memory]:
    for (body,) in rows:
        yield codec.decode_memory(cast("bytes", body))


def _cursor(page: Page) -> int:
    if page.after is None:
        return 0
    if not page.after.isdecimal():
        raise InvalidInput(
            f"{page.after!r} is not a page cursor; pass what 'next' said", code="cursor"
        )
    return int(page.after)


def _place(db: apsw.Connection, cube: int, place: Place) -> int | None:
    found = db.execute(
        "SELECT place FROM places WHERE cube = ? AND session IS ? AND user IS ? AND agent IS ?"
        " AND app IS ? AND ifnull(session, '') = ?",
        (cube, place.session, place.user, place.agent, place.app, place.session or ""),
    ).get
    return cast("int | None", found)


def _window(db: apsw.Connection, at: tuple[int, int, int | None], span: int) -> dict[int, Memory]:
    row, place, position = at
    if position is None:
        body = db.execute("SELECT body FROM memories WHERE row = ?", (row,)).get
        return {row: codec.decode_memory(cast("bytes", body))}
    found: dict[int, Memory] = {}
    for comparison, order in (("<=", "DESC"), (">", "ASC")):
        rows = db.execute(
            "SELECT row, body FROM memories WHERE place = ? AND position IS NOT NULL AND live"
            f" AND (position, row) {comparison} (?, ?)"
            f" ORDER BY position {order}, row {order} LIMIT ?",
            (place, position, row, span + (comparison == "<=")),
        )
        for number, body in cast("Iterable[tuple[int, bytes]]", rows):
            found[number] = codec.decode_memory(body)
    return found


def _piecewise(
    db: apsw.Connection, query: str, cube: int, after: int, values: Sequence[int]
) -> Iterator[tuple[int, bytes]]:
    """Yield the rows of a cube after one, in ever larger pieces.

    No statement is left open between them: SQLite goes through all open ones to begin another, and
    a scan may be over thousands of cubes.
    """
    size = 1
    while rows := db.execute(query, (cube, after, *values, size)).fetchall():
        yield from cast("list[tuple[int, bytes]]", rows)
        if len(rows) < size:
            return
        after, size = cast("int", rows[-1][0]), min(2 * size, _CHUNK)


def _change(row: tuple[int, str, str, str, int, bytes, bytes | None]) -> Change:
    cursor, account, cube, id, live, body, data = row
    if not live:
        return Change(cursor, ChangeKind.DROP, account, cube, id)
    vector = None if data is None else codec.decode_vector(data)
    memory = codec.decode_memory(body)
    put = Put(memory, vector, count_terms(index_text(memory)))
    return Change(cursor, ChangeKind.PUT, account, cube, id, put)
