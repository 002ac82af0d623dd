"""The files of a dump into a cube: verified, put together unseen, published in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from typing import Final, Protocol

import anyio
import numpy as np
from anyio import from_thread
from msgspec import structs

from memos._offload import Offload
from memos.analysis import count_terms, index_text, passage_text
from memos.cubes import format as form
from memos.cubes.containers import Container
from memos.cubes.format import Manifest, Record, Stone
from memos.ports.models import Embedder
from memos.ports.stores import BlobStore, Entry
from memos.ports.transfer import OnConflict, Piece, Published, Transfer, Version
from memos.progress import Progress, unseen
from memos.types import Link, Memory, Scope, Tombstone, Vector

_PIECE: Final = 1_000
"""Versions that share a transaction."""
_EMBEDDED: Final = 64
"""Texts that are embedded at a time."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A part of what was loaded that was left alone, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What a load brought in.

    Attributes:
        cube: Id of the cube.
        created: Whether the cube is new.
        memories: Memories that the cube did not have.
        same: Memories that it had already.
        erased: Memories that had been erased in it, and stay so.
        conflicts: How many memories it had with other content.
        conflicting: The ids of the first thousand of these.
        on_conflict: What became of them: ``keep`` or ``replace``.
        embedded: Versions that were embedded anew, because another model made their vectors.
        skipped: Parts that were left alone, with the reason.
    """

    cube: str
    created: bool
    memories: int
    same: int
    erased: int
    conflicts: int
    conflicting: tuple[str, ...]
    on_conflict: OnConflict
    embedded: int
    skipped: tuple[Skipped, ...]


class Incoming(Protocol):
    """What is to be loaded, whatever form it has; read in a thread, once."""

    @property
    def cube(self) -> str:
        """Id of the cube that it was."""
        ...

    @property
    def name(self) -> str:
        """Name of the cube that it was."""
        ...

    @property
    def total(self) -> int:
        """Versions in all."""
        ...

    @property
    def skipped(self) -> Sequence[Skipped]:
        """Parts that cannot be loaded."""
        ...

    def pieces(self, scope: Scope, cube: str) -> Iterator[Incomplete]:
        """Yield everything for a cube."""
        ...

    def blobs(self) -> Iterator[bytes]:
        """Yield the files that memories were made from."""
        ...


@dataclass(frozen=True, slots=True)
class Incomplete:
    """A piece whose versions lack their terms; ``wanting`` says which want a vector made."""

    versions: Sequence[Version] = ()
    wanting: Sequence[bool] = ()
    links: Sequence[Link] = ()
    tombstones: Sequence[Tombstone] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """Where a load goes: the cube, who may write it, and entries that make it one."""

    cube: str
    scope: Scope
    entries: Sequence[Entry] = ()


@dataclass(frozen=True, slots=True)
class Load:
    """Brings dumps into cubes, a piece at a time."""

    transfer: Transfer
    blobs: BlobStore
    embedder: Embedder
    now: Callable[[], datetime]
    _offload: Offload = field(default_factory=lambda: Offload(2))

    async def read(
        self,
        incoming: Incoming,
        target: Target,
        on_conflict: OnConflict,
        progress: Progress | None,
    ) -> LoadResult:
        """Load everything, or leave the store as it was."""
        staging = await self.transfer.stage(target.cube, target.scope, self.embedder.name)
        try:
            work = _Work(self, incoming, target, staging, progress or unseen)
            await self._offload.run(work.run)
            published = await self.transfer.publish(staging, on_conflict, target.entries)
        finally:
            with anyio.CancelScope(shield=True):
                await self.transfer.discard(staging)
        return _result(target, published, on_conflict, work.embedded, incoming.skipped)


def _result(
    target: Target,
    published: Published,
    on_conflict: OnConflict,
    embedded: int,
    skipped: Sequence[Skipped],
) -> LoadResult:
    return LoadResult(
        cube=target.cube,
        created=bool(target.entries),
        memories=published.memories,
        same=published.same,
        erased=published.erased,
        conflicts=published.conflicts.count,
        conflicting=published.conflicts.ids,
        on_conflict=on_conflict,
        embedded=embedded,
        skipped=tuple(skipped),
    )


@dataclass(slots=True)
class _Work:
    """One load: a thread of its own reads, and hands over through the event loop."""

    load: Load
    incoming: Incoming
    target: Target
    staging: str
    progress: Progress
    embedded: int = 0

    def run(self) -> None:
        done, total = 0, self.incoming.total
        for piece in self.incoming.pieces(self.target.scope, self.target.cube):
            from_thread.check_cancelled()
            vectors = self._vectors(piece)
            versions = [
                replace(
                    version,
                    vector=vectors.get(index, version.vector),
                    terms=count_terms(index_text(version.memory)),
                )
                for index, version in enumerate(piece.versions)
            ]
            whole = Piece(versions, piece.links, piece.tombstones)
            from_thread.run(self.load.transfer.restore, self.staging, whole)
            done += len(versions)
            self.progress(done, total)
        for content in self.incoming.blobs():
            from_thread.run(self.load.blobs.put, self.target.scope.account, content)

    def _vectors(self, piece: Incomplete) -> dict[int, Vector]:
        """Embed the versions whose vectors another model made, or nobody."""
        wanting = [index for index, wants in enumerate(piece.wanting) if wants]
        vectors: dict[int, Vector] = {}
        for start in range(0, len(wanting), _EMBEDDED):
            chosen = wanting[start : start + _EMBEDDED]
            texts = [passage_text(piece.versions[index].memory) for index in chosen]
            made = from_thread.run(self.load.embedder.embed, texts, "passage")
            vectors |= dict(zip(chosen, made, strict=True))
        self.embedded += len(vectors)
        return vectors


@dataclass(frozen=True, slots=True)
class DumpedCube:
    """``Incoming`` from a dump of ours, whose every byte was verified."""

    container: Container
    manifest: Manifest
    serving: str
    carried: frozenset[str]
    skipped: Sequence[Skipped] = ()

    @classmethod
    def open(cls, container: Container, serving: str) -> DumpedCube:
        """Read the manifest and compare every file with it.

        Args:
            container: The files.
            serving: The embedder that will serve; vectors of another one are made anew.

        Raises:
            DataError: Naming the file that is not as it was written.
        """
        manifest = form.unseal(container.read(form.MANIFEST, form.LARGEST_MANIFEST))
        for entry in manifest.files:
            _verified(container, entry)
        names = (entry.name for entry in manifest.files)
        carried = frozenset(n.removeprefix("blobs/") for n in names if n.startswith("blobs/"))
        return cls(container, manifest, serving, carried)

    @property
    def cube(self) -> str:
        """Id of the cube that was dumped."""
        return self.manifest.cube

    @property
    def name(self) -> str:
        """Name of the cube that was dumped."""
        return self.manifest.name

    @property
    def embedder(self) -> str | None:
        """The model behind the vectors."""
        return None if self.manifest.embedder is None else self.manifest.embedder.name

    @property
    def total(self) -> int:
        """Versions in all."""
        return self.manifest.totals.versions

    def pieces(self, scope: Scope, cube: str) -> Iterator[Incomplete]:
        """Yield the records of the files, memories before what refers to them."""
        for entry in self._files("memories"):
            records = form.read_lines(self._read(entry), Record, entry.name)
            vectors = self._vectors(entry.name)
            for start in range(0, len(records), _PIECE):
                some = records[start : start + _PIECE]
                yield self._piece(some, vectors, entry.name, scope.account, cube)
        for entry in self._files("links"):
            yield Incomplete(links=form.read_lines(self._read(entry), Link, entry.name))
        for entry in self._files("tombstones"):
            stones = form.read_lines(self._read(entry), Stone, entry.name)
            for stone in stones:
                _check_times(entry.name, stone.erased_at)
            yield Incomplete(tombstones=[Tombstone(cube, s.id, s.erased_at) for s in stones])

    def blobs(self) -> Iterator[bytes]:
        """Yield the files that memories were made from."""
        for entry in self._files("blobs"):
            content = self._read(entry)
            if entry.name != f"blobs/{sha256(content).hexdigest()}":
                raise form.damaged(entry.name, "its name is not its digest")
            yield content

    def _piece(
        self,
        records: Sequence[Record],
        vectors: Sequence[Vector],
        name: str,
        account: str,
        cube: str,
    ) -> Incomplete:
        versions: list[Version] = []
        wanting: list[bool] = []
        keep = self.embedder == self.serving
        for record in records:
            if record.vector is not None and not 0 <= record.vector < len(vectors):
                raise form.damaged(name, "it names a vector that is not there")
            vector = vectors[record.vector] if keep and record.vector is not None else None
            # Else a dump could claim the files of others, by their digests alone.
            memory = form.carrying(_homed(record, name, account, cube), self._carries)
            versions.append(Version(memory, record.ended, record.holds, vector))
            wanting.append(record.vector is not None and not keep)
        return Incomplete(versions, wanting)

    def _carries(self, digest: str) -> bool:
        return digest in self.carried

    def _vectors(self, name: str) -> Sequence[Vector]:
        wanted = name.replace("memories-", "vectors-").replace(".jsonl", ".f32")
        entry = next((e for e in self.manifest.files if e.name == wanted), None)
        if entry is None or self.manifest.embedder is None:
            return ()
        dimensions = self.manifest.embedder.dimensions
        content = self._read(entry)
        if dimensions < 1 or len(content) % (4 * dimensions):
            raise form.damaged(wanted, "it holds no vectors of the size that it should")
        numbers = np.frombuffer(content, "<f4").reshape(-1, dimensions)
        if not np.isfinite(numbers).all():
            raise form.damaged(wanted, "it holds numbers that are none")
        return list(numbers)

    def _files(self, kind: str) -> Iterator[form.FileEntry]:
        return (entry for entry in self.manifest.files if entry.name.startswith(kind))

    def _read(self, entry: form.FileEntry) -> bytes:
        return _verified(self.container, entry)


def _verified(container: Container, entry: form.FileEntry) -> bytes:
    if entry.bytes > form.LARGEST_FILE:
        raise form.damaged(entry.name, "it is larger than a file of a dump can be")
    content = container.read(entry.name, entry.bytes)
    if len(content) != entry.bytes or sha256(content).hexdigest() != entry.sha256:
        raise form.damaged(entry.name, "it is not what was written")
    return content


def _homed(record: Record, name: str, account: str, cube: str) -> Memory:
    """Return a memory at its place in the cube, if a store can hold it."""
    memory = record.memory
    if not memory.id or memory.version < 1 or memory.recorded_at is None:
        raise form.damaged(name, "a memory has no id, version or time")
    _check_times(
        name, record.ended, memory.recorded_at, memory.created_at, memory.retired_at,
        memory.expires_at, memory.valid_from, memory.valid_to,
    )  # fmt: skip
    return structs.replace(memory, place=structs.replace(memory.place, account=account, cube=cube))


def _check_times(name: str, *moments: datetime | None) -> None:
    if any(moment is not None and moment.tzinfo is None for moment in moments):
        raise form.damaged(name, "a time in it has no zone")
