"""The image of a cube: the arrays that search reads, derived from the records.

Documents are numbered in row order and never renumbered until the image is compacted; documents
whose row died stay, masked. A ``Layout`` puts the live ones in session order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memos.backends.sqlite.codec import decode_terms
from memos.backends.sqlite.layout import Layout
from memos.backends.sqlite.matrix import Matrix
from memos.backends.sqlite.postings import PostingArrays, Postings

NEVER: Final = np.iinfo(np.int64).max
_PIECE: Final = 20_000
_BYTES: Final = 14_000
"""What an image takes for one memory beside its vector; measured, as is the next."""
_ROW_BYTES: Final = 240
"""What every further memory takes: its columns, its id and its share of the layout."""
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
    cues: int
    said: int
    begins: int
    ends: int
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
    cues: NDArray[np.uint8]
    said: NDArray[np.int32]
    begins: NDArray[np.int32]
    ends: NDArray[np.int32]

    def take(self, kept: NDArray[np.int64]) -> Columns:
        """Return the columns of some documents."""
        return Columns(*(getattr(self, name)[kept] for name in Columns.__slots__))

    def extended(self, more: Sequence[Columns]) -> Columns:
        """Return these columns and then those of ``more``."""
        every = (self, *more)
        return Columns(*(np.concatenate([getattr(c, n) for c in every]) for n in Columns.__slots__))


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
        self.total: NDArray[np.float64] = np.zeros(matrix.base.shape[1])
        """The sum of the live vectors, kept up to date row by row."""
        self._hint: NDArray[np.int64] = np.empty(0, np.int64)
        self._layout: Layout | None = None
        self._speaking: frozenset[str] | None = None

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
            columns = self.columns
            self._layout = Layout(
                columns.chains, columns.positions, columns.live, columns.lengths, self._hint
            )
            self._hint = self._layout.full_order
        return self._layout

    @property
    def centre(self) -> NDArray[np.float32] | None:
        """The mean of the live vectors, None where there are none."""
        count = int(np.count_nonzero(self.columns.live & self.columns.embedded))
        return (self.total / count).astype(np.float32) if count else None

    @property
    def speaking(self) -> frozenset[str]:
        """Those who say something that is live."""
        if self._speaking is None:
            codes = self.columns.speakers[self.columns.live]
            said = np.bincount(codes + 1, minlength=1)[1:]
            self._speaking = frozenset(self.speakers[code] for code in np.flatnonzero(said))
        return self._speaking

    @property
    def newest(self) -> int:
        """The last day on which something was said that is live."""
        return int(self.columns.said[self.columns.live].max(initial=0))

    @property
    def nbytes(self) -> int:
        """Bytes of memory, about; asked for after every search, so nothing is gone through."""
        return self.matrix.nbytes + self.postings.nbytes + _BYTES + _ROW_BYTES * len(self.ids)

    @property
    def growth(self) -> int:
        """Documents that came since the image was compacted or loaded."""
        return len(self.ids) - self.saved

    def row_numbers(self, ids: Sequence[str]) -> list[int]:
        """Return the documents of some ids, whatever their version."""
        wanted = set(ids)
        return [doc for doc, id in enumerate(self.ids) if id in wanted]

    def update(self, rows: Iterable[Row], erased: Sequence[str], cursor: int) -> None:
        """Follow the log: ``rows`` are those that changed, in row order.

        They may be many more than fit into memory as they come: they are taken in pieces.
        """
        if erased:
            self._drop(self.row_numbers(erased))
        known = int(self.columns.rows[-1]) if len(self.columns.rows) else -1
        codes = {name: code for code, name in enumerate(self.speakers)}
        parts: list[_Part] = []
        stream = iter(rows)
        while piece := list(islice(stream, _PIECE)):
            self._mark([row for row in piece if row.row <= known])
            if fresh := [row for row in piece if row.row > known]:
                parts.append(_part(fresh, codes, self.matrix.base.shape[1]))
        if parts:
            self.speakers = list(codes)
            self._append(parts)
        self.cursor = cursor
        self._layout = None
        self._speaking = None

    def _drop(self, docs: Sequence[int]) -> None:
        self._turn(np.array(docs, np.intp), np.zeros(len(docs), np.bool_))
        self.matrix.clear(docs)

    def _turn(self, docs: NDArray[np.intp], live: NDArray[np.bool_]) -> None:
        """Let documents live or not; the sum of the vectors follows."""
        change = live.astype(np.int8) - self.columns.live[docs]
        for sign in (-1, 1):
            moved = docs[change == sign]
            if len(moved):
                self.total += sign * self.matrix.rows(moved).sum(axis=0, dtype=np.float64)
        self.columns.live[docs] = live

    def _mark(self, rows: Sequence[Row]) -> None:
        if not rows:
            return
        docs = np.searchsorted(self.columns.rows, [row.row for row in rows])
        known = self.columns.rows[docs] == [row.row for row in rows]
        live = np.array([bool(row.live) for row in rows], np.bool_)
        self._turn(docs[known], live[known])

    def _append(self, parts: list[_Part]) -> None:
        """Take up the documents of ``parts``, which is empty then: each goes when it was copied."""
        first = len(self.ids)
        self.columns = self.columns.extended([part.columns for part in parts])
        self.postings.add(
            first,
            np.concatenate([part.hashes for part in parts]),
            np.concatenate([part.frequencies for part in parts]),
            np.concatenate([part.counts for part in parts]),
        )
        vectors = np.empty((len(self.columns.rows) - first, self.matrix.base.shape[1]), np.float32)
        start = 0
        parts.reverse()
        while parts:
            part = parts.pop()
            self.ids.extend(part.ids)
            held = vectors[start : start + len(part.ids)]
            held[:] = part.vectors
            self.total += held[part.columns.live].sum(axis=0, dtype=np.float64)
            start += len(part.ids)
        self.matrix.extend(vectors)

    @property
    def compact(self) -> bool:
        """Whether nobody is dead and everything is in its base."""
        return (
            not len(self.matrix.parts[1]) and self.postings.whole and bool(self.columns.live.all())
        )

    def compacted(self) -> CubeImage:
        """Return the image without dead documents and with everything in its base."""
        if self.compact:  # as one that was just built: a copy would take as much memory again
            self.saved = len(self.ids)
            return self
        kept = np.flatnonzero(self.columns.live)
        renumber = np.full(len(self.ids), -1, np.int32)
        renumber[kept] = np.arange(len(kept), dtype=np.int32)
        terms, docs, frequencies = self.postings.triples()
        docs = renumber[docs]
        alive = docs >= 0
        postings = PostingArrays.build(terms[alive], docs[alive], frequencies[alive])
        ids = [self.ids[doc] for doc in kept.tolist()]
        image = CubeImage(
            self.columns.take(kept),
            ids,
            self.speakers,
            Postings(postings),
            self.matrix.compacted(kept),
            self.cursor,
        )
        image.total = self.total
        return image


class _Part(NamedTuple):
    """Some rows as arrays; row ``i`` has ``counts[i]`` of the hashed terms."""

    columns: Columns
    ids: list[str]
    hashes: NDArray[np.uint64]
    frequencies: NDArray[np.uint16]
    counts: NDArray[np.int64]
    vectors: NDArray[np.float32]


def _part(rows: Sequence[Row], codes: dict[str, int], dimensions: int) -> _Part:
    terms = decode_terms(row.terms for row in rows)
    owner = np.repeat(np.arange(len(rows)), terms[2])
    lengths = np.bincount(owner, weights=terms[1], minlength=len(rows)).astype(np.float32)
    columns = _columns(rows, codes, lengths)
    return _Part(columns, [row.id for row in rows], *terms, _vectors(rows, dimensions))


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
        cues=np.array([row.cues for row in rows], np.uint8),
        said=np.array([row.said for row in rows], np.int32),
        begins=np.array([row.begins for row in rows], np.int32),
        ends=np.array([row.ends for row in rows], np.int32),
    )


def _vectors(rows: Sequence[Row], dimensions: int) -> NDArray[np.float32]:
    if all(row.vector is not None for row in rows):
        joined = b"".join([row.vector for row in rows if row.vector is not None])
        return np.frombuffer(joined, np.float32).reshape(len(rows), dimensions)
    vectors = np.zeros((len(rows), dimensions), np.float32)
    for index, row in enumerate(rows):
        if row.vector is not None:
            vectors[index] = np.frombuffer(row.vector, np.float32)
    return vectors
