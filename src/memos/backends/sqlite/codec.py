"""Between values and the bytes of a row."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Final

import msgspec
import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from memos.errors import DataError
from memos.types import Memory, Vector

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_encoder: Final = msgspec.json.Encoder()
_memory: Final = msgspec.json.Decoder(Memory)


def micros(moment: datetime) -> int:
    """Return microseconds since 1970, exactly."""
    return (moment - _EPOCH) // _MICROSECOND


def moment(micros: int) -> datetime:
    """Return the moment that ``micros`` microseconds since 1970 are."""
    return _EPOCH + timedelta(microseconds=micros)


def encode(value: object) -> bytes:
    """Return a value as JSON."""
    return _encoder.encode(value)


def decode_memory(body: bytes) -> Memory:
    """Return the memory of a row.

    Raises:
        DataError: The row is not what this release or an earlier one wrote.
    """
    try:
        return _memory.decode(body)
    except msgspec.MsgspecError as error:
        raise DataError(f"a stored memory cannot be read: {error}", code="corrupt_row") from error


def as_known(memory: Memory, instant: datetime) -> Memory:
    """Return the memory as it was known at ``instant``, before a later retirement."""
    if memory.retired_at is None or memory.retired_at <= instant:
        return memory
    return structs.replace(memory, retired_at=None, superseded_by=None, status="activated")


class _Hashes(dict[str, bytes]):
    """Term -> its hash, worked out when it is asked for; forgotten when there are too many."""

    _MOST: Final = 131_072

    def __missing__(self, term: str) -> bytes:
        if len(self) >= self._MOST:
            self.clear()
        digest = blake2b(term.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        self[term] = digest
        return digest


_hashes: Final = _Hashes()
_hash_of: Final = _hashes.__getitem__


def term_hash(term: str) -> int:
    """Return 64 bits that stand for a term, so that no index file holds words."""
    return int.from_bytes(_hashes[term], "little")


def encode_terms(terms: Mapping[str, int]) -> bytes:
    """Return hashes (8 bytes each), then frequencies (2 bytes each), little endian."""
    hashes = b"".join(map(_hash_of, terms))
    try:
        frequencies = array("H", terms.values())
    except OverflowError:
        frequencies = array("H", [min(count, 65535) for count in terms.values()])
    return hashes + frequencies.tobytes()


def decode_terms(
    blobs: Iterable[bytes],
) -> tuple[NDArray[np.uint64], NDArray[np.uint16], NDArray[np.int64]]:
    """Return the concatenated hashes and frequencies of many rows, and how many each row has."""
    rows = list(blobs)
    counts = np.array([len(blob) // 10 for blob in rows], dtype=np.int64)
    hashes = b"".join([blob[: len(blob) // 10 * 8] for blob in rows])
    frequencies = b"".join([blob[len(blob) // 10 * 8 :] for blob in rows])
    return np.frombuffer(hashes, "<u8"), np.frombuffer(frequencies, "<u2"), counts


def encode_vector(vector: Vector) -> bytes:
    """Return the components as little-endian float32."""
    return np.ascontiguousarray(vector, dtype="<f4").tobytes()


def decode_vector(data: bytes) -> Vector:
    """Return the vector of a row."""
    return np.frombuffer(data, "<f4")


def key_digest(key: str) -> bytes:
    """Return 16 bytes that stand for a duplicate key, so that keys hold no text."""
    return blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()
