"""A staging cube becomes visible, whole or merged into another, in the writer's transaction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple, cast

import apsw
from msgspec import structs

from memos.backends.sqlite import codec
from memos.backends.sqlite.accounts import put_entry
from memos.backends.sqlite.known import place_number
from memos.backends.sqlite.records import cube_numbers
from memos.backends.sqlite.schema import EMBEDDERS_PER_FILE
from memos.backends.sqlite.staging import (
    StagedCube,
    forget_staged,
    remove_row,
    staged_cube,
)
from memos.backends.sqlite.write import embedder_name
from memos.ports import refusals
from memos.ports.stores import Entry
from memos.ports.transfer import Conflicting, OnConflict, Published, told
from memos.types import Memory, Place

_CHUNK: Final = 500
_STEP: Final = 4_000
"""Rows that a statement moves."""


def publish(
    db: apsw.Connection,
    token: str,
    on_conflict: OnConflict,
    entries: Sequence[Entry],
    now: datetime,
) -> Published:
    """Make a staging cube what it is to become; see ``Transfer.publish``."""
    staged = staged_cube(db, token)
    if staged is None:
        raise refusals.unknown_staging()
    for entry in entries:
        put_entry(db, entry, 0)
    number = cube_numbers(db, staged.account, [staged.target]).get(staged.target)
    if number is None or _is_empty(db, number):
        return _adopt(db, staged, number)
    return _Merge(db, staged, number, on_conflict, now).run()


def _is_empty(db: apsw.Connection, number: int) -> bool:
    query = (
        "SELECT 1 FROM memories WHERE cube = ?1 UNION ALL SELECT 1 FROM tombstones WHERE cube = ?1"
    )
    return db.execute(f"{query} LIMIT 1", (number,)).get is None


def _adopt(db: apsw.Connection, staged: StagedCube, empty: int | None) -> Published:
    """Give the staging cube the name that it is to have; nothing is copied."""
    if empty is not None:
        db.execute("UPDATE batches SET cube = ? WHERE cube = ?", (staged.number, empty))
        db.execute("DELETE FROM places WHERE cube = ?", (empty,))
        db.execute("DELETE FROM cubes WHERE cube = ?", (empty,))
    head = _number(db, "SELECT head FROM cubes WHERE cube = 0")
    first = _number(
        db,
        "SELECT ifnull(min(changed), 0) FROM (SELECT min(changed) changed FROM memories"
        " WHERE cube = ?1 UNION ALL SELECT min(changed) FROM tombstones WHERE cube = ?1)",
        staged.number,
    )
    shift = head - first + 1 if first else 0
    db.execute(
        "UPDATE cubes SET account = ?, id = ?, shift = ?, settled = ? WHERE cube = ?",
        (staged.account, staged.target, shift, head, staged.number),
    )
    db.execute("UPDATE cubes SET head = ? WHERE cube IN (0, ?)", (head + shift, staged.number))
    db.execute("DELETE FROM staged WHERE cube = ?", (staged.number,))
    count = _number(db, "SELECT count(*) FROM memories WHERE cube = ? AND latest", staged.number)
    return Published(count, 0, 0, Conflicting(0, ()))


class _Pair(NamedTuple):
    """A memory that both cubes have."""

    row: int
    id: str
    body: bytes
    own_row: int
    own_body: bytes


@dataclass(slots=True)
class _Merge:
    """Moves the rows of a staging cube behind those of another cube."""

    db: apsw.Connection
    staged: StagedCube
    target: int
    on_conflict: OnConflict
    now: datetime
    same: int = 0
    erased: int = 0
    conflicts: list[str] = field(default_factory=list[str])
    conflicting: int = 0
    cursor: int = 0

    def run(self) -> Published:
        db = self.db
        self._check_embedder()
        self.cursor = _number(db, "SELECT head FROM cubes WHERE cube = 0")
        for pair in self._pairs():
            self._settle(pair)
        if self.conflicting and self.on_conflict == "fail":
            raise refusals.memory_conflict(
                self.staged.target, self.conflicting, tuple(self.conflicts)
            )
        self.erased = self._leave_out(
            "SELECT s.id FROM memories s JOIN tombstones t ON t.cube = ?2 AND t.id = s.id"
            " WHERE s.cube = ?1 AND s.latest"
        )
        self.same += self._leave_out(
            "SELECT DISTINCT s.id FROM keys s JOIN keys t ON t.cube = ?2 AND t.digest = s.digest"
            " WHERE s.cube = ?1"
        )
        count = _number(
            db, "SELECT count(*) FROM memories WHERE cube = ? AND latest", self.staged.number
        )
        self._move_rows()
        self._move_rest()
        db.execute("UPDATE cubes SET head = ? WHERE cube IN (0, ?)", (self.cursor, self.target))
        forget_staged(db, self.staged.number)
        return Published(
            count, self.same, self.erased, Conflicting(self.conflicting, tuple(self.conflicts))
        )

    def _check_embedder(self) -> None:
        own, theirs = (
            self.db.execute("SELECT embedder FROM cubes WHERE cube = ?", (cube,)).get
            for cube in (self.target, self.staged.number)
        )
        if own is None and theirs is not None:
            self.db.execute("UPDATE cubes SET embedder = ? WHERE cube = ?", (theirs, self.target))
        elif theirs is not None and own != theirs:
            names = (embedder_name(self.db, cast("int", n)) for n in (own, theirs))
            raise refusals.other_embedder(self.staged.target, *names)

    def _pairs(self) -> Iterator[_Pair]:
        after = 0
        while True:
            found = [
                _Pair(*cast("tuple[int, str, bytes, int, bytes]", row))
                for row in self.db.execute(
                    "SELECT s.row, s.id, s.body, t.row, t.body FROM memories s CROSS JOIN memories"
                    " t ON t.cube = ? AND t.id = s.id AND t.latest"
                    " WHERE +s.cube = ? AND s.latest AND s.row > ? ORDER BY s.row LIMIT ?",
                    (self.target, self.staged.number, after, _CHUNK),
                ).fetchall()
            ]
            yield from found
            if len(found) < _CHUNK:
                return
            after = found[-1].row

    def _settle(self, pair: _Pair) -> None:
        """Decide about a memory that both have; it is no longer in the staging cube then."""
        theirs, own = codec.decode_memory(pair.body), codec.decode_memory(pair.own_body)
        if pair.body == pair.own_body or told(theirs) == told(own):
            self.same += 1
        else:
            self.conflicting += 1
            if len(self.conflicts) < Conflicting.NAMED:
                self.conflicts.append(pair.id)
            if self.on_conflict == "replace":
                self._replace(pair, theirs, own)
        self._remove(pair.id)

    def _replace(self, pair: _Pair, theirs: Memory, own: Memory) -> None:
        """Store the other content as a new version; what the cube had becomes its past."""
        db = self.db
        memory = structs.replace(theirs, version=own.version + 1, recorded_at=self.now)
        now, row = codec.micros(self.now), self._next() + 1
        db.execute(
            "UPDATE memories SET latest = 0, live = 0, ended = ifnull(ended, ?), changed = ?"
            " WHERE row = ?",
            (now, self.cursor, pair.own_row),
        )
        db.execute("DELETE FROM keys WHERE cube = ? AND id = ?", (self.target, pair.id))
        self._next()
        db.execute(
            "INSERT INTO memories SELECT ?, ?, id, ?, ?, position, 1, live, ?,"
            " CASE WHEN live THEN NULL ELSE ? END, expires, ?, speaker, ?, terms,"
            " cues, said, begins, ends"
            " FROM memories WHERE row = ?",
            (
                row, self.target, memory.version, self._place(memory.place), now, now, row,
                codec.encode(memory), pair.row,
            ),
        )  # fmt: skip
        db.execute(
            f"INSERT INTO vectors SELECT key + (? - ?) * {EMBEDDERS_PER_FILE}, data FROM vectors"
            " WHERE key >= ? AND key < ?",
            (
                row, pair.row, pair.row * EMBEDDERS_PER_FILE,
                (pair.row + 1) * EMBEDDERS_PER_FILE,
            ),
        )  # fmt: skip
        db.execute(
            "INSERT OR IGNORE INTO keys SELECT ?, digest, id FROM keys WHERE cube = ? AND id = ?",
            (self.target, self.staged.number, pair.id),
        )
        db.execute(
            "INSERT OR IGNORE INTO blobs SELECT account, digest, ?, memory FROM blobs"
            " WHERE cube = ? AND memory = ?",
            (self.target, self.staged.number, pair.id),
        )

    def _leave_out(self, query: str) -> int:
        """Remove the memories that ``query`` finds from the staging cube; return how many."""
        left_out = 0
        while found := self.db.execute(
            f"{query} LIMIT {_CHUNK}", (self.staged.number, self.target)
        ).fetchall():
            for (id,) in cast("list[tuple[str]]", found):
                self._remove(id)
            left_out += len(found)
        return left_out

    def _remove(self, id: str) -> None:
        db, number = self.db, self.staged.number
        rows = db.execute("SELECT row FROM memories WHERE cube = ? AND id = ?", (number, id))
        for (row,) in cast("list[tuple[int]]", rows.fetchall()):
            remove_row(db, row)
        db.execute("DELETE FROM keys WHERE cube = ? AND id = ?", (number, id))

    def _move_rows(self) -> None:
        """Give the rows numbers behind all others, so that images take them as new ones."""
        db, number = self.db, self.staged.number
        low, high = cast(
            "tuple[int | None, int | None]",
            db.execute("SELECT min(row), max(row) FROM memories WHERE cube = ?", (number,))
            .fetchone(),
        )  # fmt: skip
        if low is None or high is None:
            return
        self._move_places()
        offset = self.cursor - low + 1
        # In steps: one statement would keep every row in memory until it ends.
        for first in range(low, high + 1, _STEP):
            self._move_step(first, min(first + _STEP, high + 1), offset)
        self.cursor = high + offset

    def _move_step(self, first: int, end: int, offset: int) -> None:
        """Move the rows from ``first`` to before ``end``, and their vectors."""
        moving = (offset, self.target, self.staged.number, first, end)
        self.db.execute(
            f"UPDATE vectors SET key = key + ?1 * {EMBEDDERS_PER_FILE}"
            f" WHERE key >= ?4 * {EMBEDDERS_PER_FILE} AND key < ?5 * {EMBEDDERS_PER_FILE}"
            f" AND EXISTS (SELECT 1 FROM memories WHERE row = key / {EMBEDDERS_PER_FILE}"
            " AND cube = ?3)",
            moving,
        )
        self.db.execute(
            "UPDATE memories SET row = row + ?1, changed = row + ?1, cube = ?2, place ="
            " ifnull((SELECT home FROM moved_places m WHERE m.place = memories.place), place)"
            " WHERE row >= ?4 AND row < ?5 AND +cube = ?3",
            moving,
        )

    def _move_places(self) -> None:
        """Make the places the cube's own; those that it has already are written down as moved."""
        db = self.db
        db.execute(
            "CREATE TEMP TABLE IF NOT EXISTS moved_places"
            " (place INTEGER PRIMARY KEY, home INTEGER NOT NULL)"
        )
        db.execute("DELETE FROM moved_places")
        db.execute(
            "INSERT INTO moved_places SELECT s.place, t.place FROM places s JOIN places t"
            " ON t.cube = ?2 AND ifnull(t.session, '') = ifnull(s.session, '')"
            " AND ifnull(t.user, '') = ifnull(s.user, '')"
            " AND ifnull(t.agent, '') = ifnull(s.agent, '')"
            " AND ifnull(t.app, '') = ifnull(s.app, '') AND t.session IS s.session"
            " AND t.user IS s.user AND t.agent IS s.agent AND t.app IS s.app WHERE s.cube = ?1",
            (self.staged.number, self.target),
        )
        db.execute(
            "UPDATE places SET cube = ?2 WHERE cube = ?1"
            " AND place NOT IN (SELECT place FROM moved_places)",
            (self.staged.number, self.target),
        )

    def _move_rest(self) -> None:
        db, moving = self.db, (self.target, self.staged.number)
        db.execute("UPDATE OR IGNORE keys SET cube = ? WHERE cube = ?", moving)
        db.execute("UPDATE OR IGNORE blobs SET cube = ? WHERE cube = ?", moving)
        known = "SELECT 1 FROM memories WHERE cube = ?1 AND latest AND id ="
        db.execute(
            "INSERT OR IGNORE INTO links SELECT ?1, source, target, relation, weight FROM links"
            f" WHERE cube = ?2 AND EXISTS ({known} source) AND EXISTS ({known} target)",
            moving,
        )
        stones = db.execute(
            "SELECT id, erased FROM tombstones t WHERE cube = ?2 AND NOT EXISTS"
            " (SELECT 1 FROM memories WHERE cube = ?1 AND id = t.id) AND NOT EXISTS"
            " (SELECT 1 FROM tombstones o WHERE o.cube = ?1 AND o.id = t.id)",
            moving,
        ).fetchall()
        for id, erased in cast("list[tuple[str, int]]", stones):
            db.execute(
                "INSERT INTO tombstones VALUES (?, ?, ?, ?)",
                (self.target, id, erased, self._next()),
            )

    def _place(self, place: Place) -> int:
        return place_number(self.db, self.target, place)

    def _next(self) -> int:
        self.cursor += 1
        return self.cursor


def _number(db: apsw.Connection, query: str, *values: apsw.Binding) -> int:
    return cast("int", db.execute(query, values).get)
