"""What a batch does to the file, inside the writer's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple, cast

import apsw
import msgspec
from msgspec import structs

from memos.backends.sqlite import codec
from memos.backends.sqlite.known import Known, Serving
from memos.backends.sqlite.schema import EMBEDDERS_PER_FILE
from memos.errors import Conflict, InvalidInput
from memos.ports import refusals
from memos.traits import Traits, traits
from memos.types import Batch, Job, Link, Memory, Place, Put, Receipt, Retire

_receipts: Final = msgspec.json.Decoder(Receipt)


class _Encoded(NamedTuple):
    """What of a put needs no transaction to be made."""

    put: Put
    terms: bytes
    vector: bytes | None
    digests: Sequence[bytes]
    traits: Traits


class Prepared(NamedTuple):
    """A batch, and its puts encoded."""

    batch: Batch
    puts: Sequence[_Encoded]


def prepare(batch: Batch) -> Prepared:
    """Encode what can be encoded outside the transaction."""
    return Prepared(batch, [_encoded(put) for put in batch.puts])


def _encoded(put: Put) -> _Encoded:
    memory, vector = put.memory, put.vector
    return _Encoded(
        put,
        codec.encode_terms(put.terms),
        None if vector is None else codec.encode_vector(vector),
        [codec.key_digest(key) for key in dict.fromkeys(memory.keys)],
        traits(memory),
    )


_TAKE: Final = "INSERT INTO keys VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
_INSERT: Final = (
    "INSERT INTO memories (row, cube, id, version, place, position, latest, live, recorded,"
    " ended, expires, changed, speaker, body, terms, cues, said, begins, ends)"
    " VALUES (?, ?, ?, ?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


class Change:
    """One batch on its way into the file."""

    def __init__(
        self, db: apsw.Connection, known: Known, prepared: Prepared, now: datetime
    ) -> None:
        self._db = db
        self._known = known
        self._batch, self._puts = prepared
        self._now = now
        self._rows: list[tuple[apsw.Binding, ...]] = []
        self._vectors: list[tuple[int, bytes]] = []
        self._at: tuple[Place | None, int] = None, 0

    def apply(self) -> Receipt:
        """Write everything, or raise and leave the transaction to be undone."""
        batch, db = self._batch, self._db
        self._cube, serving = self._known.cube(db, batch.account, batch.cube)
        self._cursor = self._known.cursor
        if known := self._applied_before():
            return structs.replace(known, repeated=True)
        self._embedder = self._check_embedder(serving)
        self._check_expectations()
        self._held = self._hold_all()
        outcomes = [self._put(encoded) for encoded in self._puts]
        self._insert()
        for retire in batch.retires:
            self._retire(retire)
        self._purge([blob for id in batch.erases for blob in self._erase(id)])
        self._link(batch.links)
        put_jobs(db, batch.jobs, self._now)
        receipt = Receipt(
            self._cursor, tuple([id for id, _ in outcomes]), tuple([new for _, new in outcomes])
        )
        self._finish(receipt)
        return receipt

    def _applied_before(self) -> Receipt | None:
        if self._batch.id is None:
            return None
        found = self._db.execute(
            "SELECT receipt FROM batches WHERE cube = ? AND id = ?", (self._cube, self._batch.id)
        ).get
        return None if found is None else _receipts.decode(cast("bytes", found))

    def _finish(self, receipt: Receipt) -> None:
        db, self._known.cursor = self._db, self._cursor
        heads = [(self._cursor, 0), (self._cursor, self._cube)]  # "IN (0, ?)" takes thrice as long
        db.executemany("UPDATE cubes SET head = ? WHERE cube = ?", heads)
        if self._batch.id is not None:
            db.execute(
                "INSERT INTO batches VALUES (?, ?, ?, ?)",
                (self._cube, self._batch.id, codec.micros(self._now), codec.encode(receipt)),
            )

    def _check_embedder(self, serving: Serving | None) -> int | None:
        batch = self._batch
        vector = next((put.vector for put in batch.puts if put.vector is not None), None)
        if vector is None or batch.embedder is None:
            return None
        if serving is None:
            wanted = embedder_number(self._db, batch.embedder, len(vector))
            self._db.execute("UPDATE cubes SET embedder = ? WHERE cube = ?", (wanted, self._cube))
            serving = Serving(wanted, batch.embedder, len(vector))
            self._known.served(batch.account, batch.cube, serving)
        if serving.name != batch.embedder:
            raise refusals.other_embedder(batch.cube, serving.name, batch.embedder)
        if serving.dimensions != len(vector):
            raise refusals.other_dimensions(serving.name, serving.dimensions, len(vector))
        return serving.number

    def _check_expectations(self) -> None:
        for id, expected in self._batch.expect.items():
            version = self._db.execute(
                "SELECT version FROM memories WHERE cube = ? AND id = ? AND latest",
                (self._cube, id),
            ).get
            if (version or 0) != expected:
                raise refusals.version_moved(id, cast("int", version or 0), expected)
        for head in self._batch.heads:
            if self._head(self._place(head.place)) != (
                -1 if head.position is None else head.position
            ):
                raise refusals.head_moved()

    def _place(self, place: Place) -> int:
        if self._at[0] is not place:  # the memories of one call share it
            self._at = place, self._known.place(self._db, self._cube, place)
        return self._at[1]

    def _head(self, place: int) -> int:
        return self._known.head(self._db, place)

    def _put(self, encoded: _Encoded) -> tuple[str, bool]:
        put = encoded.put
        memory = put.memory
        digests = encoded.digests if memory.retired_at is None else ()
        latest = None
        if not put.fresh:
            self._insert()  # so that the batch sees what it stored itself
            latest = self._latest(memory.id)
        if latest is None and not self._held:
            holder = self._hold(digests, memory.id)
            if holder is not None:
                return holder, False
        place = self._place(memory.place)
        memory = self._numbered(memory, place, latest)
        if latest is not None:
            self._supersede(latest[0], memory, digests)
        row = self._append(memory, place, encoded)
        if encoded.vector is not None and self._embedder is not None:
            self._vectors.append((row * EMBEDDERS_PER_FILE + self._embedder, encoded.vector))
        self._refer(memory)
        return memory.id, True

    def _latest(self, id: str) -> tuple[int, int, int | None] | None:
        found = self._db.execute(
            "SELECT row, version, position FROM memories WHERE cube = ?1 AND id = ?2 AND latest"
            " UNION ALL SELECT -1, 0, NULL FROM tombstones WHERE cube = ?1 AND id = ?2",
            (self._cube, id),
        ).fetchone()
        if found is not None and found[0] < 0:
            raise refusals.erased(id)
        return cast("tuple[int, int, int | None] | None", found)

    def _knows(self, id: str) -> bool:
        found = self._db.execute(
            "SELECT 1 FROM memories WHERE cube = ? AND id = ? AND latest", (self._cube, id)
        ).get
        return found is not None

    def _numbered(
        self, memory: Memory, place: int, latest: tuple[int, int, int | None] | None
    ) -> Memory:
        """Fill in what only the store can know: the version and the place in the session."""
        version = 1 if latest is None else latest[1] + 1
        position = memory.position
        if position is None and memory.place.session is not None:
            position = self._head(place) + 1 if latest is None else latest[2]
        if position is not None and position > self._head(place):
            self._known.grown(place, position)
        if version == memory.version and position == memory.position:
            return memory
        return structs.replace(memory, version=version, position=position)

    def _hold_all(self) -> bool:
        """Take the keys of all puts at once, if all are new; say whether they were taken."""
        if not all(put.fresh and put.memory.retired_at is None for put in self._batch.puts):
            return False
        rows = [
            (self._cube, digest, encoded.put.memory.id)
            for encoded in self._puts
            for digest in encoded.digests
        ]
        before = self._db.total_changes()
        self._db.executemany(_TAKE, rows)
        if self._db.total_changes() - before == len(rows):
            return True
        self._db.executemany("DELETE FROM keys WHERE cube = ? AND digest = ? AND id = ?", rows)
        return False

    def _hold(self, digests: Sequence[bytes], id: str) -> str | None:
        """Take the keys for ``id``; return who holds one of them already, if anybody."""
        for index, digest in enumerate(digests):
            self._db.execute(_TAKE, (self._cube, digest, id))
            if not self._db.changes():
                for taken in digests[:index]:
                    self._db.execute(
                        "DELETE FROM keys WHERE cube = ? AND digest = ?", (self._cube, taken)
                    )
                holder = self._db.execute(
                    "SELECT id FROM keys WHERE cube = ? AND digest = ?", (self._cube, digest)
                ).get
                return cast("str", holder)
        return None

    def _stored(self, row: int) -> Memory:
        body = self._db.execute("SELECT body FROM memories WHERE row = ?", (row,)).get
        return codec.decode_memory(cast("bytes", body))

    def _release(self, memory: Memory) -> None:
        """Give up the keys that a memory holds."""
        for key in memory.keys:
            self._db.execute(
                "DELETE FROM keys WHERE cube = ? AND digest = ? AND id = ?",
                (self._cube, codec.key_digest(key), memory.id),
            )

    def _supersede(self, row: int, successor: Memory, digests: Sequence[bytes]) -> None:
        self._release(self._stored(row))
        for digest in digests:
            self._db.execute(
                "INSERT OR REPLACE INTO keys VALUES (?, ?, ?)", (self._cube, digest, successor.id)
            )
        self._db.execute(
            "UPDATE memories SET latest = 0, live = 0, ended = ifnull(ended, ?), changed = ?"
            " WHERE row = ?",
            (codec.micros(self._recorded(successor)), self._next(), row),
        )

    def _append(self, memory: Memory, place: int, encoded: _Encoded) -> int:
        ended = None if memory.retired_at is None else codec.micros(memory.retired_at)
        expires = None if memory.expires_at is None else codec.micros(memory.expires_at)
        row = self._next()
        self._rows.append(
            (
                row, self._cube, memory.id, memory.version, place, memory.position,
                int(ended is None), codec.micros(self._recorded(memory)), ended, expires, row,
                memory.speaker, codec.encode(memory), encoded.terms, *encoded.traits,
            )
        )  # fmt: skip
        return row

    def _insert(self) -> None:
        """Write the rows that were gathered."""
        if self._rows:
            self._db.executemany(_INSERT, self._rows)
            self._rows.clear()
        if self._vectors:
            self._db.executemany("INSERT INTO vectors VALUES (?, ?)", self._vectors)
            self._vectors.clear()

    def _recorded(self, memory: Memory) -> datetime:
        if memory.recorded_at is None:
            raise InvalidInput(f"memory {memory.id!r} does not say when it was recorded")
        return memory.recorded_at

    def _refer(self, memory: Memory) -> None:
        for source in memory.sources:
            if source.blob is not None:
                self._db.execute(
                    "INSERT OR IGNORE INTO blobs VALUES (?, ?, ?, ?)",
                    (self._batch.account, source.blob, self._cube, memory.id),
                )

    def _next(self) -> int:
        self._cursor += 1
        return self._cursor

    def _retire(self, retire: Retire) -> None:
        found = self._db.execute(
            "SELECT row, body, live FROM memories WHERE cube = ? AND id = ? AND latest",
            (self._cube, retire.id),
        ).fetchone()
        if found is None:
            raise refusals.unknown_memory(retire.id, self._batch.cube)
        row, body, live = cast("tuple[int, bytes, int]", found)
        if not live:
            return
        memory = structs.replace(
            codec.decode_memory(body),
            status="archived",
            retired_at=self._now,
            superseded_by=retire.superseded_by,
        )
        self._db.execute(
            "UPDATE memories SET live = 0, ended = ?, changed = ?, body = ? WHERE row = ?",
            (codec.micros(self._now), self._next(), codec.encode(memory), row),
        )
        self._release(memory)

    def _erase(self, id: str) -> list[str]:
        db, cube = self._db, self._cube
        self._known.shrunk()
        rows = db.execute(
            "SELECT row FROM memories WHERE cube = ? AND id = ? ORDER BY version", (cube, id)
        ).fetchall()
        if not rows:
            gone = db.execute("SELECT 1 FROM tombstones WHERE cube = ? AND id = ?", (cube, id)).get
            if gone is None:
                raise refusals.unknown_memory(id, self._batch.cube)
            return []
        self._release(self._stored(cast("int", rows[-1][0])))
        for (row,) in cast("list[tuple[int]]", rows):
            first = row * EMBEDDERS_PER_FILE
            db.execute(
                "DELETE FROM vectors WHERE key >= ? AND key < ?",
                (first, first + EMBEDDERS_PER_FILE),
            )
        db.execute("DELETE FROM memories WHERE cube = ? AND id = ?", (cube, id))
        db.execute(
            "DELETE FROM links WHERE cube = ? AND (source = ? OR target = ?)", (cube, id, id)
        )
        self._erase_jobs(id)
        db.execute(
            "INSERT INTO tombstones VALUES (?, ?, ?, ?)",
            (cube, id, codec.micros(self._now), self._next()),
        )
        return self._erase_blobs(id)

    def _purge(self, blobs: Sequence[str]) -> None:
        """Write down what the erase has to remove outside the database."""
        if self._batch.erases:
            for digest in (None, *blobs):
                self._db.execute(
                    "INSERT INTO purges VALUES (?, ?, ?)",
                    (self._cube, self._batch.account, digest),
                )

    def _erase_jobs(self, id: str) -> None:
        who = (self._batch.account, self._batch.cube, id)
        mine = "SELECT job FROM job_memories WHERE account = ? AND cube = ? AND memory = ?"
        for (job,) in self._db.execute(mine, who).fetchall():
            self._db.execute("DELETE FROM jobs WHERE seq = ?", (job,))
            self._db.execute("DELETE FROM job_memories WHERE job = ?", (job,))

    def _erase_blobs(self, id: str) -> list[str]:
        """Forget the files that hold the erased text, whoever else cites them."""
        found = self._db.execute(
            "SELECT digest FROM blobs WHERE cube = ? AND memory = ?", (self._cube, id)
        ).fetchall()
        digests = [cast("str", digest) for (digest,) in found]
        for digest in digests:
            self._db.execute(
                "DELETE FROM blobs WHERE account = ? AND digest = ?", (self._batch.account, digest)
            )
        return digests

    def _link(self, links: Sequence[Link]) -> None:
        for link in links:
            for end in (link.source, link.target):
                if not self._knows(end):
                    raise refusals.unknown_memory(end, self._batch.cube)
            self._db.execute(
                "INSERT OR REPLACE INTO links VALUES (?, ?, ?, ?, ?)",
                (self._cube, link.source, link.target, link.relation, link.weight),
            )


def put_jobs(db: apsw.Connection, jobs: Sequence[Job], now: datetime) -> None:
    """Store jobs; known ids are left as they are."""
    for job in jobs:
        due = codec.micros(job.due_at or now)
        db.execute(
            "INSERT OR IGNORE INTO jobs"
            " (id, account, cube, scope_key, priority, due, attempts, body, label, put_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (job.id, job.account, job.cube, job.scope_key, job.priority, due, job.attempts,
             codec.encode(job), job.label, codec.micros(now)),
        )  # fmt: skip
        if db.changes():
            seq = db.last_insert_rowid()
            for memory in job.memories:
                db.execute(
                    "INSERT OR IGNORE INTO job_memories VALUES (?, ?, ?, ?)",
                    (seq, job.account, job.cube, memory),
                )


def embedder_number(db: apsw.Connection, name: str, dimensions: int) -> int:
    """Return the number of an embedder in this file, making one for a new name.

    Raises:
        Conflict: The name is known with other dimensions, or the file knows too many.
    """
    found = db.execute(
        "SELECT embedder, dimensions FROM embedders WHERE name = ?", (name,)
    ).fetchone()
    if found is not None:
        number, known = cast("tuple[int, int]", found)
        if known != dimensions:
            raise refusals.other_dimensions(name, known, dimensions)
        return number
    taken = {cast("int", n) for (n,) in db.execute("SELECT embedder FROM embedders").fetchall()}
    free = next((n for n in range(EMBEDDERS_PER_FILE) if n not in taken), None)
    if free is None:
        raise Conflict(f"this file already knows {EMBEDDERS_PER_FILE} embedders", code="embedders")
    db.execute("INSERT INTO embedders VALUES (?, ?, ?)", (free, name, dimensions))
    return free


def embedder_name(db: apsw.Connection, number: int) -> str:
    """Return the name behind an embedder's number."""
    return cast("str", db.execute("SELECT name FROM embedders WHERE embedder = ?", (number,)).get)
