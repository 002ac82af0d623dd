"""Words over a whole cube image: BM25 of turns and of windows of their neighbours.

Words nominate by the BM25 of a turn and of its wide window, over all slots; the windows' other
features are worked out for the nominated slots alone. Places are those of ``layout.Spaced``.

What is done over all places is done block by block: the dozen arrays that a term needs stay in the
processor's own cache, and are the same memory for every block and term.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memos.backends.sqlite.codec import term_hash
from memos.backends.sqlite.image import CubeImage
from memos.backends.sqlite.layout import REACH, Layout, Spaced
from memos.ports.stores import Feature
from memos.relevance import (
    K1,
    MOST_TERMS,
    NOMINATING,
    SPANS,
    WIDEST,
    rarest,
    rarity,
    saturation,
)

Column = NDArray[np.float32]
Places = NDArray[np.int32]
Edges = NDArray[np.int64]
Counts = NDArray[np.uint8 | np.float32]
_DENSE: Final = 32
"""A term in more than one of so many places is read in contiguous passes over all places."""
_SMALL: Final = 20_000
"""So are all terms of a cube with fewer places: the passes cost less than looking places up."""
_BLOCK: Final = 16_384
"""Places of a block."""
_BYTE: Final = 255 // (2 * REACH + 1)
"""Counts up to this are held in bytes: those of a wide window fit into one too."""


class Term(NamedTuple):
    """A query term in a cube: its weight, and at which places it occurs how often.

    A sparse one has its own places, which rise, their frequencies and the running sums of these; a
    dense one has ``turns``, how often it occurs at every place.
    """

    text: str
    weight: float
    places: Places
    frequencies: Column
    sums: Column
    turns: Counts | None

    def between(self, low: Places, high: Places) -> Column:
        """Return how often a sparse term occurs at the places from ``low`` to before ``high``."""
        first, last = (np.searchsorted(self.places, edge) for edge in (low, high))
        return self.sums[last] - self.sums[first]


def rarest_terms(
    image: CubeImage, layout: Layout, asked: Mapping[str, float]
) -> Mapping[str, float]:
    """Return the terms of a question that are worth most in the cube."""
    if len(asked) <= MOST_TERMS:
        return asked
    docs = {term: image.postings.of(term_hash(term))[0] for term in asked}
    live = {term: int((layout.places[some] >= 0).sum()) for term, some in docs.items()}
    return rarest(asked, len(layout.order), live)


def query_terms(image: CubeImage, layout: Layout, asked: Mapping[str, float]) -> list[Term]:
    """Return the question's terms that live turns of the cube hold."""
    found: list[Term] = []
    for term, weight in asked.items():
        docs, frequencies = image.postings.of(term_hash(term))
        places = layout.places[docs]
        if len(layout.order) != len(layout.rank):
            alive = places >= 0
            places, frequencies = places[alive], frequencies[alive]
        if len(places):
            rare = weight * rarity(len(layout.order), len(places))
            found.append(_term(term, rare, places, frequencies, layout.spaced))
    return found


def weights(layout: Layout, asked: Mapping[str, float], terms: Sequence[Term]) -> dict[str, float]:
    """Return what every term of the question weighs, those that nobody has said too."""
    held, unheard = {term.text: term.weight for term in terms}, rarity(len(layout.order), 0)
    return {term: held.get(term, weight * unheard) for term, weight in asked.items()}


def _term(
    text: str, weight: float, places: Places, frequencies: NDArray[np.uint16], spaced: Spaced
) -> Term:
    nothing = np.empty(0, np.float32)
    if spaced.size < _SMALL or len(places) * _DENSE > spaced.size:
        turns = np.zeros(spaced.size, np.uint8 if frequencies.max() <= _BYTE else np.float32)
        turns[places] = frequencies
        return Term(text, weight, places, nothing, nothing, turns)
    order = np.argsort(places, kind="stable")
    often = frequencies[order].astype(np.float32)
    sums = np.zeros(len(places) + 1, np.float32)  # exact up to 16 million occurrences
    np.cumsum(often, out=sums[1:])
    return Term(text, weight, places[order], often, sums, None)


def nomination(layout: Layout, terms: Sequence[Term]) -> Column:
    """Return, for every slot, the BM25 of the turn plus that of its wide window."""
    spaced = layout.spaced
    scores = np.zeros(spaced.size, np.float32)
    dense = [
        (turns, np.float32(weight * (K1 + 1)))
        for _, weight, _, _, _, turns in terms
        if turns is not None
    ]
    if dense:
        _nominate_everywhere(scores, dense, spaced)
    for term in terms:
        if term.turns is None:
            _nominate_near(scores, term, spaced)
    return scores[spaced.places]


def _nominate_everywhere(
    scores: Column, terms: Sequence[tuple[Counts, np.float32]], spaced: Spaced
) -> None:
    """Add what dense terms score; the gap before the first session and after the last get none."""
    parts = ((REACH, spaced.loose - REACH, REACH), (spaced.loose, spaced.size, 0))
    own, near = spaced.norms[Feature.BM25], spaced.norms[NOMINATING]
    mine, wide, divisor = np.empty((3, min(_BLOCK, spaced.size)), np.float32)
    for first, end, reach in parts:
        for start in range(first, end, _BLOCK):
            stop = min(start + _BLOCK, end)
            one, many, under = (part[: stop - start] for part in (mine, wide, divisor))
            here, norm, broad = scores[start:stop], own[start:stop], near[start:stop]
            for turns, weight in terms:
                one[:] = turns[start:stop]
                many[:] = _moving_sums(turns[start - reach : stop + reach], 2 * reach + 1)
                np.add(one, norm, out=under)
                np.divide(one, under, out=one)
                np.add(many, broad, out=under)
                np.divide(many, under, out=many)
                one += many
                one *= weight
                here += one


def _moving_sums(values: Counts, width: int) -> Counts:
    """Return the sums of every ``width`` neighbours, an odd number.

    Runs of two, four, eight are each the sum of two shorter ones, and a width is a sum of those.
    Counts are whole numbers, which float32, too, adds exactly in any order.
    """
    size = len(values) - width + 1
    sums, run, length, done = values[:size], values, 1, 1
    while 2 * length <= width:
        run = np.add(run[:-length], run[length:])
        length *= 2
        if width & length:
            sums = np.add(sums, run[done : done + size])
            done += length
    return sums


def _nominate_near(scores: Column, term: Term, spaced: Spaced) -> None:
    places, weight = term.places, np.float32(term.weight)
    turns = weight * saturation(term.frequencies, spaced.norms[Feature.BM25][places])
    scores[places] += turns
    lone = places >= spaced.loose
    near = places[~lone][:, None] + np.arange(-REACH, REACH + 1, dtype=np.int32)
    # A place that two windows touch comes twice and gets the same value both times.
    for touched, reach in ((near.ravel(), REACH), (places[lone], 0)):
        window = term.between(touched - reach, touched + reach + 1)
        scores[touched] += weight * saturation(window, spaced.norms[NOMINATING][touched])


def bm25(
    layout: Layout, terms: Sequence[Term], chosen: NDArray[np.int64]
) -> tuple[dict[Feature, Column], dict[str, NDArray[np.bool_]]]:
    """Return every window's BM25 for the chosen slots, and which terms each of them holds."""
    low, high, norms = layout.windows(chosen)
    counts = np.empty((len(terms), norms.size), np.float32)
    dense = [turns for *_, turns in terms if turns is not None]
    if dense:
        if layout.spaced.size < _SMALL:
            around = _between(dense, low, high)
        else:
            around = _around(dense, layout.spaced.places[chosen], low, high)
        counts[[term.turns is not None for term in terms]] = around
    begin, end = (edge.ravel().astype(np.int32) for edge in (low, high))  # of the places' own type
    for term, found in zip(terms, counts, strict=True):
        if term.turns is None:
            found[:] = term.between(begin, end)
    own = list(SPANS).index(Feature.BM25) * len(chosen)
    held = counts[:, own : own + len(chosen)] > 0
    weights = np.array([term.weight for term in terms], np.float32)
    scores = (weights @ saturation(counts, norms.ravel())).reshape(norms.shape)
    words = {term.text: holds for term, holds in zip(terms, held, strict=True)}
    return dict(zip(SPANS, scores, strict=True)), words


def _between(terms: Sequence[Counts], low: Edges, high: Edges) -> Column:
    """Return how often each term occurs from ``low`` to before ``high``, by running sums."""
    sums = np.zeros((len(terms), len(terms[0]) + 1), np.float32)
    np.cumsum(np.stack(terms), axis=1, dtype=np.float32, out=sums[:, 1:])
    return sums.take(high.ravel(), axis=1) - sums.take(low.ravel(), axis=1)


def _around(terms: Sequence[Counts], places: Places, low: Edges, high: Edges) -> Column:
    """Return how often each term occurs from ``low`` to before ``high``, windows in rows.

    These are windows around ``places``, none wider than ``WIDEST`` on each side.
    """
    width = 2 * WIDEST + 1
    first = places.astype(np.int64) - WIDEST
    read = first + np.arange(width)[:, None]
    held = np.empty((len(terms), width, len(places)), np.float32)
    for turns, mine in zip(terms, held, strict=True):
        mine[:] = turns.take(read, mode="clip")
    sums = np.zeros((width + 1, len(terms), len(places)), np.float32)
    for step in range(width):
        np.add(sums[step], held[:, step], out=sums[step + 1])
    column = np.arange(len(places))
    found = sums[high - first, :, column] - sums[low - first, :, column]
    return np.moveaxis(found, -1, 0).reshape(len(terms), -1)
