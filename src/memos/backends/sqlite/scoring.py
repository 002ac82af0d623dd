"""The scorer's features over a whole cube image at once (the reference is ``retrieve.features``).

Words nominate by the BM25 of a turn and of its wide window, over all slots; the windows' other
features are worked out for the nominated slots alone.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memos.analysis import words
from memos.backends.sqlite.codec import term_hash
from memos.backends.sqlite.image import CubeImage, Layout
from memos.ports.stores import Feature, Features, Question
from memos.relevance import NEIGHBOUR_WEIGHT, NOMINATING, SPANS, idf, saturation

Column = NDArray[np.float32]
Slots = NDArray[np.int64]
_DENSE: Final = 0.25
"""Share of touched slots above which reading all slots in a row is faster than picking them."""


class _Term(NamedTuple):
    """A query term in a cube: its weight, and where it occurs how often.

    ``sums[i]`` is how often it occurs in the slots before ``i``.
    """

    weight: float
    slots: NDArray[np.int32]
    frequencies: Column
    sums: NDArray[np.int32]


def features(
    image: CubeImage, question: Question, mask: NDArray[np.bool_] | None, cube: str
) -> Features:
    """Return the union of the lanes' best slots with all their features.

    ``mask`` tells, per document, which may be returned; all live ones without it.
    """
    layout = image.layout
    allowed = None if mask is None else mask[layout.order]
    ranked: dict[str, Slots] = {}
    terms = _terms(image, layout, question)
    if terms:
        ranked["text"] = _best(_nomination(layout, terms), allowed, question.limit, positive=True)
    cosines: dict[Feature, Column] = {}
    if question.vector is not None and image.columns.embedded.any():
        own, near = _cosines(image, layout, question.vector)
        cosines = {Feature.COSINE: own, Feature.COSINE_NEAR: near}
        ranked["vector"] = _best(own, _embedded(image, layout, allowed), question.limit)
        ranked["window"] = _best(near, allowed, question.limit)
    chosen = np.unique(np.concatenate([*ranked.values(), np.empty(0, np.int64)])).astype(np.int64)
    docs = layout.order[chosen]
    columns = {feature: column[chosen] for feature, column in cosines.items()}
    if terms:
        columns |= {feature: _bm25(layout, terms, feature, chosen) for feature in SPANS}
    columns[Feature.SPEAKER] = _speaker(image, docs, question.speakers)
    return Features(
        cube=cube,
        ids=tuple(map(image.ids.__getitem__, docs.tolist())),
        columns=columns,
        lanes={name: _ranks(chosen, slots) for name, slots in ranked.items()},
    )


def _embedded(
    image: CubeImage, layout: Layout, allowed: NDArray[np.bool_] | None
) -> NDArray[np.bool_] | None:
    """Return which of the allowed slots have a vector; None means all."""
    if image.columns.embedded.all():
        return allowed
    embedded = image.columns.embedded[layout.order]
    return embedded if allowed is None else embedded & allowed


def _cosines(image: CubeImage, layout: Layout, vector: Column) -> tuple[Column, Column]:
    own = image.matrix.dot(vector)[layout.order]
    near = own.copy()
    near[1:] += NEIGHBOUR_WEIGHT * own[:-1] * layout.has_previous[1:]
    near[:-1] += NEIGHBOUR_WEIGHT * own[1:] * layout.has_next[:-1]
    near /= layout.near_divisor
    return own, near


def _terms(image: CubeImage, layout: Layout, question: Question) -> list[_Term]:
    size = len(layout.order)
    found: list[_Term] = []
    for term, weight in question.terms.items():
        docs, frequencies = image.postings.of(term_hash(term))
        slots = layout.rank[docs]
        if size != len(layout.rank):
            alive = slots >= 0
            slots, frequencies = slots[alive], frequencies[alive]
        if len(slots):
            sums = np.zeros(size + 1, np.int32)
            sums[slots + 1] = frequencies
            np.cumsum(sums, out=sums)
            rarity = idf(size, len(slots))
            found.append(_Term(weight * rarity, slots, frequencies.astype(np.float32), sums))
    return found


def _nomination(layout: Layout, terms: list[_Term]) -> Column:
    """Return, for every slot, the BM25 of the turn plus that of its wide window."""
    scores = np.zeros(len(layout.order), np.float32)
    low, high = layout.windows[NOMINATING]
    norms, span = layout.norms[NOMINATING], SPANS[NOMINATING]
    reach = np.arange(-span, span + 1, dtype=np.int32)
    for weight, slots, frequencies, sums in terms:
        if len(slots) * len(reach) > _DENSE * len(scores):
            scores += weight * saturation(_between(sums, low, high), norms)
        else:
            # A slot that two windows touch comes twice and gets the same value both times.
            near = np.clip(slots[:, None] + reach, 0, len(scores) - 1).ravel()
            scores[near] += weight * saturation(_between(sums, low[near], high[near]), norms[near])
        scores[slots] += weight * saturation(frequencies, layout.norms[Feature.BM25][slots])
    return scores


def _bm25(layout: Layout, terms: list[_Term], feature: Feature, chosen: Slots) -> Column:
    """Return one window's BM25 for the chosen slots."""
    if feature in layout.windows:
        low, high = (edge[chosen] for edge in layout.windows[feature])
    else:
        low, high = chosen, chosen + 1
    norms = layout.norms[feature][chosen]
    column = np.zeros(len(chosen), np.float32)
    for term in terms:
        column += term.weight * saturation(_between(term.sums, low, high), norms)
    return column


def _between(
    sums: NDArray[np.int32], low: NDArray[np.signedinteger], high: NDArray[np.signedinteger]
) -> Column:
    window = sums.take(high, mode="clip")  # "clip" spares numpy a pass that checks the bounds
    window -= sums.take(low, mode="clip")
    return window.astype(np.float32)


def _best(
    scores: Column, allowed: NDArray[np.bool_] | None, limit: int, *, positive: bool = False
) -> Slots:
    """Return the slots of the best scores, best first; ties in session order."""
    candidates: Slots | None = None
    if allowed is not None or positive:
        wanted = scores > 0 if positive else np.ones(len(scores), bool)
        candidates = np.flatnonzero(wanted if allowed is None else wanted & allowed)
        scores = scores[candidates]
    if len(scores) > limit:
        top = np.argpartition(scores, len(scores) - limit)[len(scores) - limit :]
        top.sort()
    else:
        top = np.arange(len(scores))
    top = top[np.argsort(-scores[top], kind="stable")]
    return top if candidates is None else candidates[top]


def _ranks(chosen: Slots, slots: Slots) -> NDArray[np.int32]:
    ranks = np.full(len(chosen), -1, np.int32)
    ranks[np.searchsorted(chosen, slots)] = np.arange(len(slots), dtype=np.int32)
    return ranks


def _speaker(image: CubeImage, docs: Slots, asked: frozenset[str]) -> Column:
    named = np.array([bool(words(name) & asked) for name in image.speakers] + [False], np.float32)
    return named[image.columns.speakers[docs]]  # code -1, nobody, reads the last entry
