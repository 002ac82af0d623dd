"""Which memories say nearly the same, and which differ. Pure.

Meaning alone does not tell. Embedders of the E5 kind put most turns of a conversation above 0.85 of
each other, and none tells "the 3rd of May" from "the 4th of May", or "I eat meat" from "I do not
eat meat". So what says nearly the same also shares most of its words; and memories by different
speakers, with different numbers, or of which only one denies, are never taken for the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from memos.analysis import count_terms
from memos.types import Memory, Vector

NEAR: Final = 0.92
"""The cosine from which on two memories say the same: MemOS's bound."""
SHARED: Final = 0.6
"""The share of words (Dice of the index terms) that they must have in common then."""
RELEVANCE: Final = 0.8
"""What the place in the ranking counts against likeness, from 0 to 1: MemOS's lambda."""
_COMPARED: Final = 1000
"""So many are compared with each other; beyond them only the same words count as said before."""
_NUMBER: Final = re.compile(r"\d+(?:[.,:/\-]\d+)*|[〇零一二两三四五六七八九十百千万亿]+")
_DENIAL: Final = re.compile(
    r"\b(?:not|no|never|none|nobody|nothing|without|cannot|neither|nor|stopped|quit)\b|n['’]t\b"
    r"|[不没沒無无别別未非勿]",
    re.IGNORECASE,
)
_Key = tuple[str, str]


class Alike:
    """Those that were kept, to hold others against."""

    def __init__(self, vectors: Mapping[_Key, Vector]) -> None:
        self._vectors = vectors
        self._rows: list[int] = []
        self._said: list[Memory] = []
        width = len(next(iter(vectors.values()))) if vectors else 0
        self._kept: NDArray[np.float32] = np.empty(
            (min(len(vectors), _COMPARED), width), np.float32
        )
        self._count = 0

    def find(self, memory: Memory) -> int | None:
        """Return which of the kept ones says the same: the nearest; None if there is none."""
        vector = self._vectors.get((memory.place.cube, memory.id))
        held = len(self._rows)
        if vector is None or not held:
            return None
        cosines = self._kept[:held] @ vector
        near = np.flatnonzero(cosines >= NEAR)
        for row in cast("list[int]", near[np.argsort(-cosines[near], kind="stable")].tolist()):
            if _same(self._said[row], memory):
                return self._rows[row]
        return None

    def add(self, memory: Memory) -> None:
        """Keep one more."""
        vector = self._vectors.get((memory.place.cube, memory.id))
        if vector is not None and len(self._rows) < len(self._kept):
            self._kept[len(self._rows)] = vector
            self._rows.append(self._count)
            self._said.append(memory)
        self._count += 1


def diverse(ranked: Sequence[Memory], vectors: Mapping[_Key, Vector]) -> Iterator[int]:
    """Yield places of a ranking by maximal marginal relevance, the best first.

    Carbonell and Goldstein 1998: every step takes what is most relevant and least like all that
    was taken. Relevance falls evenly from 1 at the first place. Likeness is a cosine on a scale
    where 0 is the mean of all pairs, for embedders differ in how near they put what has nothing in
    common; a memory without a vector is like nothing. What lies behind the first ``_COMPARED``
    follows in its order.
    """
    first = ranked[:_COMPARED]
    found = [vectors.get((memory.place.cube, memory.id)) for memory in first]
    width = next((len(vector) for vector in found if vector is not None), 0)
    if not width:
        yield from range(len(ranked))
        return
    empty = np.zeros(width, np.float32)
    rows = np.stack([empty if v is None else v for v in found])
    relevance = RELEVANCE * (1 - np.arange(len(first)) / max(1, len(first)))
    likeness = _likeness(rows)
    nearest = np.zeros(len(first))
    left = np.ones(len(first), bool)
    for _ in first:
        values = np.where(left, relevance - (1 - RELEVANCE) * nearest, -np.inf)
        at = int(np.argmax(values))
        left[at] = False
        nearest = np.maximum(nearest, likeness[at])
        yield at
    yield from range(len(first), len(ranked))


def _likeness(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the cosines of all pairs, from 0 for the mean of two different ones to 1."""
    cosines = rows @ rows.T
    count = len(rows)
    others = float(cosines.sum() - np.trace(cosines)) / max(1, count * (count - 1))
    return np.clip((cosines - others) / max(1e-6, 1 - others), 0, 1).astype(np.float32)


def _same(one: Memory, other: Memory) -> bool:
    """Return whether what is near in meaning may be taken for the same; the cheap tests first."""
    if one.speaker != other.speaker:
        return False
    said = (one.text, other.text)
    numbers, others = (set(_NUMBER.findall(text)) for text in said)
    denied, denies = (_DENIAL.search(text) is not None for text in said)
    if numbers != others or denied != denies:
        return False
    terms, more = (set(count_terms(text)) for text in said)
    return 2 * len(terms & more) >= SHARED * (len(terms) + len(more))
