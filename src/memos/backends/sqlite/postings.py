"""Term -> turns of one cube: immutable arrays, and a tail of what came since."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

_LATE_BYTES: Final = 350
"""What a term of the tail takes: an entry and two small arrays."""


@dataclass(frozen=True, slots=True)
class PostingArrays:
    """Postings in compressed rows: term ``i`` has ``docs[offsets[i]:offsets[i + 1]]``.

    ``terms`` is sorted; the documents of a term rise.
    """

    terms: NDArray[np.uint64]
    offsets: NDArray[np.int64]
    docs: NDArray[np.int32]
    frequencies: NDArray[np.uint16]

    @classmethod
    def empty(cls) -> Self:
        """Return postings without a term."""
        return cls(
            np.empty(0, np.uint64),
            np.zeros(1, np.int64),
            np.empty(0, np.int32),
            np.empty(0, np.uint16),
        )

    @classmethod
    def build(
        cls, terms: NDArray[np.uint64], docs: NDArray[np.int32], frequencies: NDArray[np.uint16]
    ) -> Self:
        """Return the postings of parallel (term, document, frequency) arrays, documents rising."""
        order = np.argsort(terms, kind="stable")
        terms = terms[order]
        starts = np.flatnonzero(np.concatenate(([True], terms[1:] != terms[:-1])))
        if not len(terms):
            return cls.empty()
        offsets = np.append(starts, len(terms)).astype(np.int64)
        return cls(terms[starts], offsets, docs[order], frequencies[order])

    def find(self, term: int) -> slice:
        """Return where the postings of ``term`` lie; empty for an unknown one."""
        at = int(np.searchsorted(self.terms, np.uint64(term)))
        if at == len(self.terms) or int(self.terms[at]) != term:
            return slice(0, 0)
        return slice(int(self.offsets[at]), int(self.offsets[at + 1]))


class Postings:
    """Postings that grow: documents are only ever added, with rising numbers."""

    def __init__(self, base: PostingArrays) -> None:
        self.base = base
        self._tail: dict[int, tuple[array[int], array[int]]] = {}

    @property
    def whole(self) -> bool:
        """Whether there is no tail."""
        return not self._tail

    @property
    def nbytes(self) -> int:
        """Bytes of memory, about."""
        base = self.base
        held = base.terms.nbytes + base.offsets.nbytes + base.docs.nbytes + base.frequencies.nbytes
        return held + _LATE_BYTES * len(self._tail)

    def add(
        self, first: int, hashes: NDArray[np.uint64], frequencies: NDArray[np.uint16],
        counts: NDArray[np.int64],
    ) -> None:  # fmt: skip
        """Add documents ``first``, ``first + 1``, ...; document ``i`` has ``counts[i]`` terms."""
        docs = np.repeat(np.arange(first, first + len(counts), dtype=np.int64), counts)
        if not len(self.base.terms) and not self._tail:
            self.base = PostingArrays.build(hashes, docs.astype(np.int32), frequencies)
            return
        for term, doc, frequency in zip(
            hashes.tolist(), docs.tolist(), frequencies.tolist(), strict=True
        ):
            entry = self._tail.get(term)
            if entry is None:
                entry = self._tail[term] = (array("i"), array("H"))
            entry[0].append(doc)
            entry[1].append(frequency)

    def of(self, term: int) -> tuple[NDArray[np.int32], NDArray[np.uint16]]:
        """Return the documents that hold ``term``, rising, and how often each does."""
        where = self.base.find(term)
        docs, frequencies = self.base.docs[where], self.base.frequencies[where]
        tail = self._tail.get(term)
        if tail is None:
            return docs, frequencies
        late = np.array(tail[0], np.int32), np.array(tail[1], np.uint16)
        if not len(docs):
            return late
        return np.concatenate((docs, late[0])), np.concatenate((frequencies, late[1]))

    def triples(self) -> tuple[NDArray[np.uint64], NDArray[np.int32], NDArray[np.uint16]]:
        """Return all postings as parallel arrays, documents rising within a term."""
        terms = [np.repeat(self.base.terms, np.diff(self.base.offsets))]
        docs, frequencies = [self.base.docs], [self.base.frequencies]
        for term, (late, counts) in self._tail.items():
            terms.append(np.full(len(late), term, np.uint64))
            docs.append(np.array(late, np.int32))
            frequencies.append(np.array(counts, np.uint16))
        return np.concatenate(terms), np.concatenate(docs), np.concatenate(frequencies)
