"""The vectors of a cube: exact ones, and above a size also rounded ones that are scanned first.

A scan reads every vector, so it takes as long as memory takes to deliver them. Rounded to eight
bits (a scale per vector) they are a quarter of the bytes; a scan of those says which vectors may
be among the best, and the exact ones of these few decide. numkong does the rounded products with
the processor's own instructions, exactly, without threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Final, NamedTuple, Self, TypeVar

import numkong
import numpy as np
from numpy.typing import NDArray

N = TypeVar("N", bound=np.generic)
Vectors = NDArray[np.float32]
ROUNDED_FROM: Final = 16_000
"""Vectors from which on rounding pays for scoring the best ones again."""
_LEVELS: Final = 127
_CHUNK: Final = 8_192
_STEP: Final = 65_536
"""Rows of a step of a scan."""


class Rounded(NamedTuple):
    """Vectors in eight bits: ``codes[i] * scales[i]`` is about vector ``i``."""

    codes: NDArray[np.int8]
    scales: Vectors

    @classmethod
    def of(cls, vectors: Vectors) -> Self:
        """Round vectors, shape (n, dimensions)."""
        codes = np.empty(vectors.shape, np.int8)
        scales = np.empty(len(vectors), np.float32)
        for start in range(0, len(vectors), _CHUNK):
            part = vectors[start : start + _CHUNK]
            largest = np.maximum(np.abs(part).max(axis=1, initial=0.0), np.float32(1e-12))
            scales[start : start + _CHUNK] = largest / _LEVELS
            codes[start : start + _CHUNK] = np.rint(part * (_LEVELS / largest)[:, None])
        return cls(codes, scales)

    def dot(self, query: Vectors) -> Vectors:
        """Return about the inner product of every vector with ``query``."""
        if not len(self.codes):
            return np.empty(0, np.float32)
        code, scale = Rounded.of(query[None])
        products = numkong.cdist(code, self.codes, metric="dot", out_dtype="float32")
        scores = np.asarray(products, np.float32)[0] * self.scales
        scores *= scale
        return scores


class Matrix:
    """Vectors in two parts: a base that may lie in a mapped file, and a tail that grows.

    Attributes:
        base: Shape (n, dimensions).
        rounded: The base in eight bits, or None for a small one.
    """

    def __init__(self, base: Vectors, rounded: Rounded | None = None) -> None:
        self.base = base
        self.rounded = rounded
        self._tail: Vectors = np.empty((0, base.shape[1]), np.float32)
        self._rounded_tail = Rounded.of(self._tail)
        self._used = 0
        if rounded is None and len(base) >= ROUNDED_FROM:
            self.rounded = Rounded.of(base)

    def __len__(self) -> int:
        return len(self.base) + self._used

    @property
    def parts(self) -> tuple[Vectors, Vectors]:
        """Base and tail, in document order."""
        return self.base, self._tail[: self._used]

    @property
    def nbytes(self) -> int:
        """Bytes of memory; a mapped base is counted as if it were in it."""
        rounded = self.rounded.codes.nbytes if self.rounded else 0
        return self.base.nbytes + self._tail.nbytes + rounded

    def extend(self, vectors: Vectors) -> None:
        """Append rows."""
        if not len(self):
            self.base = vectors
            self.rounded = Rounded.of(vectors) if len(vectors) >= ROUNDED_FROM else None
            return
        need = self._used + len(vectors)
        if need > len(self._tail):
            room = max(need, 2 * len(self._tail), 64)
            self._tail = _grown(self._tail[: self._used], room)
            codes, scales = self._rounded_tail
            self._rounded_tail = Rounded(
                _grown(codes[: self._used], room), _grown(scales[: self._used], room)
            )
        self._tail[self._used : need] = vectors
        codes, scales = Rounded.of(vectors)
        self._rounded_tail.codes[self._used : need] = codes
        self._rounded_tail.scales[self._used : need] = scales
        self._used = need

    def clear(self, docs: Sequence[int]) -> None:
        """Overwrite the vectors of some documents where they are not in a mapped file."""
        for array, start in (
            (self.base, 0),
            (self._tail[: self._used], len(self.base)),
            (self._rounded_tail.codes[: self._used], len(self.base)),
            *(((self.rounded.codes, 0),) if self.rounded else ()),
        ):
            here = [doc - start for doc in docs if start <= doc < start + len(array)]
            if here and array.flags.writeable:
                array[here] = 0

    def compacted(self, kept: NDArray[np.intp]) -> Matrix:
        """Return the vectors of some documents, in one part."""
        base, tail = self.parts
        vectors = np.empty((len(kept), base.shape[1]), np.float32)
        split = int(np.searchsorted(kept, len(base)))
        np.take(base, kept[:split], axis=0, out=vectors[:split])
        np.take(tail, kept[split:] - len(base), axis=0, out=vectors[split:])
        return Matrix(vectors)

    def scan(self, query: Vectors) -> Vectors:
        """Return the inner product of every row with ``query``; about, if the rows are rounded."""
        scores = np.empty(len(self), np.float32)
        for step in self.steps(query, scores):
            step()
        return scores

    def steps(self, query: Vectors, scores: Vectors) -> list[Callable[[], None]]:
        """Return a scan in steps that threads may share; each fills its part of ``scores``."""
        split = len(self.base)

        def fill(start: int, end: int) -> None:
            scores[start:end] = self._products(start, end, query)

        edges = [*range(0, split, _STEP), split, len(self)]
        return [partial(fill, start, end) for start, end in pairwise(edges) if start < end]

    def _products(self, start: int, end: int, query: Vectors) -> Vectors:
        """Return the products of some rows, all of the base or all of the tail.

        ``vecdot`` is as fast as BLAS here, where memory is the limit, and starts no threads that
        would fight with other searches for the cores.
        """
        late = start >= len(self.base)
        rows = slice(start - len(self.base), end - len(self.base)) if late else slice(start, end)
        if self.rounded is None:
            return np.vecdot((self._tail if late else self.base)[rows], query)
        codes, scales = self._rounded_tail if late else self.rounded
        return Rounded(codes[rows], scales[rows]).dot(query)

    def rows(self, docs: NDArray[np.intp]) -> Vectors:
        """Return some rows."""
        base, tail = self.parts
        late = docs >= len(base)
        found = np.empty((len(docs), base.shape[1]), np.float32)
        found[~late], found[late] = base[docs[~late]], tail[docs[late] - len(base)]
        return found

    def exact(self, docs: NDArray[np.intp], query: Vectors) -> Vectors:
        """Return the inner product of some rows with ``query``."""
        base, tail = self.parts
        if not len(tail):
            return np.vecdot(base[docs], query)
        return np.vecdot(self.rows(docs), query)


def _grown(array: NDArray[N], room: int) -> NDArray[N]:
    """Return a copy with room for more rows."""
    grown = np.zeros((room, *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown
