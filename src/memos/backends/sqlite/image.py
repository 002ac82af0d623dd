"""The image of a cube: the arrays that search reads, derived from the records.

Documents are numbered in row order and never renumbered until the image is compacted; documents
whose row died stay, masked. ``Layout`` puts the live ones in session order, so that windows of
neighbouring turns are sums over slices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memos.backends.sqlite.codec import decode_terms
from memos.backends.sqlite.postings import PostingArrays, Postings
from memos.ports.stores import Feature
from memos.relevance import NEIGHBOUR_WEIGHT, SPANS, length_norm

NEVER: Final = np.iinfo(np.int64).max
_LOOSE: Final = 1 << 30
"""Documents outside any session get a chain of their own above this number."""


class Row(NamedTuple):
    """What an image takes from the row of a memory version."""

    row: int
    id: str
    place: int
    position: int | None
    live: int
    expires: int | None
    changed: int
    speaker: str | None
    terms: bytes
    vector: bytes | None


@dataclass(frozen=True, slots=True)
class Columns:
    """One entry per document, in row order."""

    rows: NDArray[np.int64]
    places: NDArray[np.int64]
    chains: NDArray[np.int64]
    positions: NDArray[np.int64]
    live: NDArray[np.bool_]
    expires: NDArray[np.int64]
    speakers: NDArray[np.int32]
    lengths: NDArray[np.float32]
    embedded: NDArray[np.bool_]

    def take(self, kept: NDArray[np.int64]) -> Columns:
        """Return the columns of some documents."""
        return Columns(*(getattr(self, name)[kept] for name in Columns.__slots__))

    def extended(self, more: Columns) -> Columns:
        """Return these columns and then those of ``more``."""
        return Columns(
            *(np.concatenate((getattr(self, n), getattr(more, n))) for n in Columns.__slots__)
        )


class Matrix:
    """Vectors in two parts: a base that may lie in a mapped file, and a tail that grows."""

    def __init__(self, base: NDArray[np.float32]) -> None:
        self.base = base
        self._tail: NDArray[np.float32] = np.empty((0, base.shape[1]), np.float32)
        self._used = 0

    def __len__(self) -> int:
        return len(self.base) + self._used

    @property
    def parts(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Base and tail, in document order."""
        return self.base, self._tail[: self._used]

    def extend(self, vectors: NDArray[np.float32]) -> None:
        """Append rows."""
        if not len(self):
            self.base = vectors
            return
        need = self._used + len(vectors)
        if need > len(self._tail):
            grown = np.empty((max(need, 2 * len(self._tail), 64), self.base.shape[1]), np.float32)
            grown[: self._used] = self._tail[: self._used]
            self._tail = grown
        self._tail[self._used : need] = vectors
        self._used = need

    def dot(self, query: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the inner product of every row with ``query``.

        ``vecdot`` is as fast as BLAS here, where memory is the limit, and starts no threads that
        would fight with other searches for the cores.
        """
        base, tail = (np.vecdot(part, query) for part in self.parts)
        return np.concatenate((base, tail)) if len(tail) else base


class Layout:
    """The live documents in session order (*slots*), and the windows around each."""

    def __init__(self, columns: Columns, hint: NDArray[np.int64]) -> None:
        """Sort the live documents; ``hint`` is a former order, which makes that fast."""
        total = len(columns.rows)
        fresh = np.arange(len(hint), total)
        order = np.concatenate((hint, fresh))
        key = columns.chains[order] << 32 | columns.positions[order]
        self.full_order = order[np.argsort(key, kind="stable")]
        self.order = self.full_order[columns.live[self.full_order]]
        self.rank = np.full(total, -1, np.int32)
        size = len(self.order)
        self.rank[self.order] = np.arange(size, dtype=np.int32)
        chains = columns.chains[self.order]
        first = np.ones(size, bool)
        first[1:] = chains[1:] != chains[:-1]
        starts = np.flatnonzero(first)
        slots = np.arange(size, dtype=np.int32)
        number = np.cumsum(first) - 1
        begin = starts[number].astype(np.int32)
        end = np.append(starts[1:], size)[number].astype(np.int32)
        self.windows: Mapping[Feature, tuple[NDArray[np.int32], NDArray[np.int32]]] = {
            feature: (np.maximum(begin, slots - span), np.minimum(end, slots + span + 1))
            for feature, span in SPANS.items()
            if span
        }
        self.has_previous = (slots > begin).astype(np.float32)
        self.has_next = (slots + 1 < end).astype(np.float32)
        self.near_divisor = 1 + NEIGHBOUR_WEIGHT * (self.has_previous + self.has_next)
        lengths = columns.lengths[self.order]
        self.mean_length = float(lengths.mean()) if size else 0.0
        self.norms = self._norms(lengths)

    def _norms(self, lengths: NDArray[np.float32]) -> Mapping[Feature, NDArray[np.float32]]:
        sums = np.concatenate(([0], np.cumsum(lengths, dtype=np.float64)))
        norms = {Feature.BM25: length_norm(lengths, self.mean_length, 0)}
        for feature, (low, high) in self.windows.items():
            window = (sums[high] - sums[low]).astype(np.float32)
            norms[feature] = length_norm(window, self.mean_length, SPANS[feature])
        return norms


class CubeImage:
    """One cube's arrays, as of the log cursor ``cursor``."""

    def __init__(self, columns: Columns, ids: list[str], speakers: list[str], postings: Postings,
                 matrix: Matrix, cursor: int) -> None:  # fmt: skip
        self.columns = columns
        self.ids = ids
        self.speakers = speakers
        self.postings = postings
        self.matrix = matrix
        self.cursor = cursor
        self.saved = len(ids)
        self.masks: dict[str, NDArray[np.bool_]] = {}
        """Filter -> which documents it selected, as far as they were known then."""
        self._hint: NDArray[np.int64] = np.empty(0, np.int64)
        self._layout: Layout | None = None

    @classmethod
    def empty(cls, dimensions: int) -> CubeImage:
        """Return the image of a cube without memories."""
        postings = Postings(PostingArrays.empty())
        return cls(
            _columns([], {}, []), [], [], postings, Matrix(np.empty((0, dimensions), np.float32)), 0
        )

    @property
    def layout(self) -> Layout:
        """The session order of the live documents."""
        if self._layout is None:
            self._layout = Layout(self.columns, self._hint)
            self._hint = self._layout.full_order
        return self._layout

    @property
    def nbytes(self) -> int:
        """Bytes of memory, about."""
        base, tail = self.matrix.parts
        return base.nbytes + tail.nbytes + self.postings.base.docs.nbytes * 2 + 200 * len(self.ids)

    @property
    def growth(self) -> int:
        """Documents that came since the image was compacted or loaded."""
        return len(self.ids) - self.saved

    def row_numbers(self, ids: Sequence[str]) -> list[int]:
        """Return the documents of some ids, whatever their version."""
        wanted = set(ids)
        return [doc for doc, id in enumerate(self.ids) if id in wanted]

    def update(self, rows: Sequence[Row], erased: Sequence[str], cursor: int) -> None:
        """Follow the log: ``rows`` are those that changed, in row order."""
        if erased:
            self._drop(self.row_numbers(erased))
        known = int(self.columns.rows[-1]) if len(self.columns.rows) else -1
        self._mark([row for row in rows if row.row <= known])
        fresh = [row for row in rows if row.row > known]
        if fresh:
            self._append(fresh)
        self.cursor = cursor
        self._layout = None

    def _drop(self, docs: Sequence[int]) -> None:
        self.columns.live[docs] = False
        for part, start in zip(self.matrix.parts, (0, len(self.matrix.base)), strict=True):
            here = [doc - start for doc in docs if start <= doc < start + len(part)]
            if here and part.flags.writeable:
                part[here] = 0.0

    def _mark(self, rows: Sequence[Row]) -> None:
        if not rows:
            return
        docs = np.searchsorted(self.columns.rows, [row.row for row in rows])
        for doc, row in zip(docs.tolist(), rows, strict=True):
            if self.columns.rows[doc] == row.row:
                self.columns.live[doc] = bool(row.live)

    def _append(self, rows: Sequence[Row]) -> None:
        first = len(self.ids)
        codes = {name: code for code, name in enumerate(self.speakers)}
        hashes, frequencies, counts = decode_terms(row.terms for row in rows)
        owner = np.repeat(np.arange(len(rows)), counts)
        lengths = np.bincount(owner, weights=frequencies, minlength=len(rows))
        self.columns = self.columns.extended(_columns(rows, codes, lengths.astype(np.float32)))
        self.speakers = list(codes)
        self.ids.extend(row.id for row in rows)
        self.postings.add(first, hashes, frequencies, counts)
        self.matrix.extend(_vectors(rows, self.matrix.base.shape[1]))

    def compacted(self) -> CubeImage:
        """Return the image without dead documents and with everything in its base."""
        kept = np.flatnonzero(self.columns.live)
        renumber = np.full(len(self.ids), -1, np.int32)
        renumber[kept] = np.arange(len(kept), dtype=np.int32)
        terms, docs, frequencies = self.postings.triples()
        docs = renumber[docs]
        alive = docs >= 0
        postings = PostingArrays.build(terms[alive], docs[alive], frequencies[alive])
        vectors = np.empty((len(kept), self.matrix.base.shape[1]), np.float32)
        base, tail = self.matrix.parts
        split = int(np.searchsorted(kept, len(base)))
        np.take(base, kept[:split], axis=0, out=vectors[:split])
        np.take(tail, kept[split:] - len(base), axis=0, out=vectors[split:])
        ids = [self.ids[doc] for doc in kept.tolist()]
        return CubeImage(
            self.columns.take(kept),
            ids,
            self.speakers,
            Postings(postings),
            Matrix(vectors),
            self.cursor,
        )


def _columns(
    rows: Sequence[Row], codes: dict[str, int], lengths: NDArray[np.float32] | list[float]
) -> Columns:
    loose = [row.position is None for row in rows]
    return Columns(
        rows=np.array([row.row for row in rows], np.int64),
        places=np.array([row.place for row in rows], np.int64),
        chains=np.array(
            [_LOOSE + r.row if alone else r.place for r, alone in zip(rows, loose, strict=True)],
            np.int64,
        ),
        positions=np.array([row.position or 0 for row in rows], np.int64),
        live=np.array([bool(row.live) for row in rows], np.bool_),
        expires=np.array([NEVER if r.expires is None else r.expires for r in rows], np.int64),
        speakers=np.array(
            [-1 if r.speaker is None else codes.setdefault(r.speaker, len(codes)) for r in rows],
            np.int32,
        ),
        lengths=np.asarray(lengths, np.float32),
        embedded=np.array([row.vector is not None for row in rows], np.bool_),
    )


def _vectors(rows: Sequence[Row], dimensions: int) -> NDArray[np.float32]:
    if all(row.vector is not None for row in rows):
        joined = b"".join([row.vector for row in rows if row.vector is not None])
        return np.frombuffer(bytearray(joined), np.float32).reshape(len(rows), dimensions)
    vectors = np.zeros((len(rows), dimensions), np.float32)
    for index, row in enumerate(rows):
        if row.vector is not None:
            vectors[index] = np.frombuffer(row.vector, np.float32)
    return vectors
