"""Moving whole cubes: reading one with its history, and putting one together unseen.

A dump reads a ``Snapshot``. A load fills a *staging* cube, which no scope can name, in as many
pieces as it likes, and then publishes it in one transaction: before, nothing of it can be seen, and
after, all of it. A staging cube whose process died is thrown away when the store is opened next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar, Literal, Protocol, TypeAlias

from msgspec import structs

from memos.ports.stores import Entry
from memos.types import Link, Memory, Scope, Tombstone, Vector

OnConflict: TypeAlias = Literal["fail", "keep", "replace"]
"""What becomes of a memory that the cube has with other content: see ``Transfer.publish``."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a memory, with what its store knows beside it.

    Attributes:
        memory: The version as it was recorded.
        ended: When it stopped to be current; None while it is.
        holds: Those of the memory's keys that it holds against duplicates.
        vector: Its embedding by the embedder that serves the cube.
        terms: Index term -> occurrences; only what is restored needs them.
    """

    memory: Memory
    ended: datetime | None = None
    holds: tuple[str, ...] = ()
    vector: Vector | None = None
    terms: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True)
class Counts:
    """How much a cube holds.

    Attributes:
        versions: Versions of memories, former ones included.
        memories: Memories, retired ones included.
        links: Links.
        tombstones: Erased memories.
        embedder: The model behind the vectors, None while there are none.
        dimensions: Size of one vector.
    """

    versions: int
    memories: int
    links: int
    tombstones: int
    embedder: str | None
    dimensions: int


@dataclass(frozen=True, slots=True)
class Cursor:
    """Versions in the order they were written, and where the next ones start; None at the end."""

    versions: tuple[Version, ...]
    next: int | None


class Snapshot(Protocol):
    """One state of one cube, whatever is written meanwhile."""

    async def counts(self) -> Counts:
        """Return how much there is."""
        ...

    async def versions(self, after: int, limit: int) -> Cursor:
        """Return versions in the order they were written; ``after`` 0 begins."""
        ...

    async def links(self, after: Link | None, limit: int) -> list[Link]:
        """Return links ordered by source, target and relation."""
        ...

    async def tombstones(self, after: str, limit: int) -> list[Tombstone]:
        """Return tombstones ordered by id."""
        ...


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of a cube on its way into a staging cube.

    Versions of one memory come oldest first, and links after the memories that they join.
    """

    versions: Sequence[Version] = ()
    links: Sequence[Link] = ()
    tombstones: Sequence[Tombstone] = ()


@dataclass(frozen=True, slots=True)
class Conflicting:
    """Memories that the cube had with other content: how many, and the first of their ids."""

    NAMED: ClassVar[int] = 1000

    count: int
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Published:
    """What a publication did.

    Attributes:
        memories: Memories that the cube did not have.
        same: Memories that it had already, by id or by a key.
        erased: Memories that had been erased here, and stay so.
        conflicts: Those it had with other content.
    """

    memories: int
    same: int
    erased: int
    conflicts: Conflicting


@dataclass(frozen=True, slots=True)
class CubeStats:
    """What a cube holds, in figures.

    Attributes:
        memories: Live memories.
        retired: Memories that were retired or have been put away as such.
        versions: Versions of all of them.
        erased: Tombstones.
        links: Links between memories.
        sessions: Sessions with live memories.
        kinds: Kind -> live memories.
        tiers: Tier -> live memories.
        statuses: Status -> memories, retired ones included.
        first: When the oldest live memory was recorded.
        last: When the newest live memory was recorded.
        bytes: Size of the whole store on disk, which other cubes share; 0 when it has none.
    """

    memories: int
    retired: int
    versions: int
    erased: int
    links: int
    sessions: int
    kinds: Mapping[str, int]
    tiers: Mapping[str, int]
    statuses: Mapping[str, int]
    first: datetime | None
    last: datetime | None
    bytes: int


class Transfer(Protocol):
    """Reading cubes as a whole and bringing them in as a whole.

    Raises:
        StoreError: The store failed.
        Forbidden: The scope may not read or write the cube.
        DataError: Stored data cannot be trusted.
    """

    def snapshot(self, cube: str, scope: Scope) -> AbstractAsyncContextManager[Snapshot]:
        """Hold one state of the cube for as long as the context is open."""
        ...

    async def stage(self, cube: str, scope: Scope, embedder: str) -> str:
        """Begin a staging cube that is to become ``cube``, or part of it; return its token."""
        ...

    async def restore(self, staging: str, piece: Piece) -> None:
        """Add to a staging cube, durably.

        Raises:
            DataError: Versions out of order, or a link between memories that are not there.
        """
        ...

    async def publish(
        self, staging: str, on_conflict: OnConflict, entries: Sequence[Entry]
    ) -> Published:
        """Make a staging cube what it is to become, in one transaction, and end it.

        A cube without memories and tombstones is replaced. Otherwise memories that it does not
        have come with their history; those with the content that it has are left out, as are those
        erased in it and those whose keys it holds. For one with other content, ``fail`` ends all,
        ``keep`` leaves the cube's own, and ``replace`` makes the other a new version of it.
        Nothing is ever erased.

        Args:
            staging: The token that ``stage`` gave.
            on_conflict: What to do about memories with other content.
            entries: New entries of the account, stored in the same transaction.

        Raises:
            Conflict: Under ``fail``, code ``memory_conflict``; the cube's vectors are another
                model's; an entry exists.
        """
        ...

    async def discard(self, staging: str) -> None:
        """Throw a staging cube away; an unknown one is ignored."""
        ...

    async def stats(self, cube: str, scope: Scope) -> CubeStats:
        """Return what the cube holds, in figures."""
        ...


def told(memory: Memory) -> Memory:
    """Return what a memory says, without when and as which version it was stored."""
    return structs.replace(memory, version=0, recorded_at=None, position=None)
