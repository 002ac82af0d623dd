"""The arithmetic of relevance that engines and the reference scorer share.

BM25: S. Robertson, H. Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond",
Foundations and Trends in Information Retrieval 3(4), 2009, section 3.2, with the idf that is never
negative (``log(1 + (N - n + .5)/(n + .5))``).

A turn is scored four times: alone, and as the middle of windows of its neighbours in the session.
A window's term frequency and length are sums over its live turns; its mean length is taken as the
mean turn's times the window's width, so that turns alone give all the statistics that are needed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from memos.ports.stores import Feature

Floats: TypeAlias = NDArray[np.float32]

K1: Final = 1.2
B: Final = 0.75
SPANS: Final[Mapping[Feature, int]] = {
    Feature.BM25: 0,
    Feature.BM25_NEAR: 1,
    Feature.BM25_WIDE: 3,
    Feature.BM25_SESSION: 10,
}
"""Feature -> neighbours on each side that its window takes in."""
WIDEST: Final = max(SPANS.values())
TEXT_WEIGHTS: Final[Mapping[Feature, float]] = {
    Feature.BM25: 1.0,
    Feature.BM25_NEAR: 1.0,
    Feature.BM25_WIDE: 0.5,
    Feature.BM25_SESSION: 0.4,
}
"""What each of them counts in the score of the words."""
NOMINATING: Final = Feature.BM25_WIDE
"""Words nominate by the BM25 of a turn and of this window."""
NEIGHBOUR_WEIGHT: Final = 0.6
"""Weight of each neighbour's vector in the mean that ``COSINE_NEAR`` looks at."""


def idf(documents: int, holding: int) -> float:
    """Return the weight of a term that ``holding`` of ``documents`` contain."""
    return math.log1p((documents - holding + 0.5) / (holding + 0.5))


def length_norm(lengths: Floats, mean_length: float, span: int) -> Floats:
    """Return BM25's ``k1 * (1 - b + b * length / mean)`` for windows of ``span`` neighbours."""
    mean = max(mean_length, 1e-9) * (2 * span + 1)
    return K1 * (1 - B) + lengths * (K1 * B / mean)


def saturation(frequencies: Floats, norms: Floats) -> Floats:
    """Return ``tf * (k1 + 1) / (tf + norm)``; 0 where the term does not occur."""
    return cast("Floats", frequencies * np.float32(K1 + 1) / (frequencies + norms))
