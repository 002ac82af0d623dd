"""The image of a cube: the arrays that search reads, derived from the records.

Documents are numbered in row order and never renumbered until the image is compacted; documents
whose row died stay, masked. ``Layout`` puts the live ones in session order, so that windows of
neighbouring turns are sums over slices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from memos.backends.sqlite.codec import decode_terms
from memos.backends.sqlite.matrix import Matrix
from memos.backends.sqlite.postings import PostingArrays, Postings
from memos.ports.stores import Feature
from memos.relevance import NEIGHBOUR_WEIGHT, NOMINATING, SPANS, length_norm

NEVER: Final = np.iinfo(np.int64).max
REACH: Final = SPANS[NOMINATING]
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
        self.spaced = Spaced.of(self, total, starts, number)

    def _norms(self, lengths: NDArray[np.float32]) -> Mapping[Feature, NDArray[np.float32]]:
        sums = np.concatenate(([0], np.cumsum(lengths, dtype=np.float64)))
        norms = {Feature.BM25: length_norm(lengths, self.mean_length, 0)}
        for feature, (low, high) in self.windows.items():
            window = (sums[high] - sums[low]).astype(np.float32)
            norms[feature] = length_norm(window, self.mean_length, SPANS[feature])
        return norms


@dataclass(frozen=True, slots=True)
class Spaced:
    """The slots laid out with gaps, so that no wide window reaches into another session.

    Window sums over all slots are then differences of one running sum and a shifted copy of it,
    contiguous passes that cost a fraction of two look-ups per slot. Sessions come first, each
    between gaps of ``REACH``; turns that are alone in their session have no neighbours to add and
    follow without gaps.

    Attributes:
        size: Length of the layout.
        loose: Where the lone turns begin.
        places: Slot -> its place in the layout.
        of_docs: Document -> its place, -1 for a dead one.
        norms: BM25's length norms of turns and of wide windows, by place; 1 in the gaps.
    """

    size: int
    loose: int
    places: NDArray[np.int32]
    of_docs: NDArray[np.int32]
    norms: Mapping[Feature, NDArray[np.float32]]

    @classmethod
    def of(
        cls, layout: Layout, documents: int, starts: NDArray[np.intp], number: NDArray[np.intp]
    ) -> Self:
        """Space out the chains of slots that begin at ``starts``; ``number`` is each slot's."""
        slots = len(layout.order)
        shared = np.diff(np.append(starts, slots)) > 1
        inside = shared[number]
        gaps = REACH * np.cumsum(shared)
        loose = int(inside.sum()) + REACH * (int(shared.sum()) + 1)
        places = np.where(
            inside,
            np.cumsum(inside) - 1 + gaps[number],
            loose + np.cumsum(~inside) - 1,
        ).astype(np.int32)
        size = loose + int((~inside).sum())
        of_docs = np.full(documents, -1, np.int32)
        of_docs[layout.order] = places
        norms: dict[Feature, NDArray[np.float32]] = {}
        for feature in (Feature.BM25, NOMINATING):
            norms[feature] = np.ones(size, np.float32)
            norms[feature][places] = layout.norms[feature]
        return cls(size, loose, places, of_docs, norms)


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
        return self.matrix.nbytes + self.postings.base.docs.nbytes * 2 + 200 * len(self.ids)

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
        self.matrix.clear(docs)

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
        ids = [self.ids[doc] for doc in kept.tolist()]
        return CubeImage(
            self.columns.take(kept),
            ids,
            self.speakers,
            Postings(postings),
            self.matrix.compacted(kept),
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
