from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from memos.errors import InvalidInput
from memos.ports.stores import Feature, Features
from memos.relevance import is_reply, length_norm, rarity, saturation
from memos.retrieve.aspects import aspects
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
    leading = pytest.approx(RECIPES["fast"].leading)
    assert [Order([alike], RECIPES["fast"])[n].score for n in range(2)] == [leading, leading]
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


def holding(ids: str, *, background: float = 0.0, **columns: list[float]) -> Features:
    """Candidates of which the first holds the rare word of the question."""
    made = candidates("c", ids, **columns)
    words = {"rare": np.array([True, *[False] * (len(ids) - 1)])}
    terms = {"rare": 6.0, "common": 1.0, "unheard": 5.0}
    return replace(made, words=words, terms=terms, background=background, spread=0.5)


def test_relativity_means_the_same_in_every_search() -> None:
    good = holding("ab", cosine=[0.4, 0.0])
    alone = Order([holding("a", cosine=[0.4])], RECIPES["fast"])[0]
    among = Order([good], RECIPES["fast"])[0]
    assert (among.id, alone.relativity) == ("a", among.relativity)
    assert among.relativity == pytest.approx(1 / (1 + np.exp(4 - 5 * 0.8 - 3 * 0.5)))
    assert Order([good], RECIPES["fast"])[1].relativity < 0.05
    moved = holding("ab", background=0.3, cosine=[0.7, 0.3])
    assert Order([moved], RECIPES["fast"])[0].relativity == pytest.approx(among.relativity)
    words = Order([replace(good, columns={})], RECIPES["words"])[0]
    assert words.relativity == pytest.approx(1 / (1 + np.exp(4 - 6 * 0.5)))


def test_answerable_falls_when_words_are_unheard_or_others_say_it() -> None:
    def rated(**columns: list[float]) -> float:
        return Order([holding("abc", **columns)], RECIPES["fast"]).answerable

    nobody = rated(bm25=[9, 1, 0], cosine=[0.9, 0.1, 0.1], speaker=[0, 0, 0])
    asked = rated(bm25=[9, 1, 0], cosine=[0.9, 0.1, 0.1], speaker=[1, 0, 0])
    other = rated(bm25=[9, 1, 0], cosine=[0.9, 0.1, 0.1], speaker=[0, 1, 1])
    assert nobody == pytest.approx(0.5)
    assert 0 < other < 0.1 < asked < nobody
    assert Order([], RECIPES["fast"]).answerable == 0.0
    assert Order([candidates("c", "a", cosine=[0.5])], RECIPES["meaning"]).answerable == 1.0


def test_other_sessions_come_before_the_second_best_of_one() -> None:
    found = candidates("c", "abc", bm25=[3, 2.9, 2.8], cosine=[0.5, 0.49, 0.48])
    together = replace(found, sessions=np.array([0, 0, 1], np.int32))
    recipe = replace(RECIPES["fast"], session=0.0)
    parts = {
        ranked.id: ranked.parts["leading"]
        for ranked in map(Order([together], recipe).__getitem__, range(3))
    }
    assert parts["a"] == parts["c"] == pytest.approx(recipe.leading)
    assert parts["b"] < parts["a"]


def test_what_a_machine_said_comes_later() -> None:
    found = candidates("c", "ab", bm25=[1, 1], cosine=[0.5, 0.5], reply=[1, 0])
    assert Order([found], RECIPES["fast"]).keys(2) == [("c", "b"), ("c", "a")]
    assert [is_reply(name) for name in ("Assistant", "Ann", None)] == [True, False, False]


def test_sentences_of_a_question_are_its_aspects() -> None:
    both = "Where does Ann live? And which car does she drive?"
    assert aspects(both) == ("Where does Ann live?", "And which car does she drive?")
    assert aspects("我住在哪个小区？另外，银行招聘会的规模是什么？") == (
        "我住在哪个小区？",
        "另外，银行招聘会的规模是什么？",
    )
    assert aspects("Which version came after 3.11 of node.js?") == ()
    assert aspects("Well. And you? Where does Ann live?") == ()
    assert aspects("One red cat sat. " * 5) == ()
    rambling = "The sun is out today. The ducks are back. I must buy fruit. " + both
    assert aspects(rambling) == aspects(both)
    assert aspects("今天天气真好。湖里有很多鸭子。回家要买水果。公园怎么样？") == ("公园怎么样？",)
    assert aspects("I moved to Rome. Where do I live now?") != ("Where do I live now?",)
    assert aspects("") == ()


def test_each_sentence_brings_its_own_answer_up() -> None:
    whole = candidates("c", "abxyz", bm25=[2, 1.5, 2, 0, 0], cosine=[0.5, 0.4, 0.5, 0, 0])
    first = candidates("c", "ax", bm25=[3, 1], cosine=[0.9, 0.2])
    second = candidates("c", "bx", bm25=[3, 1], cosine=[0.9, 0.2])
    recipe = RECIPES["fast"]
    assert Order([whole], recipe).keys(3)[-1] == ("c", "b")
    order = Order([whole], recipe, [[first], [second]])
    assert order.keys(3)[-1] == ("c", "x")
    assert len(order) == 5
    assert order[0].score == pytest.approx(sum(order[0].parts.values()), abs=1e-5)
