"""The optional last step of a search: a slower model puts the best candidates in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from memos.analysis import passage_text
from memos.errors import UpstreamError
from memos.ports.models import Embedder, Reranker
from memos.retrieve.score import Order, Ranked
from memos.types import Memory

RERANKED: Final = 50
"""Candidates that are put in order anew; the rest keeps its place behind them."""
LANE: Final = "rerank"
"""Where a hit that the reranker judged has its place and its score."""
_Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Reranked:
    """An order whose first candidates a reranker put in their places, with its scores."""

    order: Order
    first: tuple[_Key, ...]
    ranks: tuple[int, ...]
    scores: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, rank: int) -> Ranked:
        if rank >= len(self.ranks):
            return self.order[rank]
        ranked = self.order[self.ranks[rank]]
        if rank >= len(self.scores):
            return ranked
        return ranked._replace(
            lanes={**ranked.lanes, LANE: rank},
            features={**ranked.features, LANE: self.scores[rank]},
        )

    @property
    def answerable(self) -> float:
        """What the scorer thinks of the candidates together."""
        return self.order.answerable

    def keys(self, count: int) -> list[_Key]:
        """Return (cube, id) of the first ``count``."""
        return [*self.first, *self.order.keys(count)[len(self.first) :]][:count]


async def rerank(
    reranker: Reranker, query: str, order: Order, rows: dict[_Key, Memory]
) -> tuple[Order | Reranked, tuple[str, ...]]:
    """Return the order with its first candidates in their new places, and what failed.

    Args:
        reranker: Gives the scores.
        query: The question.
        order: The candidates as the scorer has them.
        rows: The memories of the first ``RERANKED``; those that are not there any more are last.
    """
    keys = order.keys(RERANKED)
    held = [(rank, key) for rank, key in enumerate(keys) if key in rows]
    if not held:
        return order, ()
    try:
        scores = await reranker.score(query, [passage_text(rows[key]) for _, key in held])
    except UpstreamError as error:
        return order, (f"rerank: {error.code}",)
    best = sorted(range(len(held)), key=lambda place: -scores[place])
    gone = [(rank, key) for rank, key in enumerate(keys) if key not in rows]
    placed = [*(held[place] for place in best), *gone]
    made = Reranked(
        order,
        tuple(key for _, key in placed),
        tuple(rank for rank, _ in placed),
        tuple(scores[place] for place in best),
    )
    return made, ()


@dataclass(frozen=True, slots=True)
class CosineReranker:
    """The ``Reranker`` port over an embedder: scores are cosines."""

    embedder: Embedder

    @property
    def name(self) -> str:
        """The embedder's name."""
        return self.embedder.name

    async def score(self, query: str, texts: Sequence[str]) -> list[float]:
        """Return the cosine of each text and the query."""
        if not texts:
            return []
        (asked,) = await self.embedder.embed([query], "query")
        passages = await self.embedder.embed(texts, "passage")
        return [float(value) for value in passages @ asked]
