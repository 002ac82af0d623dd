"""Words over a whole cube image: BM25 of turns and of windows of their neighbours.

Words nominate by the BM25 of a turn and of its wide window, over all slots; the windows' other
features are worked out for the nominated slots alone. Places are those of ``layout.Spaced``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memos.backends.sqlite.codec import term_hash
from memos.backends.sqlite.image import CubeImage
from memos.backends.sqlite.layout import REACH, Layout, Spaced, windows
from memos.ports.stores import Feature
from memos.relevance import K1, MOST_TERMS, NOMINATING, SPANS, rarest, rarity, saturation

Column = NDArray[np.float32]
Places = NDArray[np.int32]
Edges = NDArray[np.integer]
_DENSE: Final = 32
"""A term in more than one of so many places is read in contiguous passes over all places."""
_CROWDED: Final = 24
"""Running sums of a term in more than one of so many places are made by summing all places."""
_SMALL: Final = 20_000
"""So are all terms of a cube with fewer places: the passes cost less than looking places up."""


class Term(NamedTuple):
    """A query term in a cube: its weight, and at which places it occurs how often.

    A sparse one has its own places, which rise, and their frequencies; a dense one has ``turns``,
    how often it occurs at every place. ``sums`` are running sums of these: of a dense term
    ``sums[i]`` is how often it occurs before place ``i``.
    """

    text: str
    weight: float
    places: Places
    frequencies: Column
    sums: Column
    turns: Column | None

    @property
    def dense(self) -> bool:
        """Whether all places are looked at."""
        return self.turns is not None

    def between(self, low: Edges, high: Edges, out: Column | None = None) -> Column:
        """Return how often the term occurs at the places from ``low`` to before ``high``."""
        if not self.dense:
            low, high = (np.searchsorted(self.places, edge) for edge in (low, high))
        found = self.sums.take(high, mode="clip", out=out)  # "clip" spares numpy a pass over them
        found -= self.sums.take(low, mode="clip")
        return found


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
            found.append(_term(term, rare, places, frequencies.astype(np.float32), layout.spaced))
    return found


def weights(layout: Layout, asked: Mapping[str, float], terms: Sequence[Term]) -> dict[str, float]:
    """Return what every term of the question weighs, those that nobody has said too."""
    held, unheard = {term.text: term.weight for term in terms}, rarity(len(layout.order), 0)
    return {term: held.get(term, weight * unheard) for term, weight in asked.items()}


def _term(text: str, weight: float, places: Places, frequencies: Column, spaced: Spaced) -> Term:
    if spaced.size >= _SMALL and len(places) * _DENSE <= spaced.size:
        order = np.argsort(places, kind="stable")
        places, frequencies = places[order], frequencies[order]
        sums = np.zeros(len(places) + 1, np.float32)  # exact up to 16 million occurrences
        np.cumsum(frequencies, out=sums[1:])
        return Term(text, weight, places, frequencies, sums, None)
    turns = np.zeros(spaced.size, np.float32)
    turns[places] = frequencies
    return Term(text, weight, places, frequencies, _summed(turns, places, frequencies), turns)


def _summed(turns: Column, places: Places, frequencies: Column) -> Column:
    """Return the running sums over all places."""
    if len(places) * _CROWDED > len(turns):
        sums = np.zeros(len(turns) + 1, np.float32)
        np.cumsum(turns, out=sums[1:])
        return sums
    order = np.argsort(places, kind="stable")  # spreading a few sums takes half of summing all
    edges = np.empty(len(places) + 2, np.int64)
    edges[0], edges[1:-1], edges[-1] = -1, places[order], len(turns)
    sums = np.zeros(len(places) + 1, np.float32)
    np.cumsum(frequencies[order], out=sums[1:])
    return np.repeat(sums, edges[1:] - edges[:-1])


def nomination(layout: Layout, terms: Sequence[Term]) -> Column:
    """Return, for every slot, the BM25 of the turn plus that of its wide window."""
    spaced = layout.spaced
    scores = np.zeros(spaced.size, np.float32)
    for term in terms:
        if term.turns is None:
            _nominate_near(scores, term, spaced)
        else:
            _nominate_everywhere(scores, term, term.turns, spaced)
    return scores[spaced.places]


def _nominate_everywhere(scores: Column, term: Term, turns: Column, spaced: Spaced) -> None:
    wide = windows(term.sums, turns, spaced.loose)
    divisor = turns + spaced.norms[Feature.BM25]
    both = np.divide(turns, divisor)
    np.add(wide, spaced.norms[NOMINATING], out=divisor)
    np.divide(wide, divisor, out=wide)
    both += wide
    both *= np.float32(term.weight * (K1 + 1))
    scores += both


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
