from __future__ import annotations

import numpy as np
import pytest

from memos.errors import InvalidInput
from memos.ports.stores import Feature, Features
from memos.relevance import length_norm, rarity, saturation
from memos.retrieve.pack import pack
from memos.retrieve.recipe import RECIPES, named
from memos.retrieve.score import Order
from memos.types import Memory, Place


def test_bm25_agrees_with_the_formula() -> None:
    """Robertson and Zaragoza 2009, section 3.2: k1 1.2, b 0.75."""
    frequency, length, mean = 3.0, 10.0, 8.0
    expected = frequency * 2.2 / (frequency + 1.2 * (0.25 + 0.75 * length / mean))
    norm = length_norm(np.array([length], np.float32), mean, 0)
    assert saturation(np.array([frequency], np.float32), norm)[0] == pytest.approx(expected)
    assert rarity(10, 2) == pytest.approx(np.log(1 + 8.5 / 2.5) ** 1.5)
    assert rarity(10, 10) > 0


def candidates(cube: str, ids: str, **columns: list[float]) -> Features:
    made = {Feature(name): np.array(values, np.float32) for name, values in columns.items()}
    ranks = np.argsort(np.argsort([-v for v in columns["cosine"]])).astype(np.int32)
    return Features(cube, tuple(ids), made, {"vector": ranks})


def test_the_order_is_that_of_the_summed_parts() -> None:
    found = [
        candidates(
            "c1", "ab", bm25=[1, 0], cosine=[0.9, 0.8], cosine_near=[0.9, 0.8], speaker=[0, 0]
        ),
        candidates("c2", "a", bm25=[0], cosine=[0.85], cosine_near=[0.8], speaker=[1]),
    ]
    order = Order(found, RECIPES["fast"])
    assert order.keys(3) == [("c1", "a"), ("c2", "a"), ("c1", "b")]
    for rank in range(3):
        ranked = order[rank]
        assert ranked.score == pytest.approx(sum(ranked.parts.values()), abs=1e-5)
    assert order[1].parts["speaker"] == RECIPES["fast"].weights[Feature.SPEAKER]
    assert order[0].lanes == {"vector": 0}
    assert order[0].features["cosine"] == pytest.approx(0.9)


def test_alike_candidates_and_none_do_not_divide_by_zero() -> None:
    alike = candidates("c", "ab", bm25=[1, 1], cosine=[0.5, 0.5])
    assert [Order([alike], RECIPES["fast"])[n].score for n in range(2)] == [0.0, 0.0]
    assert len(Order([], RECIPES["fast"])) == 0
    assert len(Order([Features("c", (), {}, {})], RECIPES["fast"])) == 0


def test_unknown_recipes_are_named() -> None:
    with pytest.raises(InvalidInput, match="fast, words, meaning"):
        named("slow")


def memory(text: str, speaker: str = "Ann") -> Memory:
    return Memory(text, "turn", text, Place("a", "c"), speaker=speaker)


def test_packing() -> None:
    ranked = [memory("one"), memory("one"), memory("one", "Bo"), memory("x" * 4000), memory("two")]
    by_limit = pack(ranked, limit=2, budget=None, dedup="exact")
    assert [[(m.text, m.speaker) for m in group] for group in by_limit] == [
        [("one", "Ann"), ("one", "Ann")],
        [("one", "Bo")],
    ]
    by_budget = pack(ranked, limit=10, budget=60, dedup="exact")
    assert [group[0].text for group in by_budget] == ["one", "one", "two"]
    assert len(pack(ranked, limit=10, budget=None, dedup="none")) == 5
