"""Plain BM25 over turns: the floor that every suite is compared with, in the same run."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping
from typing import TypeAlias

from benchmarks.ranking import Ranking

CountTerms: TypeAlias = Callable[[str], Mapping[str, int]]

K1 = 1.2
B = 0.75


class Bm25:
    """An index that documents can join and leave.

    Example:
        index = Bm25(count_terms)
        index.add("D1:1", "The cat sleeps.")
        index.rank("cats", limit=10)
    """

    def __init__(self, count_terms: CountTerms) -> None:
        self._count_terms = count_terms
        self._postings: dict[str, dict[str, int]] = {}
        self._lengths: dict[str, int] = {}
        self._terms: dict[str, Mapping[str, int]] = {}
        self._total = 0

    def add(self, id: str, text: str) -> None:
        """Index a document; its id must be new."""
        terms = self._count_terms(text)
        length = sum(terms.values())
        self._terms[id], self._lengths[id] = terms, length
        self._total += length
        for term, count in terms.items():
            self._postings.setdefault(term, {})[id] = count

    def drop(self, id: str) -> None:
        """Take a document out again."""
        self._total -= self._lengths.pop(id)
        for term in self._terms.pop(id):
            del self._postings[term][id]

    def rank(self, query: str, *, limit: int) -> Ranking:
        """Return the best documents that share a term with the query, best first."""
        scores: dict[str, float] = {}
        for term, times in self._count_terms(query).items():
            postings = self._postings.get(term, {})
            weight = times * self._weight(len(postings))
            for document, count in postings.items():
                gain = weight * self._saturated(count, document)
                scores[document] = scores.get(document, 0.0) + gain
        order = {document: position for position, document in enumerate(self._lengths)}
        return heapq.nsmallest(limit, scores.items(), key=lambda s: (-s[1], order[s[0]]))

    def _weight(self, documents: int) -> float:
        return math.log(1 + (len(self._lengths) - documents + 0.5) / (documents + 0.5))

    def _saturated(self, count: int, id: str) -> float:
        mean = self._total / len(self._lengths)
        return count * (K1 + 1) / (count + K1 * (1 - B + B * self._lengths[id] / mean))
