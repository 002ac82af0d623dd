"""What a batch does to a cube."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from msgspec import structs

from memos.backends.memory.shelf import CubeState, Row, Shelf
from memos.ports import refusals
from memos.types import Batch, Memory, Put, Receipt, Retire, Tombstone, Vector


@dataclass(slots=True)
class Draft:
    """A copy of a cube that a batch is applied to.

    Attributes:
        batch: The change.
        cube: The copy.
        cursor: Where the log stands.
        now: When memories are retired and erased.
        lost_blobs: Digests of files that held erased text.
    """

    batch: Batch
    cube: CubeState
    cursor: int
    now: datetime
    lost_blobs: set[str]

    @classmethod
    def of(cls, shelf: Shelf, batch: Batch, now: datetime) -> Draft:
        """Return the draft of a batch over a shelf that it leaves alone."""
        held = shelf.cubes.get((batch.account, batch.cube), CubeState())
        return cls(batch, held.copy(), shelf.cursor, now, set())

    def apply(self) -> Receipt:
        """Do everything, or raise."""
        batch = self.batch
        self._check_embedder()
        self._check_expectations()
        outcomes = [self._put(put) for put in batch.puts]
        for retire in batch.retires:
            self._retire(retire)
        for id in batch.erases:
            self._erase(id)
        for link in batch.links:
            for end in (link.source, link.target):
                self._known(end)
            self.cube.links[link.source, link.target, link.relation] = link
        ids, stored = tuple(id for id, _ in outcomes), tuple(new for _, new in outcomes)
        receipt = Receipt(self.cursor, ids, stored)
        if batch.id is not None:
            self.cube.receipts[batch.id] = receipt
        return receipt

    def _check_embedder(self) -> None:
        if self.batch.embedder is None or all(put.vector is None for put in self.batch.puts):
            return
        if self.cube.embedder not in (None, self.batch.embedder):
            raise refusals.other_embedder(self.batch.cube, self.cube.embedder, self.batch.embedder)
        self.cube.embedder = self.batch.embedder

    def _check_expectations(self) -> None:
        for id, expected in self.batch.expect.items():
            latest = self.cube.latest(id)
            version = 0 if latest is None else latest.memory.version
            if version != expected:
                raise refusals.version_moved(id, version, expected)
        for head in self.batch.heads:
            if self.cube.head(head.place) != head.position:
                raise refusals.head_moved()

    def _put(self, put: Put) -> tuple[str, bool]:
        """Return the id under which the memory is stored, and whether that was done now."""
        memory, cube = put.memory, self.cube
        if memory.id in cube.stones:
            raise refusals.erased(memory.id)
        before = cube.latest(memory.id)
        if before is None:
            for key in memory.keys:
                if key in cube.keys:
                    return cube.keys[key], False
        memory = self._numbered(memory, before)
        if before is not None:
            ended = before.ended or memory.recorded_at
            self._replace(replace(before, ended=ended, changed=self._next()))
        number = self._next()
        vectors: dict[str, Vector] = {}
        if put.vector is not None and self.batch.embedder is not None:
            vectors[self.batch.embedder] = put.vector
        row = Row(number, number, memory, dict(put.terms), vectors, memory.retired_at)
        cube.versions[memory.id] = (*cube.versions.get(memory.id, ()), row)
        self._release(memory.id)
        if row.ended is None:
            cube.keys |= dict.fromkeys(memory.keys, memory.id)
        return memory.id, True

    def _numbered(self, memory: Memory, before: Row | None) -> Memory:
        """Fill in what only the store can know: the version and the place in the session."""
        version = 1 if before is None else before.memory.version + 1
        position = memory.position
        if position is None and memory.place.session is not None:
            head = self.cube.head(memory.place)
            following = 0 if head is None else head + 1
            position = following if before is None else before.memory.position
        return structs.replace(memory, version=version, position=position)

    def _retire(self, retire: Retire) -> None:
        row = self._known(retire.id)
        if row.ended is not None:
            return
        memory = structs.replace(
            row.memory, status="archived", retired_at=self.now, superseded_by=retire.superseded_by
        )
        self._replace(replace(row, memory=memory, ended=self.now, changed=self._next()))
        self._release(retire.id)

    def _erase(self, id: str) -> None:
        if id in self.cube.stones:
            return
        self._known(id)
        for row in self.cube.versions.pop(id):
            self.lost_blobs |= {s.blob for s in row.memory.sources if s.blob is not None}
        self._release(id)
        links = self.cube.links
        self.cube.links = {key: links[key] for key in links if id not in key[:2]}
        self.cube.stones[id] = self._next(), Tombstone(self.batch.cube, id, self.now)

    def _known(self, id: str) -> Row:
        row = self.cube.latest(id)
        if row is None:
            raise refusals.unknown_memory(id, self.batch.cube)
        return row

    def _replace(self, row: Row) -> None:
        """Put ``row`` in the place of the latest version of its memory."""
        id = row.memory.id
        self.cube.versions[id] = (*self.cube.versions[id][:-1], row)

    def _release(self, id: str) -> None:
        self.cube.keys = {key: held for key, held in self.cube.keys.items() if held != id}

    def _next(self) -> int:
        self.cursor += 1
        return self.cursor
