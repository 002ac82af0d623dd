"""The scorer's features over a whole cube image; the reference is ``retrieve.features``."""

from __future__ import annotations

from concurrent.futures import Executor, Future
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from memos.analysis import words
from memos.backends.sqlite import lexical
from memos.backends.sqlite.image import Columns, CubeImage
from memos.backends.sqlite.layout import Layout
from memos.backends.sqlite.matrix import Matrix
from memos.dates import Span
from memos.ports.stores import Feature, Features, Question
from memos.relevance import (
    CUES,
    NEIGHBOUR_WEIGHT,
    TOLD_WITHIN,
    backdrop,
    centred,
    is_reply,
    timeliness,
    without_names,
)
from memos.telemetry import span

Column = NDArray[np.float32]
Slots = NDArray[np.int64]
_MARGIN: Final = 1.25
"""How many more candidates a scan of rounded vectors proposes than a lane keeps."""
_BESIDE_FROM: Final = 2_000
"""Vectors from which on a scan takes longer than handing it to another thread."""
_SAMPLE: Final = 1024
_SPARSE: Final = 4
"""How thin a sample of the scores must be to be worth its while."""


def features(
    image: CubeImage,
    question: Question,
    mask: NDArray[np.bool_] | None,
    cube: str,
    beside: Executor,
    *,
    adapted: bool = True,
) -> Features:
    """Return the union of the lanes' best slots with all their features.

    ``mask`` tells, per document, which may be returned; all live ones without it. Vectors are
    scanned by ``beside``, while the words are looked up here. The question is ``adapted`` to the
    cube: centred, and without the names of those who speak.
    """
    layout, centre = image.layout, image.centre if adapted else None
    asked = without_names(question.terms, image.speaking) if adapted else question.terms
    asked = lexical.rarest_terms(image, layout, asked)
    newest = image.newest if question.times else 0
    times = tuple(days.by(newest) for days in question.times)
    allowed = None if mask is None else mask[layout.order]
    vector = None if question.vector is None else centred(question.vector, centre)
    background, spread = backdrop(vector, centre)
    if not image.columns.embedded.any():
        vector = None
    scan = None if vector is None else Scan(image.matrix, vector, beside)
    ranked: dict[str, Slots] = {}
    with span("lane_seconds", lane="text"):
        terms = lexical.query_terms(image, layout, asked)
        if terms:
            nominating = lexical.nomination(layout, terms)
            ranked["text"] = _best(nominating, allowed, question.limit, above=0.0)
    cosines: dict[Feature, Column] = {}
    if vector is not None and scan is not None:
        with span("lane_seconds", lane="time"):
            then = _then(image, layout, times)
        with span("lane_seconds", lane="vector"):
            near_text = ranked.get("text", np.empty(0, np.int64))
            meant = _Meaning(image, layout, vector, allowed, then)
            lanes, cosines = meant.ranked(scan.done()[layout.order], near_text, question.limit)
            ranked |= lanes
    chosen = np.flatnonzero(_marked(len(layout.order), *ranked.values()))
    docs = layout.order[chosen]
    columns = {feature: column[chosen] for feature, column in cosines.items()}
    words_held: dict[str, NDArray[np.bool_]] = {}
    if terms:
        found, words_held = lexical.bm25(layout, terms, chosen)
        columns |= found
    columns |= _speakers(image, docs, question.speakers)
    columns |= _traits(image.columns, docs, times)
    return Features(
        cube=cube,
        ids=tuple(map(image.ids.__getitem__, docs.tolist())),
        columns=columns,
        lanes={name: _ranks(chosen, slots) for name, slots in ranked.items()},
        words=words_held,
        sessions=layout.number[chosen],
        terms=lexical.weights(layout, asked, terms),
        background=background,
        spread=spread,
        days=np.stack((image.columns.begins[docs], image.columns.ends[docs]), axis=1),
    )


class Scan:
    """A scan of vectors by other threads; who waits for it does what they have not begun."""

    def __init__(self, matrix: Matrix, vector: Column, beside: Executor) -> None:
        self._scores = np.empty(len(matrix), np.float32)
        self._steps = matrix.steps(vector, self._scores)
        self._begun: list[Future[None]] = []
        if len(matrix) >= _BESIDE_FROM:
            self._begun = [beside.submit(step) for step in self._steps]

    def done(self) -> Column:
        """Return the products with every vector."""
        if not self._begun:
            for step in self._steps:
                step()
        for future, step in zip(reversed(self._begun), reversed(self._steps), strict=False):
            if future.cancel():
                step()
        for future in self._begun:
            if not future.cancelled():
                future.result()
        return self._scores


class _Meaning:
    """The vector lanes: a turn's own cosine, and the mean with its neighbours'.

    A third has the turns that were said ``then``, if the question asks about some days.
    """

    def __init__(
        self,
        image: CubeImage,
        layout: Layout,
        vector: Column,
        allowed: NDArray[np.bool_] | None,
        then: NDArray[np.bool_] | None,
    ) -> None:
        self._image = image
        self._layout = layout
        self._vector = vector
        self._allowed = allowed
        self._embedded = _embedded(image, layout, allowed)
        self._then = then

    def ranked(
        self, own: Column, also: Slots, limit: int
    ) -> tuple[dict[str, Slots], dict[Feature, Column]]:
        """Return the lanes' best slots, and both cosines, exact for these and for ``also``.

        ``own`` is what the scan said of every slot; what a rounded one said is worked out again.
        """
        near = self._with_neighbours(own)
        if self._image.matrix.rounded is None:
            return self._lanes(own, near, limit)
        proposed, _ = self._lanes(own, near, int(limit * _MARGIN) + 32)
        inside = _marked(len(own), also, *proposed.values())
        read = inside.copy()  # their neighbours' cosines too are a part of theirs
        read[1:] |= inside[:-1]
        read[:-1] |= inside[1:]
        slots = np.flatnonzero(read)
        own[slots] = self._image.matrix.exact(self._layout.order[slots], self._vector)
        self._mend(own, near, np.flatnonzero(inside))
        return self._lanes(own, near, limit, inside)

    def _lanes(
        self, own: Column, near: Column, limit: int, inside: NDArray[np.bool_] | None = None
    ) -> tuple[dict[str, Slots], dict[Feature, Column]]:
        lanes = {
            "vector": _best(own, _both(self._embedded, inside), limit),
            "window": _best(near, _both(self._allowed, inside), limit),
        }
        if self._then is not None:
            timely = _both(self._then, self._embedded)
            lanes["time"] = _best(own, _both(timely, inside), limit)
        return lanes, {Feature.COSINE: own, Feature.COSINE_NEAR: near}

    def _with_neighbours(self, own: Column) -> Column:
        layout = self._layout
        near = own.copy()
        near[1:] += NEIGHBOUR_WEIGHT * own[:-1] * layout.has_previous[1:]
        near[:-1] += NEIGHBOUR_WEIGHT * own[1:] * layout.has_next[:-1]
        near /= layout.near_divisor
        return near

    def _mend(self, own: Column, near: Column, slots: Slots) -> None:
        """Work out the means again at some slots, whose cosines are exact by now."""
        layout = self._layout
        before, after = np.maximum(slots - 1, 0), np.minimum(slots + 1, len(own) - 1)
        total = own[slots] + NEIGHBOUR_WEIGHT * own[before] * layout.has_previous[slots]
        total += NEIGHBOUR_WEIGHT * own[after] * layout.has_next[slots]
        near[slots] = total / layout.near_divisor[slots]


@lru_cache(maxsize=4096)
def _named(speaker: str) -> tuple[frozenset[str], bool]:
    """Return the words of a speaker's name, and whether it is that of a machine."""
    return words(speaker), is_reply(speaker)


def _then(image: CubeImage, layout: Layout, times: tuple[Span, ...]) -> NDArray[np.bool_] | None:
    """Return which slots were said on the days asked about, or when these are mostly told of."""
    if not times:
        return None
    said = image.columns.said[layout.order]
    then = np.zeros(len(said), np.bool_)
    for first, last, _ in times:
        then |= (said >= first) & (said <= last + TOLD_WITHIN)
    return then


def _traits(columns: Columns, docs: Slots, times: tuple[Span, ...]) -> dict[Feature, Column]:
    """Return the cues of documents, and how well they fit the days asked about, if any."""
    cues = columns.cues[docs]
    found = {feature: ((cues & cue) != 0).astype(np.float32) for feature, cue in CUES.items()}
    if times:
        days = (columns.said[docs], columns.begins[docs], columns.ends[docs])
        found[Feature.TIME] = timeliness(times, *days)
    return found


def _both(
    one: NDArray[np.bool_] | None, other: NDArray[np.bool_] | None
) -> NDArray[np.bool_] | None:
    if one is None or other is None:
        return other if one is None else one
    return one & other


def _embedded(
    image: CubeImage, layout: Layout, allowed: NDArray[np.bool_] | None
) -> NDArray[np.bool_] | None:
    """Return which of the allowed slots have a vector; None means all."""
    if image.columns.embedded.all():
        return allowed
    return _both(image.columns.embedded[layout.order], allowed)


def _best(
    scores: Column, allowed: NDArray[np.bool_] | None, limit: int, *, above: float = -np.inf
) -> Slots:
    """Return the slots of the best scores over ``above``, best first; ties in session order."""
    slots = None if allowed is None else np.flatnonzero(allowed)
    values = scores if slots is None else scores[slots]
    top = _promising(values, limit)
    if len(top) > limit:
        first = np.argpartition(values[top], len(top) - limit)[len(top) - limit :]
        first.sort()
        top = top[first]
    values = values[top]
    order = np.argsort(-values, kind="stable")
    top = top[order[values[order] > above]]
    return top if slots is None else slots[top]


def _promising(scores: Column, limit: int) -> Slots:
    """Return the positions of few scores that hold the best ``limit``; of all, where that is hard.

    A sample tells about how high the best are; a look at all says which reach that.
    """
    step = len(scores) // _SAMPLE
    if step >= _SPARSE:
        sample = scores[::step]
        kept = min(len(sample), 2 * limit // step + 8)
        reached = np.flatnonzero(scores >= np.partition(sample, -kept)[-kept])
        if len(reached) >= limit:
            return reached
    return np.arange(len(scores))


def _marked(size: int, *slots: Slots) -> NDArray[np.bool_]:
    """Return which of ``size`` slots are among the given ones."""
    marked = np.zeros(size, np.bool_)
    for some in slots:
        marked[some] = True
    return marked


def _ranks(chosen: Slots, slots: Slots) -> NDArray[np.int32]:
    ranks = np.full(len(chosen), -1, np.int32)
    ranks[np.searchsorted(chosen, slots)] = np.arange(len(slots), dtype=np.int32)
    return ranks


def _speakers(image: CubeImage, docs: Slots, asked: frozenset[str]) -> dict[Feature, Column]:
    """Return whether the question names who speaks, and whether a machine does."""
    names = [*map(_named, image.speakers), (frozenset[str](), False)]
    codes = image.columns.speakers[docs]  # code -1, nobody, reads the last entry
    named = np.array([bool(name & asked) for name, _ in names], np.float32)
    replies = np.array([reply for _, reply in names], np.float32)
    return {Feature.SPEAKER: named[codes], Feature.REPLY: replies[codes]}
