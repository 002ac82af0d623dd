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
Edges = NDArray[np.integer]
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

    def between(self, low: Edges, high: Edges, out: Column | None = None) -> Column:
        """Return how often the term occurs at the places from ``low`` to before ``high``."""
        if not self.dense:
            low, high = (np.searchsorted(self.places, edge) for edge in (low, high))
        found = self.sums.take(high, mode="clip", out=out)  # "clip" spares numpy a pass over them
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


def weights(layout: Layout, question: Question, terms: Sequence[Term]) -> dict[str, float]:
    """Return what every term of the question weighs, those that nobody has said too."""
    held, unheard = {term.text: term.weight for term in terms}, rarity(len(layout.order), 0)
    return {term: held.get(term, weight * unheard) for term, weight in question.terms.items()}


def _term(text: str, weight: float, places: Places, frequencies: Column, spaced: Spaced) -> Term:
    order = np.argsort(places, kind="stable")
    places, frequencies = places[order], frequencies[order]
    sums = np.zeros(len(places) + 1, np.float32)  # exact up to 16 million occurrences
    np.cumsum(frequencies, out=sums[1:])
    dense = spaced.size < _SMALL or len(places) * _DENSE > spaced.size
    if dense:  # spreading the sums takes a third of summing over all places
        edges = np.empty(len(places) + 2, np.int64)
        edges[0], edges[1:-1], edges[-1] = -1, places, spaced.size
        sums = np.repeat(sums, np.diff(edges))
    return Term(text, weight, places, frequencies, sums, dense)


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
    low, high, norms = layout.windows(chosen)
    counts = np.empty((len(terms), norms.size), np.float32)
    for term, found in zip(terms, counts, strict=True):
        term.between(low.ravel(), high.ravel(), out=found)
    own = list(SPANS).index(Feature.BM25) * len(chosen)
    held = counts[:, own : own + len(chosen)] > 0
    weights = np.array([term.weight for term in terms], np.float32)
    scores = (weights @ saturation(counts, norms.ravel())).reshape(norms.shape)
    words = {term.text: holds for term, holds in zip(terms, held, strict=True)}
    return dict(zip(SPANS, scores, strict=True)), words
