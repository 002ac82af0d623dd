"""What ``Reranker`` promises."""

from __future__ import annotations

import math

import pytest

from memos.ports.backend import Opened
from memos.testing.contracts.making import need

_QUERY = "How does Ann like her tea?"
_TEXTS = (
    "The train to Porto leaves at nine.",
    "Ann likes her tea without sugar.",
    "Interest rates were raised again.",
)


@pytest.mark.anyio
class Rerankers:
    """Expects a model that knows an answer from an unrelated sentence."""

    async def test_order(self, opened: Opened) -> None:
        """'Scores come in the order of the texts; higher is better.'"""
        model = need(opened.reranker)
        scores = await model.score(_QUERY, _TEXTS)
        assert scores[1] == max(scores)
        turned = await model.score(_QUERY, _TEXTS[::-1])
        assert turned[::-1] == pytest.approx(scores, abs=1e-3)

    async def test_nothing(self, opened: Opened) -> None:
        """'No text at all gives no score.'"""
        assert await need(opened.reranker).score(_QUERY, []) == []

    async def test_every_string(self, opened: Opened) -> None:
        """'Every string is accepted, the empty one included'; every score is finite."""
        texts = ["", " ", "日本 😀", "half \ud800", "null \0", "long " * 3000]
        for query in (_QUERY, "", "\ud800", "why " * 3000):
            scores = await need(opened.reranker).score(query, texts)
            assert len(scores) == len(texts)
            assert all(map(math.isfinite, scores))

    async def test_equal_texts(self, opened: Opened) -> None:
        """Equal texts have equal scores."""
        scores = await need(opened.reranker).score(_QUERY, [_TEXTS[1]] * 3)
        assert scores == pytest.approx([scores[0]] * 3, abs=1e-3)

    async def test_name(self, opened: Opened) -> None:
        """'The model's name, for messages.'"""
        assert need(opened.reranker).name
