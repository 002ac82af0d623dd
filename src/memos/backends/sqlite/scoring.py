"""The scorer's features over a whole cube image at once (the reference is ``retrieve.features``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from memos.analysis import words
from memos.backends.sqlite.codec import term_hash
from memos.backends.sqlite.image import CubeImage, Layout
from memos.ports.stores import Feature, Features, Question
from memos.relevance import NEIGHBOUR_WEIGHT, SPANS, TEXT_WEIGHTS, idf, saturation

Column = NDArray[np.float32]
_DENSE: Final = 0.2
"""Share of touched slots above which reading all slots in a row is faster than picking them."""


def features(image: CubeImage, question: Question, mask: NDArray[np.bool_] | None, cube: str) -> Features:
    """Return the union of the lanes' best slots with all their features.

    ``mask`` tells, per document, which may be returned; all live ones without it.
    """
    layout = image.layout
    allowed = None if mask is None else mask[layout.order]
    columns = _text_columns(image, layout, question)
    lanes: dict[str, Column] = {}
    if columns:
        lanes["text"] = sum(
            (TEXT_WEIGHTS[f] * column for f, column in columns.items()),
            np.zeros(len(layout.order), np.float32),
        )
    if question.vector is not None and len(layout.order):
        own, near = _cosines(image, layout, question.vector)
        columns |= {Feature.COSINE: own, Feature.COSINE_NEAR: near}
        lanes |= {"vector": own, "window": near}
    ranked = {
        name: _best(scores, allowed, question.limit, positive=name == "text")
        for name, scores in lanes.items()
    }
    chosen = np.unique(np.concatenate([*ranked.values(), np.empty(0, np.int64)])).astype(np.int64)
    docs = layout.order[chosen]
    picked = {feature: column[chosen] for feature, column in columns.items()}
    picked[Feature.SPEAKER] = _speaker(image, docs, question.speakers)
    return Features(
        cube=cube,
        ids=tuple(image.ids[doc] for doc in docs.tolist()),
        columns=picked,
        lanes={name: _ranks(chosen, slots) for name, slots in ranked.items()},
    )


def _cosines(image: CubeImage, layout: Layout, vector: Column) -> tuple[Column, Column]:
    own = image.matrix.dot(vector)[layout.order]
    near = own.copy()
    near[1:] += NEIGHBOUR_WEIGHT * own[:-1] * layout.has_previous[1:]
    near[:-1] += NEIGHBOUR_WEIGHT * own[1:] * layout.has_next[:-1]
    near /= layout.near_divisor
    return own, near


def _text_columns(image: CubeImage, layout: Layout, question: Question) -> dict[Feature, Column]:
    size = len(layout.order)
    postings = {term: _live_postings(image, layout, term) for term in question.terms}
    held = {term: entry for term, entry in postings.items() if len(entry[0])}
    if not held:
        return {}
    columns = {feature: np.zeros(size, np.float32) for feature in SPANS}
    for term, (slots, frequencies) in held.items():
        weight = question.terms[term] * idf(size, len(slots))
        _add_term(columns, layout, slots, frequencies, weight)
    return columns


def _live_postings(
    image: CubeImage, layout: Layout, term: str
) -> tuple[NDArray[np.int32], Column]:
    docs, frequencies = image.postings.of(term_hash(term))
    slots = layout.rank[docs]
    if len(layout.order) != len(layout.rank):
        alive = slots >= 0
        slots, frequencies = slots[alive], frequencies[alive]
    return slots, frequencies.astype(np.float32)


def _add_term(
    columns: Mapping[Feature, Column], layout: Layout, slots: NDArray[np.int32],
    frequencies: Column, weight: float,
) -> None:  # fmt: skip
    """Add one term's share to every BM25 column."""
    own = weight * saturation(frequencies, layout.norms[Feature.BM25][slots])
    columns[Feature.BM25][slots] += own
    size = len(layout.order)
    sums = np.zeros(size + 1, np.float32)
    sums[slots + 1] = frequencies
    np.cumsum(sums, out=sums)  # whole numbers below 2**24: exact
    touched = np.sort(slots)
    for feature, (low, high) in layout.windows.items():
        norms = layout.norms[feature]
        if len(slots) * (2 * SPANS[feature] + 1) > _DENSE * size:
            window = sums[high] - sums[low]
            columns[feature][:] += weight * saturation(window, norms)
        else:
            near = _around(touched, SPANS[feature], size)
            window = sums[high[near]] - sums[low[near]]
            columns[feature][near] += weight * saturation(window, norms[near])


def _around(slots: NDArray[np.int32], span: int, size: int) -> NDArray[np.int64]:
    """Return the slots within ``span`` of any of ``slots``, each once."""
    near = (slots[:, None].astype(np.int64) + np.arange(-span, span + 1)).ravel()
    return np.unique(near[(near >= 0) & (near < size)])


def _best(
    scores: Column, allowed: NDArray[np.bool_] | None, limit: int, *, positive: bool
) -> NDArray[np.int64]:
    """Return the slots of the best scores, best first; ties in session order."""
    if allowed is not None:
        candidates = np.flatnonzero(allowed & (scores > 0) if positive else allowed)
        scores = scores[candidates]
    elif positive:
        candidates = np.flatnonzero(scores > 0)
        scores = scores[candidates]
    else:
        candidates = None
    if len(scores) > limit:
        top = np.argpartition(scores, len(scores) - limit)[len(scores) - limit :]
        top.sort()
    else:
        top = np.arange(len(scores))
    top = top[np.argsort(-scores[top], kind="stable")]
    return top if candidates is None else candidates[top]


def _ranks(chosen: NDArray[np.int64], slots: NDArray[np.int64]) -> NDArray[np.int32]:
    ranks = np.full(len(chosen), -1, np.int32)
    ranks[np.searchsorted(chosen, slots)] = np.arange(len(slots), dtype=np.int32)
    return ranks


def _speaker(image: CubeImage, docs: NDArray[np.int64], asked: frozenset[str]) -> Column:
    named = np.array([bool(words(name) & asked) for name in image.speakers] + [False], np.float32)
    return named[image.columns.speakers[docs]]  # code -1, nobody, reads the last entry
