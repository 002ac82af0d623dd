"""Image files: an immutable, checksummed copy of a cube image, mapped into memory when opened.

Layout: magic, length of the header, header (JSON: cursor, names, arrays with dtype, shape, offset,
CRC-32), then the arrays, each aligned to 64 bytes. Files are named by cube, embedder and cursor,
written aside and renamed. They hold hashes of terms, no words; ids and speakers' names are in the
header. Any doubt about a file is a reason to rebuild, never an error.
"""

from __future__ import annotations

import mmap
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from memos.backends.sqlite.image import Columns, CubeImage
from memos.backends.sqlite.matrix import Matrix, Rounded
from memos.backends.sqlite.postings import PostingArrays, Postings

MAGIC: Final = b"MemOSimage5\n"
_ALIGN: Final = 64
_POSTINGS: Final = ("terms", "offsets", "docs", "frequencies")


class _Array(msgspec.Struct):
    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    crc: int


class _Header(msgspec.Struct):
    cursor: int
    ids: list[str]
    speakers: list[str]
    arrays: list[_Array]


_headers: Final = msgspec.json.Decoder(_Header)


def path_of(folder: Path, cube: int, embedder: int, cursor: int) -> Path:
    """Return the name of the image of a cube at a cursor."""
    return folder / f"{cube}-{embedder}-{cursor}.image"


def files_of(folder: Path, cube: int, embedder: int | None = None) -> list[Path]:
    """Return the image files of a cube, newest first."""
    pattern = f"{cube}-{'*' if embedder is None else embedder}-*.image*"
    return sorted(folder.glob(pattern), key=lambda path: path.stat().st_mtime, reverse=True)


def save(image: CubeImage, path: Path) -> None:
    """Write a compacted image durably under ``path``."""
    arrays = dict(_arrays(image))
    entries, offset = list[_Array](), 0
    for name, array in arrays.items():
        crc = zlib.crc32(_raw(array))
        entries.append(_Array(name, array.dtype.str, array.shape, offset, crc))
        offset += -(-array.nbytes // _ALIGN) * _ALIGN
    header = msgspec.json.encode(_Header(image.cursor, image.ids, image.speakers, entries))
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(f".image.{os.getpid()}.part")
    try:
        with aside.open("wb") as out:
            out.write(
                MAGIC + len(header).to_bytes(8, "little") + zlib.crc32(header).to_bytes(4, "little")
            )
            out.write(header)
            out.write(b"\0" * (-out.tell() % _ALIGN))
            start = out.tell()
            for entry, array in zip(entries, arrays.values(), strict=True):
                out.write(b"\0" * (start + entry.offset - out.tell()))
                out.write(_raw(array))
            out.flush()
            os.fsync(out.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def load(path: Path) -> CubeImage | None:
    """Return the image in a file, or None when it is not wholly sound."""
    try:
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError):
        return None
    head = len(MAGIC)
    size = int.from_bytes(data[head : head + 8], "little")
    body = data[head + 12 : head + 12 + size]
    if data[:head] != MAGIC or zlib.crc32(body).to_bytes(4, "little") != data[head + 8 : head + 12]:
        return None
    try:
        header = _headers.decode(body)
    except msgspec.MsgspecError:
        return None
    start = -(-(head + 12 + size) // _ALIGN) * _ALIGN
    arrays: dict[str, NDArray[np.generic]] = {}
    for entry in header.arrays:
        array = _map(data, start, entry)
        if array is None:
            return None
        arrays[entry.name] = array
    return _image(header, arrays)


def _arrays(image: CubeImage) -> Iterator[tuple[str, NDArray[np.generic]]]:
    for name in Columns.__slots__:
        yield name, np.ascontiguousarray(getattr(image.columns, name))
    for name in _POSTINGS:
        yield name, np.ascontiguousarray(getattr(image.postings.base, name))
    yield "vectors", np.ascontiguousarray(image.matrix.base)
    yield "total", image.total
    if image.matrix.rounded is not None:
        yield "codes", image.matrix.rounded.codes
        yield "scales", image.matrix.rounded.scales


def _raw(array: NDArray[np.generic]) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _map(data: mmap.mmap, start: int, entry: _Array) -> NDArray[np.generic] | None:
    dtype = np.dtype(entry.dtype)
    count = int(np.prod(entry.shape, dtype=np.int64))
    first = start + entry.offset
    if first + count * dtype.itemsize > len(data):
        return None
    with memoryview(data) as view, view[first : first + count * dtype.itemsize] as bytes_:
        if zlib.crc32(bytes_) != entry.crc:
            return None
    return np.frombuffer(data, dtype, count, first).reshape(entry.shape)


def _image(header: _Header, arrays: dict[str, NDArray[np.generic]]) -> CubeImage:
    # Columns are small and change (a row dies); postings and vectors stay mapped, read-only.
    columns = Columns(*(arrays[name].copy() for name in Columns.__slots__))  # pyright: ignore[reportArgumentType]
    postings = PostingArrays(*(arrays[name] for name in _POSTINGS))  # pyright: ignore[reportArgumentType]
    vectors: NDArray[np.float32] = arrays["vectors"]  # pyright: ignore[reportAssignmentType]
    rounded = Rounded(arrays["codes"], arrays["scales"]) if "codes" in arrays else None  # pyright: ignore[reportArgumentType]
    matrix = Matrix(vectors, rounded)
    image = CubeImage(
        columns, header.ids, header.speakers, Postings(postings), matrix, header.cursor
    )
    image.total = arrays["total"].astype(np.float64)
    return image
