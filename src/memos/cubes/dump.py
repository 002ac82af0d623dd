"""A cube, with its history, into the files of a dump."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Final

import numpy as np
from anyio import from_thread
from msgspec import structs

from memos._offload import Offload
from memos.cubes import containers
from memos.cubes import format as form
from memos.cubes.containers import Sink
from memos.cubes.format import (
    Embedding,
    FileEntry,
    Manifest,
    Record,
    Stone,
    Totals,
    carrying,
)
from memos.errors import NotFound
from memos.ports.stores import BlobStore
from memos.ports.transfer import Snapshot, Transfer, Version
from memos.progress import Progress, unseen
from memos.types import Cube, Link, Scope

_PAGE: Final = 1_000


@dataclass(frozen=True, slots=True)
class DumpResult:
    """What was dumped.

    Attributes:
        path: The directory or archive.
        cube: Id of the cube.
        versions: Versions of memories, former ones included.
        memories: Memories, retired ones included.
        links: Links.
        tombstones: Erased memories, of which id and time are kept.
        blobs: Files that memories were made from.
        bytes: Size of all files together, before compression.
    """

    path: str
    cube: str
    versions: int
    memories: int
    links: int
    tombstones: int
    blobs: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Dump:
    """Writes cubes into directories and archives, a page at a time."""

    transfer: Transfer
    blobs: BlobStore
    release: str
    now: Callable[[], datetime]
    _offload: Offload = field(default_factory=lambda: Offload(2))

    async def write(
        self, cube: Cube, scope: Scope, target: Path, progress: Progress | None
    ) -> DumpResult:
        """Dump one state of the cube; see ``containers.writing`` for what ``target`` may be."""
        async with self.transfer.snapshot(cube.id, scope) as state:
            work = _Work(self, state, scope.account, progress or unseen)
            return await self._offload.run(work.run, cube, target)


@dataclass(slots=True)
class _Work:
    """One dump: a thread of its own writes, and asks the stores through the event loop."""

    dump: Dump
    state: Snapshot
    account: str
    progress: Progress
    files: list[FileEntry] = field(default_factory=list[FileEntry])
    held: dict[str, bool] = field(default_factory=dict[str, bool])

    def run(self, cube: Cube, target: Path) -> DumpResult:
        counts = from_thread.run(self.state.counts)
        with containers.writing(target) as sink:
            self._memories(sink, counts.versions)
            self._links(sink)
            self._tombstones(sink)
            blobs = self._blobs(sink)
            totals = Totals(
                counts.versions, counts.memories, counts.links, counts.tombstones, blobs
            )
            embedding = (
                None if counts.embedder is None else Embedding(counts.embedder, counts.dimensions)
            )
            manifest = Manifest(
                form.FORMAT, form.FORMAT_VERSION, self.dump.release, self.dump.now(), cube.id,
                cube.name, embedding, totals, tuple(self.files),
            )  # fmt: skip
            sink.add(form.MANIFEST, form.seal(manifest))
        return DumpResult(
            str(target), cube.id, totals.versions, totals.memories, totals.links, totals.tombstones,
            blobs, sum(entry.bytes for entry in self.files),
        )  # fmt: skip

    def _memories(self, sink: Sink, total: int) -> None:
        after, done, shard = 0, 0, _Shard(0)
        following: int | None = 0
        while following is not None:
            from_thread.check_cancelled()
            page = from_thread.run(self.state.versions, after, _PAGE)
            for version in page.versions:
                shard.take(replace(version, memory=carrying(version.memory, self._holds)))
                if shard.full:
                    shard = self._close(sink, shard)
            done += len(page.versions)
            self.progress(done, total)
            following = page.next
            after = following or 0
        if shard.records:
            self._close(sink, shard)

    def _close(self, sink: Sink, shard: _Shard) -> _Shard:
        self._add(sink, f"memories-{shard.number:05}.jsonl", b"".join(shard.records))
        if shard.vectors:
            self._add(sink, f"vectors-{shard.number:05}.f32", b"".join(shard.vectors))
        return _Shard(shard.number + 1)

    def _links(self, sink: Sink) -> None:
        last: Link | None = None
        number = 0
        while found := from_thread.run(self.state.links, last, form.SHARD_RECORDS):
            self._add(sink, f"links-{number:05}.jsonl", form.lines(found))
            last, number = found[-1], number + 1

    def _tombstones(self, sink: Sink) -> None:
        last, number = "", 0
        while found := from_thread.run(self.state.tombstones, last, form.SHARD_RECORDS):
            stones = [Stone(stone.id, stone.erased_at) for stone in found]
            self._add(sink, f"tombstones-{number:05}.jsonl", form.lines(stones))
            last, number = found[-1].id, number + 1

    def _blobs(self, sink: Sink) -> int:
        count = 0
        for digest in sorted(digest for digest, held in self.held.items() if held):
            try:
                content = from_thread.run(self.dump.blobs.open, self.account, digest)
            except NotFound:  # erased in this very moment; the load drops what refers to it
                continue
            self._add(sink, f"blobs/{digest}", content)
            count += 1
        return count

    def _holds(self, digest: str) -> bool:
        if digest not in self.held:
            self.held[digest] = from_thread.run(self.dump.blobs.holds, self.account, digest)
        return self.held[digest]

    def _add(self, sink: Sink, name: str, content: bytes) -> None:
        sink.add(name, content)
        self.files.append(FileEntry(name, len(content), sha256(content).hexdigest()))


@dataclass(slots=True)
class _Shard:
    """Records and vectors that become two files of the same number."""

    number: int
    records: list[bytes] = field(default_factory=list[bytes])
    vectors: list[bytes] = field(default_factory=list[bytes])
    size: int = 0

    @property
    def full(self) -> bool:
        return len(self.records) >= form.SHARD_RECORDS or self.size >= form.SHARD_BYTES

    def take(self, version: Version) -> None:
        index = None
        if version.vector is not None:
            index = len(self.vectors)
            self.vectors.append(np.ascontiguousarray(version.vector, "<f4").tobytes())
        place = structs.replace(version.memory.place, account="", cube="")
        memory = structs.replace(version.memory, place=place)
        line = form.lines([Record(memory, version.ended, version.holds, index)])
        self.records.append(line)
        self.size += len(line)
