"""Whole cubes of the reference engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count

from msgspec import structs

from memos.backends.memory.accounts import Accounts
from memos.backends.memory.shelf import CubeState, Row, Shelf
from memos.ports import refusals
from memos.ports.stores import Entry
from memos.ports.transfer import (
    Conflicting,
    Counts,
    CubeStats,
    Cursor,
    OnConflict,
    Piece,
    Published,
    Snapshot,
    Version,
    told,
)
from memos.types import Link, Scope, Tombstone


@dataclass(slots=True)
class _Staging:
    """A cube that is put together; row numbers are its own until it is published."""

    account: str
    cube: str
    embedder: str
    state: CubeState = field(default_factory=CubeState)
    numbers: count[int] = field(default_factory=lambda: count(1))


class Transfers:
    """``Transfer`` over dictionaries. Nothing awaits inside a method, so each is atomic."""

    def __init__(self, shelf: Shelf, accounts: Accounts) -> None:
        self._shelf = shelf
        self._accounts = accounts
        self._stagings: dict[str, _Staging] = {}
        self._tokens = count()

    @asynccontextmanager
    async def snapshot(self, cube: str, scope: Scope) -> AsyncGenerator[Snapshot]:
        """Hold a copy of the cube."""
        refusals.check_read(scope, cube)
        state = self._shelf.cube(scope, cube).copy()
        dimensions = 0 if state.embedder is None else self._shelf.dimensions[state.embedder]
        yield _State(state, dimensions)

    async def stage(self, cube: str, scope: Scope, embedder: str) -> str:
        """Begin a staging cube."""
        refusals.check_write(scope, cube)
        token = f"staging-{next(self._tokens)}"
        self._stagings[token] = _Staging(scope.account, cube, embedder)
        return token

    async def restore(self, staging: str, piece: Piece) -> None:
        """Add to a staging cube; a piece that is refused leaves nothing."""
        held = self._staging(staging)
        draft = held.state.copy()
        for version in piece.versions:
            _restore(draft, version, next(held.numbers), held.embedder)
        for link in piece.links:
            if not (draft.latest(link.source) and draft.latest(link.target)):
                raise refusals.loose_link(link)
            draft.links[link.source, link.target, link.relation] = link
        for stone in piece.tombstones:
            draft.stones[stone.id] = next(held.numbers), structs.replace(stone, cube=held.cube)
        held.state = draft

    async def publish(
        self, staging: str, on_conflict: OnConflict, entries: Sequence[Entry]
    ) -> Published:
        """Let the staging cube take its place."""
        held = self._staging(staging)
        for entry in entries:
            if self._accounts.version(entry) != 0:
                raise refusals.entry_moved(type(entry).__name__.lower(), entry.id, 0)
        own = self._shelf.cubes.get((held.account, held.cube), CubeState())
        merge = _Merge(held, own.copy(), self._shelf.cursor, on_conflict)
        published = merge.run()
        if merge.state.embedder is not None:
            vector = next((v for r in merge.state.rows() for v in r.vectors.values()), None)
            if vector is not None:
                self._shelf.dimensions[merge.state.embedder] = len(vector)
        self._shelf.cubes[held.account, held.cube] = merge.state
        self._shelf.cursor = merge.cursor
        for entry in entries:
            await self._accounts.put_entry(entry, expect=0)
        del self._stagings[staging]
        return published

    async def discard(self, staging: str) -> None:
        """Throw a staging cube away."""
        self._stagings.pop(staging, None)

    async def stats(self, cube: str, scope: Scope) -> CubeStats:
        """Count what the cube holds."""
        refusals.check_read(scope, cube)
        state = self._shelf.cube(scope, cube)
        latest = [rows[-1] for rows in state.versions.values()]
        live = [row.memory for row in latest if row.ended is None]
        recorded = [memory.recorded_at for memory in live if memory.recorded_at is not None]
        return CubeStats(
            memories=len(live),
            retired=len(latest) - len(live),
            versions=len(state.rows()),
            erased=len(state.stones),
            links=len(state.links),
            sessions=len({m.place.session for m in live if m.place.session is not None}),
            kinds=Counter(memory.kind for memory in live),
            tiers=Counter(str(memory.tier) for memory in live),
            statuses=Counter(str(row.memory.status) for row in latest),
            first=min(recorded, default=None),
            last=max(recorded, default=None),
            bytes=0,
        )

    def _staging(self, token: str) -> _Staging:
        if token not in self._stagings:
            raise refusals.unknown_staging()
        return self._stagings[token]


def _restore(state: CubeState, version: Version, number: int, embedder: str) -> None:
    memory = version.memory
    before = state.latest(memory.id)
    if before is not None and (before.memory.version >= memory.version or before.ended is None):
        raise refusals.out_of_order(memory.id)
    vectors = {} if version.vector is None else {embedder: version.vector}
    if vectors:
        state.embedder = embedder
    row = Row(number, number, memory, dict(version.terms), vectors, version.ended)
    state.versions[memory.id] = (*state.versions.get(memory.id, ()), row)
    if version.ended is None:
        for key in version.holds:
            state.keys.setdefault(key, memory.id)


@dataclass(slots=True)
class _Merge:
    """A staging cube on its way into a copy of another."""

    staging: _Staging
    state: CubeState
    cursor: int
    on_conflict: OnConflict
    same: int = 0
    erased: int = 0
    conflicts: list[str] = field(default_factory=list[str])

    def run(self) -> Published:
        theirs, own = self.staging.state, self.state
        if theirs.embedder is not None and own.embedder not in (None, theirs.embedder):
            raise refusals.other_embedder(self.staging.cube, own.embedder, theirs.embedder)
        own.embedder = own.embedder or theirs.embedder
        latest = sorted((rows[-1] for rows in theirs.versions.values()), key=lambda r: r.number)
        new = [row.memory.id for row in latest if not self._settled(row.memory.id, row)]
        coming = {id for id in new if not self._known_otherwise(id)}
        if self.conflicts and self.on_conflict == "fail":
            named = tuple(self.conflicts[: Conflicting.NAMED])
            raise refusals.memory_conflict(self.staging.cube, len(self.conflicts), named)
        self._take(coming)
        ids = tuple(self.conflicts[: Conflicting.NAMED])
        return Published(len(coming), self.same, self.erased, Conflicting(len(self.conflicts), ids))

    def _settled(self, id: str, theirs: Row) -> bool:
        """Decide about a memory that the cube may have; False when it has none of that id."""
        own = self.state.latest(id)
        if own is None:
            return False
        if told(own.memory) == told(theirs.memory):
            self.same += 1
            return True
        self.conflicts.append(id)
        if self.on_conflict == "replace":
            self._replace(own, theirs)
        return True

    def _known_otherwise(self, id: str) -> bool:
        """Whether a memory was erased here, or is here under another id."""
        if id in self.state.stones:
            self.erased += 1
            return True
        held = [key for key, holder in self.staging.state.keys.items() if holder == id]
        if any(key in self.state.keys for key in held):
            self.same += 1
            return True
        return False

    def _replace(self, own: Row, theirs: Row) -> None:
        now, id = datetime.now(UTC), own.memory.id
        former = replace(own, ended=own.ended or now, changed=self._next())
        memory = structs.replace(theirs.memory, version=own.memory.version + 1, recorded_at=now)
        number = self._next()
        ended = None if theirs.ended is None else now
        row = Row(number, number, memory, theirs.terms, theirs.vectors, ended)
        self.state.versions[id] = (*self.state.versions[id][:-1], former, row)
        self.state.keys = {k: held for k, held in self.state.keys.items() if held != id}
        for key, holder in self.staging.state.keys.items():
            if holder == id:
                self.state.keys.setdefault(key, id)

    def _take(self, coming: set[str]) -> None:
        theirs, own = self.staging.state, self.state
        for row in theirs.rows():
            id = row.memory.id
            if id in coming:
                number = self._next()
                moved = replace(row, number=number, changed=number)
                own.versions[id] = (*own.versions.get(id, ()), moved)
        for key, id in theirs.keys.items():
            if id in coming:
                own.keys.setdefault(key, id)
        for name, link in theirs.links.items():
            if own.latest(link.source) and own.latest(link.target):
                own.links.setdefault(name, link)
        for id, (_, stone) in sorted(theirs.stones.items()):
            if id not in own.versions and id not in own.stones:
                own.stones[id] = self._next(), stone

    def _next(self) -> int:
        self.cursor += 1
        return self.cursor


@dataclass(frozen=True, slots=True)
class _State:
    """``Snapshot`` over a copy."""

    state: CubeState
    dimensions: int

    async def counts(self) -> Counts:
        """Return how much there is."""
        state = self.state
        return Counts(
            versions=len(state.rows()),
            memories=len(state.versions),
            links=len(state.links),
            tombstones=len(state.stones),
            embedder=state.embedder,
            dimensions=self.dimensions,
        )

    async def versions(self, after: int, limit: int) -> Cursor:
        """Return versions in row order."""
        rows = [row for row in self.state.rows() if row.number > after][:limit]
        found = tuple(self._version(row) for row in rows)
        return Cursor(found, rows[-1].number if len(rows) == limit else None)

    def _version(self, row: Row) -> Version:
        memory, state = row.memory, self.state
        current = row.ended is None
        holds = tuple(k for k in dict.fromkeys(memory.keys) if state.keys.get(k) == memory.id)
        vector = None if state.embedder is None else row.vectors.get(state.embedder)
        return Version(memory, row.ended, holds if current else (), vector)

    async def links(self, after: Link | None, limit: int) -> list[Link]:
        """Return links in key order."""
        start = ("", "", "") if after is None else (after.source, after.target, after.relation)
        return [self.state.links[key] for key in sorted(self.state.links) if key > start][:limit]

    async def tombstones(self, after: str, limit: int) -> list[Tombstone]:
        """Return tombstones by id."""
        stones = self.state.stones
        return [stones[id][1] for id in sorted(stones) if id > after][:limit]
