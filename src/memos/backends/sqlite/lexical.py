"""Words over a whole cube image: BM25 of turns and of windows of their neighbours.

Words nominate by the BM25 of a turn and of its wide window, over all slots; the windows' other
features are worked out for the nominated slots alone. Places are those of ``layout.Spaced``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memos.backends.sqlite.codec import term_hash
from memos.backends.sqlite.image import CubeImage
from memos.backends.sqlite.layout import REACH, Layout, Spaced, windows
from memos.ports.stores import Feature, Question
from memos.relevance import K1, NOMINATING, SPANS, rarity, saturation

Column = NDArray[np.float32]
Places = NDArray[np.int32]
_DENSE: Final = 32
"""A term in more than one of so many places is read in contiguous passes over all places."""
_SMALL: Final = 20_000
"""So are all terms of a cube with fewer places: the passes cost less than looking places up."""


class Term(NamedTuple):
    """A query term in a cube: its weight, and at which places it occurs how often.

    ``sums`` are running sums of ``frequencies``: for a dense term over all places (``sums[i]`` is
    how often it occurs before place ``i``), for a sparse one over its own places, which rise.
    """

    text: str
    weight: float
    places: Places
    frequencies: Column
    sums: Column
    dense: bool

    def between(self, low: Places, high: Places) -> Column:
        """Return how often the term occurs at the places from ``low`` to before ``high``."""
        if not self.dense:
            low, high = (np.searchsorted(self.places, edge) for edge in (low, high))  # pyright: ignore[reportAssignmentType]
        found = self.sums.take(high, mode="clip")  # "clip" spares numpy a pass over the bounds
        found -= self.sums.take(low, mode="clip")
        return found


def query_terms(image: CubeImage, layout: Layout, question: Question) -> list[Term]:
    """Return the question's terms that live turns of the cube hold."""
    found: list[Term] = []
    for term, weight in question.terms.items():
        docs, frequencies = image.postings.of(term_hash(term))
        places = layout.places[docs]
        if len(layout.order) != len(layout.rank):
            alive = places >= 0
            places, frequencies = places[alive], frequencies[alive]
        if len(places):
            rare = weight * rarity(len(layout.order), len(places))
            found.append(_term(term, rare, places, frequencies.astype(np.float32), layout.spaced))
    return found


def _term(text: str, weight: float, places: Places, frequencies: Column, spaced: Spaced) -> Term:
    if spaced.size < _SMALL or len(places) * _DENSE > spaced.size:
        counts = np.zeros(spaced.size + 1, np.float32)  # exact up to 16 million occurrences
        counts[places + 1] = frequencies
        return Term(text, weight, places, frequencies, np.cumsum(counts, out=counts), dense=True)
    order = np.argsort(places, kind="stable")
    frequencies = frequencies[order]
    sums = np.zeros(len(places) + 1, np.float32)
    np.cumsum(frequencies, out=sums[1:])
    return Term(text, weight, places[order], frequencies, sums, dense=False)


def nomination(layout: Layout, terms: Sequence[Term]) -> Column:
    """Return, for every slot, the BM25 of the turn plus that of its wide window."""
    spaced = layout.spaced
    scores = np.zeros(spaced.size, np.float32)
    for term in terms:
        (_nominate_everywhere if term.dense else _nominate_near)(scores, term, spaced)
    return scores[spaced.places]


def _nominate_everywhere(scores: Column, term: Term, spaced: Spaced) -> None:
    turns = np.diff(term.sums)
    wide = windows(term.sums, turns, spaced.loose)
    divisor = turns + spaced.norms[Feature.BM25]
    np.divide(turns, divisor, out=turns)
    np.add(wide, spaced.norms[NOMINATING], out=divisor)
    np.divide(wide, divisor, out=wide)
    turns += wide
    turns *= np.float32(term.weight * (K1 + 1))
    scores += turns


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
    edges = {feature: layout.window(chosen, span) for feature, span in SPANS.items()}
    norms = np.concatenate([layout.norms(feature, *edge) for feature, edge in edges.items()])
    low, high = (np.concatenate(side) for side in zip(*edges.values(), strict=True))
    own = list(SPANS).index(Feature.BM25) * len(chosen)
    total = np.zeros(len(norms), np.float32)
    words: dict[str, NDArray[np.bool_]] = {}
    for term in terms:
        counts = term.between(low, high)
        words[term.text] = counts[own : own + len(chosen)] > 0
        total += np.float32(term.weight) * saturation(counts, norms)
    return dict(zip(SPANS, np.split(total, len(SPANS)), strict=True)), words
