"""What the reference engine holds: cubes, each with every version of its memories."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from memos.types import Link, Memory, Place, Receipt, Scope, Tombstone, Vector


@dataclass(frozen=True, slots=True)
class Row:
    """One version of a memory.

    Attributes:
        number: Rises with every version written; the order in which memories are recorded.
        changed: Where its latest change stands in the log.
        memory: The version itself.
        terms: Index term -> occurrences.
        vectors: Embedder -> vector.
        ended: When it stopped to be current.
    """

    number: int
    changed: int
    memory: Memory
    terms: Mapping[str, int]
    vectors: Mapping[str, Vector]
    ended: datetime | None

    def current_at(self, instant: datetime) -> bool:
        """Whether this version was recorded by then and had not ended."""
        recorded = self.memory.recorded_at
        begun = recorded is not None and recorded <= instant
        return begun and (self.ended is None or self.ended > instant)


@dataclass(slots=True)
class CubeState:
    """One cube. A change works on a copy, which takes the place of the former state at the end."""

    embedder: str | None = None
    versions: dict[str, tuple[Row, ...]] = field(default_factory=dict[str, tuple[Row, ...]])
    keys: dict[str, str] = field(default_factory=dict[str, str])
    stones: dict[str, tuple[int, Tombstone]] = field(
        default_factory=dict[str, tuple[int, Tombstone]]
    )
    links: dict[tuple[str, str, str], Link] = field(
        default_factory=dict[tuple[str, str, str], Link]
    )
    receipts: dict[str, Receipt] = field(default_factory=dict[str, Receipt])

    def copy(self) -> CubeState:
        """Return a state that can change without this one."""
        return CubeState(
            embedder=self.embedder,
            versions=dict(self.versions),
            keys=dict(self.keys),
            stones=dict(self.stones),
            links=dict(self.links),
            receipts=dict(self.receipts),
        )

    def latest(self, id: str) -> Row | None:
        """Return the latest version, retired or not."""
        rows = self.versions.get(id)
        return rows[-1] if rows else None

    def live(self) -> list[Row]:
        """Return the versions that are current, in the order they were recorded."""
        return [row for row in self.rows() if row.ended is None]

    def rows(self) -> list[Row]:
        """Return every version, in the order they were recorded."""
        return sorted((r for rows in self.versions.values() for r in rows), key=lambda r: r.number)

    def session(self, place: Place) -> list[Row]:
        """Return the versions with a position in a session, in session order."""
        found = [(r.memory.position, r) for r in self.rows() if r.memory.place == place]
        placed = [(position, row) for position, row in found if position is not None]
        return [row for _, row in sorted(placed, key=lambda entry: entry[0])]

    def head(self, place: Place) -> int | None:
        """Return the last position that was given out in a session."""
        placed = self.session(place)
        return placed[-1].memory.position if placed else None


@dataclass(slots=True)
class Shelf:
    """All cubes.

    Attributes:
        cubes: (account, cube id) -> state.
        cursor: Where the log stands.
        dimensions: Embedder -> size of its vectors.
    """

    cubes: dict[tuple[str, str], CubeState] = field(
        default_factory=dict[tuple[str, str], CubeState]
    )
    cursor: int = 0
    dimensions: dict[str, int] = field(default_factory=dict[str, int])

    def cube(self, scope: Scope, cube: str) -> CubeState:
        """Return a cube of the scope's account, an empty one if it holds nothing yet."""
        return self.cubes.get((scope.account, cube), CubeState())

    def granted(self, scope: Scope) -> Iterator[tuple[str, CubeState]]:
        """Yield the cubes that the scope may read."""
        for cube in scope.grants:
            if scope.may(cube, "read"):
                yield cube, self.cube(scope, cube)
