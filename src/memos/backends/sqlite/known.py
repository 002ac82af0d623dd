"""What the writer need not read again: the numbers of cubes and places, heads of sessions."""

from __future__ import annotations

from typing import Final, NamedTuple, cast

import apsw

from memos.types import Place

_MOST: Final = 10_000
"""Cubes, and places, to remember."""


class Serving(NamedTuple):
    """The embedder behind a cube's vectors."""

    number: int
    name: str
    dimensions: int


class Known:
    """What batches of this process found out about the file or wrote into it themselves.

    The writer forgets all of it when another connection changed the file, when a transaction was
    undone, and after any work but batches; so whatever it says is what the file would say.

    Attributes:
        cursor: Where the log stands.
    """

    def __init__(self) -> None:
        self.cursor = 0
        self._cubes: dict[tuple[str, str], tuple[int, Serving | None]] = {}
        self._places: dict[tuple[int, Place], int] = {}
        self._heads: dict[int, int] = {}

    def forget(self) -> None:
        """Know nothing any more."""
        self._cubes.clear()
        self._places.clear()
        self._heads.clear()

    def cube(self, db: apsw.Connection, account: str, id: str) -> tuple[int, Serving | None]:
        """Return a cube's number, made when it has none, and its embedder."""
        if max(len(self._places), len(self._cubes)) > _MOST:
            self.forget()
        found = self._cubes.get((account, id))
        if found is None:
            number, self.cursor, serving = _standing(db, account, id)
            found = self._cubes[account, id] = number, serving
        return found

    def served(self, account: str, id: str, serving: Serving) -> None:
        """Note that a known cube got its embedder."""
        number, _ = self._cubes[account, id]
        self._cubes[account, id] = number, serving

    def place(self, db: apsw.Connection, cube: int, place: Place) -> int:
        """Return the number of a place, made when it has none."""
        number = self._places.get((cube, place))
        if number is None:
            number = self._places[cube, place] = place_number(db, cube, place)
        return number

    def head(self, db: apsw.Connection, place: int) -> int:
        """Return the last position of a session, -1 when it has none."""
        head = self._heads.get(place)
        if head is None:
            found = db.execute(
                "SELECT ifnull(max(position), -1) FROM memories"
                " WHERE place = ? AND position IS NOT NULL",
                (place,),
            ).get
            head = self._heads[place] = cast("int", found)
        return head

    def grown(self, place: int, position: int) -> None:
        """Note that a session has its last memory at ``position`` now."""
        self._heads[place] = position

    def shrunk(self) -> None:
        """Note that sessions may have lost their last memory."""
        self._heads.clear()


def _standing(db: apsw.Connection, account: str, cube: str) -> tuple[int, int, Serving | None]:
    """Return a cube's number (made when it has none), the log's cursor, and its embedder."""
    cursor, number, embedder, name, dimensions = cast(
        "tuple[int, int | None, int | None, str, int]",
        db.execute(
            "SELECT log.head, c.cube, e.embedder, e.name, e.dimensions FROM cubes log"
            " LEFT JOIN cubes c ON c.account = ? AND c.id = ?"
            " LEFT JOIN embedders e ON e.embedder = c.embedder WHERE log.cube = 0",
            (account, cube),
        ).fetchone(),
    )
    if number is None:
        db.execute("INSERT INTO cubes (account, id) VALUES (?, ?)", (account, cube))
        number = db.last_insert_rowid()
    return number, cursor, None if embedder is None else Serving(embedder, name, dimensions)


def place_number(db: apsw.Connection, cube: int, place: Place) -> int:
    """Return the number of a place in a cube, making one for a new place."""
    parts = (place.session, place.user, place.agent, place.app)
    names = ("session", "user", "agent", "app")
    same = " AND ".join(f"ifnull({n}, '') = ? AND ({n} IS NULL) = ?" for n in names)
    values = [v for part in parts for v in (part or "", int(part is None))]
    found = db.execute(f"SELECT place FROM places WHERE cube = ? AND {same}", (cube, *values)).get
    if found is not None:
        return cast("int", found)
    db.execute(
        "INSERT INTO places (cube, session, user, agent, app) VALUES (?, ?, ?, ?, ?)",
        (cube, *parts),
    )
    return db.last_insert_rowid()
