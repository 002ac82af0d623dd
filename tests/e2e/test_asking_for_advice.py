"""Who asks for advice is given what they like, though they said it in other words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from memos import MOS
from memos.errors import ModelError
from memos.ports.models import EmbedRole, Vectors
from memos.retrieve.recipe import RECIPES
from memos.settings import Settings
from memos.testing.fakes import HashEmbedder

TALK = (
    "The hotel on the corner has been sold to a bank.",
    "A colleague told me of the big hotels in Rome that he built.",
    "I am not a fan of noise and cannot sleep near a busy street.",
    "I do not like places where breakfast ends at nine.",
    "The ticket to Rome was cheap.",
    "Rome was founded on seven hills.",
)
PLEA = "Can you recommend some hotels in Rome?"


def test_likes_are_found_by_what_they_mean(tmp_path: Path) -> None:
    with MOS.open(Settings(home=tmp_path)) as mos:
        for number, text in enumerate(TALK):
            mos.add(text, session=f"s{number}")
        found = [hit.memory.text for hit in mos.search(PLEA, limit=3).hits]
        assert set(TALK[2:4]) <= set(found)
        without = RECIPES["fast"].without("liking")
        before = [hit.memory.text for hit in mos.search(PLEA, limit=6, recipe=without).hits]
        after = [hit.memory.text for hit in mos.search(PLEA, limit=6).hits]
        assert sum(map(after.index, TALK[2:4])) < sum(map(before.index, TALK[2:4]))


def test_likes_are_found_in_chinese(tmp_path: Path) -> None:
    with MOS.open(Settings(home=tmp_path)) as mos:
        for text in ("街角的餐厅关门了。", "我不喜欢太辣的菜。", "那家餐厅的老板姓王。"):
            mos.add(text, session=text)
        assert "太辣" in mos.search("推荐一家餐厅吧").hits[0].memory.text


def test_what_one_says_of_oneself_and_likes_comes_before_small_talk(mos: MOS) -> None:
    mos.add("A restaurant with music is loud.", session="a")
    mos.add("I prefer a restaurant without music.", session="b")
    first = mos.search("Can you recommend a restaurant?").hits[0]
    weights = RECIPES["fast"]
    assert first.memory.text.startswith("I prefer")
    assert first.why.parts["preference"] == weights.advice["preference"]
    assert first.why.parts["personal"] == pytest.approx(weights.weights["personal"])
    assert "preference" not in mos.search("Which music?", recipe="words").hits[0].why.parts


class Forgetful(HashEmbedder):
    """Fails for passages, once told to."""

    failing = False

    async def embed(self, texts: Sequence[str], role: EmbedRole) -> Vectors:
        """Return vectors of questions."""
        if self.failing and role == "passage":
            raise ModelError("out of memory", service="hash", code="down")
        return await super().embed(texts, role)


def test_an_embedder_that_fails_leaves_the_words(tmp_path: Path) -> None:
    embedder = Forgetful()
    with MOS.open(Settings(home=tmp_path), embedder=embedder) as mos:
        mos.add("I like small hotels.")
        embedder.failing = True
        found = mos.search(PLEA)
        assert found.degraded == ("vector: down",)
        assert found.hits[0].memory.text == "I like small hotels."
        assert mos.search("small hotels").degraded == ()
