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
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from memos.analysis import count_terms, fold
from memos.dates import Span
from memos.ports.stores import Feature
from memos.traits import NO_DAY, Cue
from memos.types import Vector

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
    Feature.BM25_NEAR: 0.65,
    Feature.BM25_WIDE: 0.65,
    Feature.BM25_SESSION: 1.0,
}
"""What each of them counts in the score of the words."""
MOST_TERMS: Final = 128
"""So many terms of a question are searched for in a cube."""
RARITY_POWER: Final = 1.5
"""Rare words say more than the logarithm gives them: names and things, not verbs."""
CENTRING: Final = 0.6
"""How much of the cube's mean vector is taken from the question's."""
NOMINATING: Final = Feature.BM25_WIDE
"""Words nominate by the BM25 of a turn and of this window."""
_MACHINES: Final = frozenset({"assistant", "system", "tool"})
NEIGHBOUR_WEIGHT: Final = 0.6
"""Weight of each neighbour's vector in the mean that ``COSINE_NEAR`` looks at."""

CUES: Final[Mapping[Feature, Cue]] = {
    Feature.PERSONAL: Cue.PERSONAL,
    Feature.PREFERENCE: Cue.PREFERENCE,
    Feature.CONCRETE: Cue.CONCRETE,
}
TOLD_WITHIN: Final = 7
"""Days in which what happened is mostly told; after them a memory is less about it."""
_TOLD_LATER: Final = 0.5

Days: TypeAlias = NDArray[np.int32]


def timeliness(times: Iterable[Span], said: Days, begins: Days, ends: Days) -> Floats:
    """Return from 0 to 1 how well memories fit the days that are asked about.

    1 for what was said on them or speaks of just them; less for what speaks of more days, and for
    what was said soon after, for things are told when they have happened.

    Args:
        times: The days asked about.
        said: When each memory was said.
        begins: The first day that it speaks of.
        ends: The last of these.
    """
    best = np.zeros(len(said), np.float32)
    for first, last, _ in times:
        late = np.clip(said - last, 0, 50 * TOLD_WITHIN).astype(np.float32)
        told = np.float32(_TOLD_LATER) * np.exp(-late / np.float32(TOLD_WITHIN))
        told[(said >= first) & (said <= last)] = 1
        told[said < first] = 0
        length = (ends - begins + 1).astype(np.float32)
        spoken = np.minimum(np.float32(1), np.float32(last - first + 1) / length)
        spoken[(ends < first) | (begins > last) | (ends == NO_DAY)] = 0
        best = np.maximum(best, np.maximum(told, spoken))
    best[said == NO_DAY] = 0
    return best


def rarity(documents: int, holding: int) -> float:
    """Return the weight of a term that ``holding`` of ``documents`` contain: its idf, sharpened."""
    return math.log1p((documents - holding + 0.5) / (holding + 0.5)) ** RARITY_POWER


def rarest(
    terms: Mapping[str, float], documents: int, frequencies: Mapping[str, int]
) -> Mapping[str, float]:
    """Return the terms of a question that weigh most in a cube, ``MOST_TERMS`` of them.

    Those that nobody has said come last: they find nothing, and only tell that it is missing.
    """
    if len(terms) <= MOST_TERMS:
        return terms

    def worth(term: str) -> tuple[bool, float]:
        return frequencies[term] > 0, terms[term] * rarity(documents, frequencies[term])

    kept = frozenset(sorted(terms, key=worth, reverse=True)[:MOST_TERMS])
    return {term: weight for term, weight in terms.items() if term in kept}


def centred(query: Vector, centre: Vector | None) -> Vector:
    """Return the question's vector without what all memories of the cube have in common.

    Embeddings of one model share a large component, and those of one person's life share more:
    what is left tells memories apart. Only the query is moved, which for inner products is the
    same as moving the memories, up to a constant (J. Mu, P. Viswanath, "All-but-the-Top", ICLR
    2018, removes more than the mean; the mean is what pays here).
    """
    return query if centre is None else (query - np.float32(CENTRING) * centre).astype(np.float32)


def backdrop(question: Vector | None, centre: Vector | None) -> tuple[float, float]:
    """Return what a centred question has in common with the mean memory, and how far it can go.

    Vectors of length 1 lie ``sqrt(1 - |centre|^2)`` from their mean (root of the mean square), so
    the second is the inner product that such a step in the question's direction adds. What a
    memory adds, divided by it, is about a cosine around the cube's centre: a number that means the
    same whatever the embedder's common component is.
    """
    if question is None or centre is None:
        return 0.0, 0.0
    apart = math.sqrt(max(0.0, 1.0 - float(centre @ centre)))
    return float(question @ centre), float(np.linalg.norm(question)) * apart


def is_reply(speaker: str | None) -> bool:
    """Whether a machine said it: who speaks bears the name of its role, for want of another."""
    return speaker is not None and fold(speaker) in _MACHINES


def without_names(terms: Mapping[str, float], speakers: Iterable[str]) -> Mapping[str, float]:
    """Return the question's terms but for the names of those who speak in the cube.

    Who is asked about speaks, and is a feature of its own; the name inside a text says little,
    for everybody is addressed all the time. A question of nothing but names keeps them.
    """
    names = {term for speaker in speakers for term in name_terms(speaker)}
    kept = {term: weight for term, weight in terms.items() if term not in names}
    return kept or terms


@lru_cache(maxsize=4096)
def name_terms(name: str) -> frozenset[str]:
    """Return the index terms of a speaker's name."""
    return frozenset(count_terms(name))


def length_norm(lengths: Floats, mean_length: float, span: int) -> Floats:
    """Return BM25's ``k1 * (1 - b + b * length / mean)`` for windows of ``span`` neighbours."""
    mean = max(mean_length, 1e-9) * (2 * span + 1)
    return K1 * (1 - B) + lengths * (K1 * B / mean)


def saturation(frequencies: Floats, norms: Floats) -> Floats:
    """Return ``tf * (k1 + 1) / (tf + norm)``; 0 where the term does not occur."""
    return cast("Floats", frequencies * np.float32(K1 + 1) / (frequencies + norms))
