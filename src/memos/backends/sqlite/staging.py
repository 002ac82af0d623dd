"""Cubes that are put together unseen: filling them, and throwing them away."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple, cast

import apsw

from memos.backends.sqlite import codec
from memos.backends.sqlite.known import place_number
from memos.backends.sqlite.schema import EMBEDDERS_PER_FILE
from memos.backends.sqlite.write import embedder_number
from memos.errors import InvalidInput
from memos.ports import refusals
from memos.ports.transfer import Piece, Version
from memos.traits import Traits, traits
from memos.types import Memory, Place

_SWEPT: Final = 2_000
"""Rows of a staging cube that are thrown away at a time."""


class StagedCube(NamedTuple):
    """A staging cube and what it is to become."""

    number: int
    account: str
    target: str
    embedder: str


@dataclass(frozen=True, slots=True)
class _Row:
    """A version with the bytes that need no transaction to be made."""

    memory: Memory
    recorded: int
    ended: int | None
    expires: int | None
    body: bytes
    terms: bytes
    digests: tuple[bytes, ...]
    vector: bytes | None
    dimensions: int
    traits: Traits


@dataclass(frozen=True, slots=True)
class Staged:
    """A piece, encoded."""

    piece: Piece
    rows: tuple[_Row, ...]

    @classmethod
    def of(cls, piece: Piece) -> Staged:
        """Encode what can be encoded outside the transaction."""
        return cls(piece, tuple(map(_row, piece.versions)))


def _row(version: Version) -> _Row:
    memory = version.memory
    if memory.recorded_at is None:
        raise InvalidInput(f"memory {memory.id!r} does not say when it was recorded")
    return _Row(
        memory,
        codec.micros(memory.recorded_at),
        None if version.ended is None else codec.micros(version.ended),
        None if memory.expires_at is None else codec.micros(memory.expires_at),
        codec.encode(memory),
        codec.encode_terms(version.terms),
        tuple(map(codec.key_digest, version.holds)),
        None if version.vector is None else codec.encode_vector(version.vector),
        0 if version.vector is None else len(version.vector),
        traits(memory),
    )


def staged_cube(db: apsw.Connection, token: str) -> StagedCube | None:
    """Return the staging cube of a token, None when it has ended."""
    found = db.execute(
        "SELECT cube, account, target, embedder FROM staged WHERE token = ?", (token,)
    ).fetchone()
    return None if found is None else StagedCube(*cast("tuple[int, str, str, str]", found))


def put_piece(db: apsw.Connection, token: str, staged: Staged) -> None:
    """Write a piece into a staging cube, inside the writer's transaction."""
    cube = staged_cube(db, token)
    if cube is None:
        raise refusals.unknown_staging()
    _Filling(db, cube).put(staged)


class _Filling:
    """One piece on its way into a staging cube."""

    def __init__(self, db: apsw.Connection, cube: StagedCube) -> None:
        self._db = db
        self._cube = cube
        self._places: dict[Place, int] = {}
        self._embedder: int | None = None
        self._cursor = cast("int", db.execute("SELECT head FROM cubes WHERE cube = 0").get)

    def put(self, staged: Staged) -> None:
        db, number = self._db, self._cube.number
        for row in staged.rows:
            self._supersede(row)
            self._insert(row)
        for link in staged.piece.links:
            if not (self._knows(link.source) and self._knows(link.target)):
                raise refusals.loose_link(link)
            db.execute(
                "INSERT OR REPLACE INTO links VALUES (?, ?, ?, ?, ?)",
                (number, link.source, link.target, link.relation, link.weight),
            )
        for stone in staged.piece.tombstones:
            db.execute(
                "INSERT OR IGNORE INTO tombstones VALUES (?, ?, ?, ?)",
                (number, stone.id, codec.micros(stone.erased_at), self._next()),
            )
        db.execute("UPDATE cubes SET head = ? WHERE cube IN (0, ?)", (self._cursor, number))

    def _supersede(self, row: _Row) -> None:
        """Let an earlier version of the same memory be one of the past."""
        before = self._db.execute(
            "SELECT row, version, ended FROM memories WHERE cube = ? AND id = ? AND latest",
            (self._cube.number, row.memory.id),
        ).fetchone()
        if before is None:
            return
        former, version, ended = cast("tuple[int, int, int | None]", before)
        if version >= row.memory.version or ended is None:
            raise refusals.out_of_order(row.memory.id)
        self._db.execute("UPDATE memories SET latest = 0, live = 0 WHERE row = ?", (former,))

    def _insert(self, row: _Row) -> None:
        db, memory, number = self._db, row.memory, self._next()
        db.execute(
            "INSERT INTO memories (row, cube, id, version, place, position, latest, live, recorded,"
            " ended, expires, changed, speaker, body, terms, cues, said, begins, ends)"
            " VALUES (?, ?, ?, ?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                number, self._cube.number, memory.id, memory.version, self._place(memory.place),
                memory.position, int(row.ended is None), row.recorded, row.ended, row.expires,
                number, memory.speaker, row.body, row.terms, *row.traits,
            ),
        )  # fmt: skip
        if row.vector is not None:
            key = number * EMBEDDERS_PER_FILE + self._number(row.dimensions)
            db.execute("INSERT INTO vectors VALUES (?, ?)", (key, row.vector))
        for digest in row.digests if row.ended is None else ():
            db.execute(
                "INSERT OR IGNORE INTO keys VALUES (?, ?, ?)",
                (self._cube.number, digest, memory.id),
            )
        for digest in {source.blob for source in memory.sources if source.blob is not None}:
            db.execute(
                "INSERT OR IGNORE INTO blobs VALUES (?, ?, ?, ?)",
                (self._cube.account, digest, self._cube.number, memory.id),
            )

    def _number(self, dimensions: int) -> int:
        if self._embedder is None:
            self._embedder = embedder_number(self._db, self._cube.embedder, dimensions)
            self._db.execute(
                "UPDATE cubes SET embedder = ? WHERE cube = ?",
                (self._embedder, self._cube.number),
            )
        return self._embedder

    def _place(self, place: Place) -> int:
        number = self._places.get(place)
        if number is None:
            number = self._places[place] = place_number(self._db, self._cube.number, place)
        return number

    def _knows(self, id: str) -> bool:
        found = self._db.execute(
            "SELECT 1 FROM memories WHERE cube = ? AND id = ? AND latest", (self._cube.number, id)
        ).get
        return found is not None

    def _next(self) -> int:
        self._cursor += 1
        return self._cursor


def throw_away(db: apsw.Connection, token: str) -> bool:
    """Remove a part of a staging cube; True once nothing of it is left."""
    cube = staged_cube(db, token)
    if cube is None:
        return True
    rows = db.execute(
        "SELECT row FROM memories WHERE cube = ? LIMIT ?", (cube.number, _SWEPT)
    ).fetchall()
    for (row,) in cast("Iterable[tuple[int]]", rows):
        remove_row(db, row)
    if len(rows) == _SWEPT:
        return False
    db.execute(
        "INSERT INTO purges SELECT DISTINCT ?1, ?2, digest FROM blobs b WHERE cube = ?1"
        " AND NOT EXISTS (SELECT 1 FROM blobs o WHERE o.account = ?2 AND o.digest = b.digest"
        " AND o.cube <> ?1)",
        (cube.number, cube.account),
    )
    forget_staged(db, cube.number)
    return True


def remove_row(db: apsw.Connection, row: int) -> None:
    """Remove a version and its vectors."""
    first = row * EMBEDDERS_PER_FILE
    db.execute(
        "DELETE FROM vectors WHERE key >= ? AND key < ?", (first, first + EMBEDDERS_PER_FILE)
    )
    db.execute("DELETE FROM memories WHERE row = ?", (row,))


def forget_staged(db: apsw.Connection, number: int) -> None:
    """Remove what is left of a staging cube beside its memories."""
    for name in ("keys", "links", "tombstones", "places", "blobs", "staged", "cubes"):
        db.execute(f"DELETE FROM {name} WHERE cube = ?", (number,))
