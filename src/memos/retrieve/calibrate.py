"""What a search says about itself: how good a hit is, and whether the memory answers at all. Pure.

Scores are standardised over the candidates, so the best of a hopeless search scores as high as the
best of a good one. What is said here rests on numbers that mean the same in every cube: the share
of the question's words (each by its weight) that a memory holds, and the cosine around the mean of
the cube's memories (``relevance.backdrop``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from memos.ports.stores import Feature, Features

Column = NDArray[np.float32]
_COSINE: Final = 5.0
_COVERED: Final = 3.0
_NOTHING: Final = -4.0
"""A logistic regression of being evidence on both, over labelled conversations, rounded."""


def relativity(part: Features, rows: NDArray[np.intp]) -> list[float]:
    """Return how good candidates are by themselves, from 0 to 1.

    About how often one that looks like it is evidence for the question. Without vectors the words
    count twice.
    """
    covered = np.zeros(len(rows), np.float64)
    whole = sum(part.terms.values())
    if whole > 0:
        for term, holds in part.words.items():
            covered += holds[rows] * (part.terms.get(term, 0.0) / whole)
    if Feature.COSINE not in part.columns or part.spread <= 0:
        certain = 2 * _COVERED * covered + _NOTHING
    else:
        cosine = (part.columns[Feature.COSINE][rows] - part.background) / part.spread
        certain = _COSINE * cosine + _COVERED * covered + _NOTHING
    return [_logistic(value) for value in certain.tolist()]


def answerable(found: Sequence[Features], evidence: Column, asked: Column) -> float:
    """Return how likely the memory answers the question, from 0 to 1; for comparing questions.

    The share of the question's words that some candidate holds, less where the question names
    somebody and others say what it asks for better than they do.

    Args:
        found: The candidates of every cube.
        evidence: What words and meaning say for each, in standard deviations.
        asked: 1 where the question names who speaks.
    """
    if not len(evidence):
        return 0.0
    named = asked > 0
    if not named.any() or named.all():
        return _known(found)
    ahead = float(evidence[named].max() - evidence[~named].max())
    return _known(found) * _logistic(ahead)


def _known(found: Sequence[Features]) -> float:
    """Return the share of the question that the best cube has words for; 1 without words."""
    return max(
        _share(sum(part.terms.get(term, 0.0) for term in part.words), sum(part.terms.values()))
        if part.terms
        else 1.0
        for part in found
        if part.ids
    )


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0


def _logistic(value: float) -> float:
    return 1 / (1 + math.exp(-max(-50.0, min(50.0, value))))
