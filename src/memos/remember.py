"""Remembering what is handed over: read first, then stored as a whole."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields
from hashlib import sha256
from pathlib import Path
from typing import Final, cast

import anyio

from memos import options as opt
from memos._offload import Offload
from memos.errors import InvalidInput
from memos.ingest import reader
from memos.ingest.pipeline import Ingest
from memos.kinds import KINDS
from memos.options import AddOptions
from memos.ports.stores import BlobStore
from memos.types import Memory, Place, Scope, Tier
from memos.users.access import Gate

_INLINE_ITEMS = 64
_NOTHING: Final = reader.Shared()
_SHARED: Final = frozenset(field.name for field in fields(reader.Shared))


@dataclass(frozen=True, slots=True)
class AddResult:
    """What became of what was added, in order.

    Attributes:
        ids: The memory that holds each piece: a new one, or the one that already had it.
        stored: Whether this call stored the piece.
    """

    ids: tuple[str, ...]
    stored: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds when a call does not say."""

    account: str
    user: str
    session: str | None
    limit: int
    recipe: str
    candidates: int
    chunk_tokens: int
    max_characters: int


@dataclass(frozen=True, slots=True)
class Read:
    """What is to be stored, checked and split.

    Attributes:
        scope: What allows it.
        drafts: The memories that it becomes.
        batch: What makes it harmless to store it again.
        file: The bytes of the file that it was.
    """

    scope: Scope
    drafts: Sequence[Memory]
    batch: str | None
    file: bytes | None = None


@dataclass(frozen=True, slots=True)
class Remember:
    """The way of everything that is added."""

    gate: Gate
    blobs: BlobStore
    ingest: Ingest
    defaults: Defaults
    _offload: Offload = field(default_factory=lambda: Offload(2))

    async def read(self, content: object, options: AddOptions) -> Read:
        """Return what a call wants stored; see ``MemoryOperations.add``."""
        opt.known(options, AddOptions)
        scope, place = await self.place(options)
        shared = _shared(options)
        batch = opt.name(options.get("batch_id"), "batch_id")
        file: bytes | None = None
        if isinstance(content, Path):
            file = await self._offload.run(_read_file, content, self.defaults.max_characters)
            digest = sha256(file).hexdigest()
            content = reader.Document(content.name, reader.decode(content.name, file), digest)
        reading = reader.Reading(
            place, self.defaults.chunk_tokens, self.defaults.max_characters, shared
        )
        if isinstance(content, reader.Document) or _is_large(content):
            drafts = await self._offload.run(reader.read, content, reading)
        else:
            drafts = reader.read(content, reading)
        return Read(scope, drafts, batch, file)

    async def store(self, read: Read) -> AddResult:
        """Store it; see ``MemoryOperations.add``."""
        if read.file is None:
            added = await self.ingest.add(read.drafts, read.scope, read.batch)
        else:
            async with self._kept(read.file, read.scope):
                added = await self.ingest.add(read.drafts, read.scope, read.batch)
        return AddResult(added.ids, added.stored)

    async def place(self, options: AddOptions) -> tuple[Scope, Place]:
        """Return where a call writes, and what allows it to."""
        user = opt.name(options.get("user"), "user") or self.defaults.user
        cube = opt.name(options.get("cube"), "cube") or user
        scope = await self.gate.scope(user, [cube], "write")
        place = Place(
            account=self.defaults.account,
            cube=cube,
            user=user,
            agent=opt.name(options.get("agent"), "agent"),
            app=opt.name(options.get("app"), "app"),
            session=opt.name(options.get("session"), "session") or self.defaults.session,
        )
        return scope, place

    @asynccontextmanager
    async def _kept(self, file: bytes, scope: Scope) -> AsyncGenerator[None, None]:
        """Keep a file's bytes for the memories made of it; not when that fails."""
        digest = sha256(file).hexdigest()
        known = await self.blobs.holds(scope.account, digest)
        await self.blobs.put(scope.account, file)
        try:
            yield
            known = True
        finally:
            if not known:
                with anyio.CancelScope(shield=True):
                    await self.blobs.delete(scope.account, digest)


def _is_large(content: object) -> bool:
    if isinstance(content, str):
        return len(content) > _INLINE_ITEMS * 100
    return isinstance(content, Sequence) and len(cast("Sequence[object]", content)) > _INLINE_ITEMS


def _read_file(path: Path, max_characters: int) -> bytes:
    try:
        if path.stat().st_size > max_characters * 4:
            raise InvalidInput(
                f"{path.name!r} is larger than ingest.max_characters allows", code="too_large"
            )
        return path.read_bytes()
    except FileNotFoundError:
        raise InvalidInput(f"there is no file {str(path)!r}", code="no_file") from None
    except OSError as error:
        raise InvalidInput(
            f"{str(path)!r} cannot be read: {error.strerror}", code="no_file"
        ) from None


def _shared(options: AddOptions) -> reader.Shared:
    if _SHARED.isdisjoint(options):
        return _NOTHING
    kind = opt.name(options.get("kind"), "kind")
    if kind is not None and kind not in KINDS:
        raise InvalidInput(f"kind: {kind!r} is none of {', '.join(KINDS)}")
    tier = options.get("tier")
    title = options.get("title")
    return reader.Shared(
        kind=kind,
        tier=None if tier is None else cast("Tier", opt.one_of(tier, Tier, "tier")),
        title=None if title is None else opt.text(title, "title"),
        confidence=opt.confidence(options.get("confidence")),
        tags=opt.tags(options.get("tags", ())),
        info=opt.json_object(options.get("info", {}), "info"),
        valid_from=opt.moment(options.get("valid_from"), "valid_from"),
        valid_to=opt.moment(options.get("valid_to"), "valid_to"),
        expires_at=opt.moment(options.get("expires_at"), "expires_at"),
    )
