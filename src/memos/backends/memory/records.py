"""The record store of the reference engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from msgspec import structs

from memos.backends.memory.blobs import Blobs
from memos.backends.memory.draft import Draft
from memos.backends.memory.jobs import Jobs
from memos.backends.memory.shelf import CubeState, Row, Shelf
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


class Records:
    """``RecordStore`` over dictionaries. Nothing awaits inside a method, so each is atomic."""

    def __init__(self, shelf: Shelf, jobs: Jobs, blobs: Blobs) -> None:
        self._shelf = shelf
        self._jobs = jobs
        self._blobs = blobs

    async def apply(self, batch: Batch, scope: Scope) -> Receipt:
        """Apply the batch to a copy of the cube, which then takes its place."""
        refusals.check_batch(batch, scope)
        shelf, now = self._shelf, datetime.now(UTC)
        if batch.id and (known := shelf.cube(scope, batch.cube).receipts.get(batch.id)):
            return structs.replace(known, repeated=True)
        vectors = [put.vector for put in batch.puts if put.vector is not None]
        if vectors and batch.embedder is not None:
            self._check_dimensions(batch.embedder, vectors[0])
        draft = Draft.of(shelf, batch, now)
        receipt = draft.apply()
        shelf.cubes[batch.account, batch.cube] = draft.cube
        shelf.cursor = draft.cursor
        if vectors and batch.embedder is not None:
            shelf.dimensions[batch.embedder] = len(vectors[0])
        self._jobs.forget(batch.account, batch.cube, batch.erases)
        self._jobs.take(batch.jobs, now)
        for digest in draft.lost_blobs:
            self._blobs.remove(batch.account, digest)
        return receipt

    def _check_dimensions(self, embedder: str, vector: Vector) -> None:
        known = self._shelf.dimensions.get(embedder, len(vector))
        if known != len(vector):
            raise refusals.other_dimensions(embedder, known, len(vector))

    async def get(self, ids: Sequence[str], scope: Scope) -> list[Memory]:
        """Return the latest versions in the order of ``ids``."""
        states = [state for _, state in self._shelf.granted(scope)]
        return [row.memory for id in ids for state in states if (row := state.latest(id))]

    async def history(self, id: str, scope: Scope) -> list[Memory]:
        """Return all versions, oldest first."""
        rows = [r for _, state in self._shelf.granted(scope) for r in state.versions.get(id, ())]
        return [
            structs.replace(row.memory, retired_at=row.memory.retired_at or row.ended)
            for row in rows
        ]

    async def tombstones(self, ids: Sequence[str], scope: Scope) -> list[Tombstone]:
        """Return what is left of erased memories."""
        states = [state for _, state in self._shelf.granted(scope)]
        return [state.stones[id][1] for state in states for id in ids if id in state.stones]

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
        rows = [row for _, state in self._shelf.granted(scope) for row in state.rows()]
        after, instant = _cursor(page), as_of or datetime.now(UTC)
        newest = [v[-1] for _, state in self._shelf.granted(scope) for v in state.versions.values()]
        found: list[tuple[int, Memory]] = []
        for row in sorted(rows, key=lambda row: row.number):
            current = row.ended is None if as_of is None else row.current_at(as_of)
            memory = row.memory if as_of is None else _as_known(row.memory, as_of)
            expired = memory.expires_at is not None and memory.expires_at <= instant
            shown = row in newest if hidden else current and not expired
            if row.number > after and shown and matches(where, memory):
                found.append((row.number, memory))
        cut = found[: page.limit]
        following = str(cut[-1][0]) if len(found) > len(cut) else None
        return MemoryPage(tuple(memory for _, memory in cut), following)

    async def tail(self, place: Place, scope: Scope, limit: int) -> Tail:
        """Return the last ``limit`` live memories of a session."""
        refusals.check_read_place(scope, place)
        state = self._shelf.cube(scope, place.cube)
        live = [row.memory for row in state.session(place) if row.ended is None]
        return Tail(state.head(place), tuple(live[max(0, len(live) - limit) :]))

    async def holders(self, cube: str, keys: Sequence[str], scope: Scope) -> Mapping[str, str]:
        """Return key -> id of the memory that holds it."""
        refusals.check_read(scope, cube)
        held = self._shelf.cube(scope, cube).keys
        return {key: held[key] for key in keys if key in held}

    async def around(self, ids: Sequence[str], scope: Scope, span: int) -> list[Memory]:
        """Return the live neighbours of ``ids`` in their sessions, and themselves."""
        found = {
            row.number: row.memory
            for _, state in self._shelf.granted(scope)
            for id in ids
            for row in _window(state, id, span)
        }
        return [found[number] for number in sorted(found)]

    async def vectors(
        self, ids: Sequence[str], scope: Scope, embedder: str
    ) -> Mapping[str, Vector]:
        """Return id -> vector by ``embedder``."""
        return {
            id: row.vectors[embedder]
            for _, state in self._shelf.granted(scope)
            for id in ids
            if (row := state.latest(id)) and embedder in row.vectors
        }

    async def changes(self, after: int, limit: int) -> list[Change]:
        """Return the log after a cursor."""
        found: list[Change] = []
        for (account, cube), state in self._shelf.cubes.items():
            found += [
                Change(changed, ChangeKind.DROP, account, cube, id)
                for id, (changed, _) in state.stones.items()
            ]
            latest = [rows[-1] for rows in state.versions.values()]
            found += [_change(account, cube, row, state.embedder) for row in latest]
        late = [change for change in found if change.cursor > after]
        return sorted(late, key=lambda change: change.cursor)[:limit]

    async def embedder(self, cube: str, scope: Scope) -> str | None:
        """Return the name of the embedder that serves a cube."""
        refusals.check_read(scope, cube)
        return self._shelf.cube(scope, cube).embedder

    async def unembedded(self, cube: str, scope: Scope, embedder: str, limit: int) -> list[Memory]:
        """Return memory versions without a vector by ``embedder``."""
        refusals.check_read(scope, cube)
        rows = self._shelf.cube(scope, cube).rows()
        return [row.memory for row in rows if embedder not in row.vectors][:limit]

    async def count_unembedded(self, cube: str, scope: Scope, embedder: str) -> int:
        """Return how many memory versions have no vector by ``embedder``."""
        refusals.check_read(scope, cube)
        return sum(embedder not in row.vectors for row in self._shelf.cube(scope, cube).rows())

    async def add_vectors(
        self, cube: str, scope: Scope, embedder: str, vectors: Mapping[tuple[str, int], Vector]
    ) -> None:
        """Store vectors of another embedder beside the serving ones."""
        refusals.check_write(scope, cube)
        for vector in vectors.values():
            self._check_dimensions(embedder, vector)
        versions = self._shelf.cube(scope, cube).versions
        for (id, version), vector in vectors.items():
            self._shelf.dimensions[embedder] = len(vector)
            versions[id] = tuple(
                replace(row, vectors={**row.vectors, embedder: vector})
                if row.memory.version == version
                else row
                for row in versions.get(id, ())
            )

    async def switch_embedder(self, cube: str, scope: Scope, embedder: str) -> bool:
        """Let ``embedder`` serve the cube if no memory lacks its vector."""
        refusals.check_write(scope, cube)
        state = self._shelf.cube(scope, cube)
        if any(embedder not in row.vectors for row in state.rows()):
            return False
        state.embedder = embedder if state.versions else None
        for id, rows in state.versions.items():
            state.versions[id] = tuple(
                replace(row, vectors={embedder: row.vectors[embedder]}) for row in rows
            )
        return True


def _as_known(memory: Memory, instant: datetime) -> Memory:
    """Return the memory as it was known at ``instant``, before a later retirement."""
    if memory.retired_at is None or memory.retired_at <= instant:
        return memory
    return structs.replace(memory, retired_at=None, superseded_by=None, status="activated")


def _cursor(page: Page) -> int:
    if page.after is None:
        return 0
    if not page.after.isdecimal():
        raise InvalidInput(
            f"{page.after!r} is not a page cursor; pass what 'next' said", code="cursor"
        )
    return int(page.after)


def _window(state: CubeState, id: str, span: int) -> Sequence[Row]:
    row = state.latest(id)
    if row is None or row.ended is not None:
        return []
    if row.memory.position is None:
        return [row]
    live = [other for other in state.session(row.memory.place) if other.ended is None]
    at = live.index(row)
    return live[max(0, at - span) : at + span + 1]


def _change(account: str, cube: str, row: Row, embedder: str | None) -> Change:
    if row.ended is not None:
        return Change(row.changed, ChangeKind.DROP, account, cube, row.memory.id)
    vector = None if embedder is None else row.vectors.get(embedder)
    put = Put(row.memory, vector, row.terms)
    return Change(row.changed, ChangeKind.PUT, account, cube, row.memory.id, put)
