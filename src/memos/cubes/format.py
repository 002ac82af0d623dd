"""The form of a dump: its files, its manifest, and the records in them.

A dump holds a cube's memories with every version, links and tombstones as JSON lines, vectors as
plain float32, and files by their SHA-256. ``manifest.json`` is written last and names every file
with its size and SHA-256, itself included; see ``docs/cubes.md``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from typing import Final, TypeVar

import msgspec
from msgspec import structs

from memos.errors import DataError
from memos.types import Memory

MANIFEST: Final = "manifest.json"
FORMAT: Final = "memos.memcube"
FORMAT_VERSION: Final = 1
SUFFIX: Final = ".memcube"
UNFINISHED: Final = ".memcube-part"
"""Ends the name under which a dump is written until it is complete."""
SHARD_RECORDS: Final = 5_000
SHARD_BYTES: Final = 8 * 1024 * 1024
LARGEST_MANIFEST: Final = 64 * 1024 * 1024
LARGEST_FILE: Final = 1024 * 1024 * 1024
_NAME: Final = re.compile(
    r"(?:memories|links|tombstones)-\d{5}\.jsonl|vectors-\d{5}\.f32|blobs/[0-9a-f]{64}"
)

_encoder: Final = msgspec.json.Encoder()

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file of a dump, apart from the manifest."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Embedding:
    """The model behind the vectors of a dump."""

    name: str
    dimensions: int


@dataclass(frozen=True, slots=True)
class Totals:
    """How much a dump holds."""

    versions: int = 0
    memories: int = 0
    links: int = 0
    tombstones: int = 0
    blobs: int = 0


@dataclass(frozen=True, slots=True)
class Manifest:
    """What ``manifest.json`` says.

    Attributes:
        format: Always ``memos.memcube``.
        format_version: Rises when an older reader could not read the files.
        memos: The release that wrote the dump.
        made_at: When it was written.
        cube: Id of the cube.
        name: Name of the cube.
        embedder: The model behind the vectors, None when there are none.
        totals: How much there is.
        files: Every file, by name.
        sha256: Of this manifest with this field empty.
    """

    format: str
    format_version: int
    memos: str
    made_at: datetime
    cube: str
    name: str
    embedder: Embedding | None
    totals: Totals
    files: tuple[FileEntry, ...]
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """A line of a memories file.

    Attributes:
        memory: One version; account and cube of its place are empty, for they are the cube's.
        ended: When it stopped to be current.
        holds: Those of its keys that it holds against duplicates.
        vector: Which vector of the file of the same number is its own.
    """

    memory: Memory
    ended: datetime | None = None
    holds: tuple[str, ...] = ()
    vector: int | None = None


@dataclass(frozen=True, slots=True)
class Stone:
    """A line of a tombstones file: all that is left of an erased memory."""

    id: str
    erased_at: datetime


@dataclass(frozen=True, slots=True)
class _Head:
    """What tells a dump of another format, before the rest is looked at."""

    format: str = ""
    format_version: int = 0


def seal(manifest: Manifest) -> bytes:
    """Return the bytes of a manifest with its own digest in it."""
    blank = replace(manifest, sha256="")
    return _pretty(replace(manifest, sha256=sha256(_pretty(blank)).hexdigest()))


def unseal(content: bytes) -> Manifest:
    """Return the manifest that ``seal`` gave these bytes.

    Raises:
        DataError: A bit of it is another one, or a newer release wrote it.
    """
    try:
        head = msgspec.json.decode(content, type=_Head)
        if head.format == FORMAT and head.format_version > FORMAT_VERSION:
            raise DataError(
                f"{MANIFEST}: the dump has format {head.format_version}, this release reads up to "
                f"{FORMAT_VERSION}; upgrade agent-memos to load it",
                code="format_too_new",
            )
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise damaged(MANIFEST, f"it cannot be read ({error})") from None
    if seal(manifest) != content:
        raise damaged(MANIFEST, "it is not what was written")
    names = [entry.name for entry in manifest.files]
    if manifest.format != FORMAT or len(set(names)) < len(names) or not all(map(is_name, names)):
        raise damaged(MANIFEST, "it names files that no dump has")
    return manifest


def _pretty(manifest: Manifest) -> bytes:
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"


def lines(records: Sequence[object]) -> bytes:
    """Return records as JSON lines."""
    return _encoder.encode_lines(records)


def read_lines(content: bytes, type_: type[T], name: str) -> list[T]:
    """Return the records of a file.

    Raises:
        DataError: A line is not what it should be.
    """
    try:
        return msgspec.json.Decoder(type_).decode_lines(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise damaged(name, f"a line of it cannot be read ({error})") from None


def carrying(memory: Memory, holds: Callable[[str], bool]) -> Memory:
    """Return a memory without references to files that do not come with it."""
    if all(source.blob is None or holds(source.blob) for source in memory.sources):
        return memory
    sources = tuple(
        source if source.blob is None or holds(source.blob) else structs.replace(source, blob=None)
        for source in memory.sources
    )
    return structs.replace(memory, sources=sources)


def is_name(name: str) -> bool:
    """Whether a dump may hold a file of that name."""
    return _NAME.fullmatch(name) is not None


def damaged(name: str, what: str) -> DataError:
    """Return the error for a file that is not as it was written."""
    return DataError(f"{name}: {what}; the dump is damaged", code="damaged_dump", file=name)
