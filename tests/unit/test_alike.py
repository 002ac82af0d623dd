"""Near duplicates and diversity: pure functions over vectors that are made here."""

from __future__ import annotations

from itertools import permutations, starmap

import numpy as np
import pytest

from memos.retrieve.alike import RELEVANCE, diverse
from memos.retrieve.pack import pack
from memos.types import Memory, Place, Vector


def memory(id: str, text: str = "", speaker: str = "Ann", cube: str = "c") -> Memory:
    return Memory(id, "turn", text or id, Place("a", cube), speaker=speaker)


def towards(cosine: float, axis: int = 1) -> Vector:
    vector = np.zeros(8, np.float32)
    vector[0], vector[axis] = cosine, np.sqrt(1 - cosine**2)
    return vector


def vectors(*memories: tuple[Memory, Vector]) -> dict[tuple[str, str], Vector]:
    return {(held.place.cube, held.id): vector for held, vector in memories}


def ids(groups: list[list[Memory]]) -> list[list[str]]:
    return [[held.id for held in group] for group in groups]


FIRST = memory("first", "I am fond of tea")


@pytest.mark.parametrize(
    ("other", "cosine", "same"),
    [
        (memory("again", "Tea is what I am fond of"), 0.93, True),
        (memory("less", "I am fond of coffee"), 0.91, False),
        (memory("bo", "I am fond of tea, too", "Bo"), 0.99, False),
        (memory("number", "I am fond of 2 teas"), 0.99, False),
        (memory("denied", "I am not fond of tea"), 0.99, False),
        (memory("denied2", "I don't care for tea"), 0.99, False),
        (memory("denied3", "我不喜欢喝茶"), 0.99, False),
        (memory("other words", "A hot brew of leaves delights me"), 0.99, False),
        (memory("zh number", "我喜欢喝三杯茶"), 0.99, False),
        (memory("there", "Tea is what I am fond of", cube="d"), 0.99, True),
    ],
)
def test_what_is_nearly_the_same_joins_the_first(other: Memory, cosine: float, *, same: bool):
    near = vectors((FIRST, towards(1)), (other, towards(cosine)))
    packed = pack([FIRST, other], limit=5, budget=None, dedup="sim", vectors=near)
    assert ids(packed) == ([["first", other.id]] if same else [["first"], [other.id]])
    for dedup in ("exact", "none"):
        assert len(pack([FIRST, other], limit=5, budget=None, dedup=dedup, vectors=near)) == 2


def test_chinese():
    first = memory("first", "我每天早上喜欢喝绿茶")
    for text, same in (("早上我喜欢每天喝绿茶", True), ("我每天早上不喜欢喝绿茶", False),
                       ("我每天晚上在公园里跑步", False)):  # fmt: skip
        other = memory("other", text)
        near = vectors((first, towards(1)), (other, towards(0.97)))
        packed = pack([first, other], limit=5, budget=None, dedup="sim", vectors=near)
        assert len(packed) == (1 if same else 2), text


def test_the_nearest_of_several_is_joined_and_the_same_words_need_no_vector():
    a, b, c = memory("a", "tea"), memory("b", "black coffee"), memory("c", "coffee, black")
    bare = memory("bare", "tea")
    near = vectors((a, towards(0.5, 1)), (b, towards(1)), (c, towards(0.95, 2)))
    packed = pack([bare, a, b, c], limit=9, budget=None, dedup="sim", vectors=near)
    assert ids(packed) == [["bare", "a"], ["b", "c"]]


def test_a_folded_memory_takes_no_room_and_no_place():
    near = [
        (memory(f"m{n}", f"green tea every day, {chr(97 + n)}"), towards(0.99 + n / 1000))
        for n in range(5)
    ]
    other = memory("other", "something else")
    held = vectors(*near, (other, towards(0.1)))
    ranked = [*(one for one, _ in near), other]
    assert ids(pack(ranked, limit=2, budget=None, dedup="sim", vectors=held))[1] == ["other"]
    assert len(pack(ranked, limit=9, budget=36, dedup="sim", vectors=held)) == 2


def by_definition(ranked: list[Memory], near: dict[tuple[str, str], Vector]) -> list[int]:
    """Carbonell and Goldstein 1998, word for word."""
    left, chosen = list(range(len(ranked))), list[int]()
    rows = [near["c", held.id] for held in ranked]
    mean = np.mean([one @ other for one, other in permutations(rows, 2)])
    while left:

        def value(at: int) -> float:
            cosine = max((float(rows[at] @ rows[other]) for other in chosen), default=mean)
            likeness = max(0.0, (cosine - mean) / (1 - mean))
            return RELEVANCE * (1 - at / len(ranked)) - (1 - RELEVANCE) * likeness

        best = max(left, key=value)
        left.remove(best)
        chosen.append(best)
    return chosen


def test_diversity_is_that_of_the_definition():
    made = np.random.default_rng(7).normal(size=(30, 8)).astype(np.float32)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    ranked = [memory(f"m{n}") for n in range(30)]
    near = vectors(*zip(ranked, made, strict=True))
    assert list(diverse(ranked, near)) == by_definition(ranked, near)
    assert list(diverse(ranked, {})) == list(range(30))
    assert list(diverse([], {})) == []
    alike = vectors(*((held, towards(1)) for held in ranked))
    assert list(diverse(ranked, alike)) == list(range(30))


def test_mmr_prefers_what_differs_and_keeps_the_order_of_the_ranking():
    # Three of a kind, below the bound of near duplicates, and one of another kind.
    kinds = [("a", 0.0), ("b", 0.6), ("c", 0.62), ("d", 1.5)]
    ranked = [memory(id, f"they say that it rains, {id}") for id, _ in kinds]

    def turned(angle: float) -> Vector:
        vector = np.zeros(8, np.float32)
        vector[0], vector[1] = np.cos(angle), np.sin(angle)
        return vector

    near = vectors(*zip(ranked, starmap(lambda _, angle: turned(angle), kinds), strict=True))
    plain = pack(ranked, limit=3, budget=None, dedup="exact", vectors=near)
    assert ids(plain) == [["a"], ["b"], ["c"]]
    packed = pack(ranked, limit=3, budget=None, dedup="mmr", vectors=near)
    assert ids(packed) == [["a"], ["b", "c"], ["d"]]
    long = [ranked[0], memory("long", "x" * 4000), *ranked[1:]]
    near["c", "long"] = turned(3)
    assert "long" not in str(ids(pack(long, limit=3, budget=60, dedup="mmr", vectors=near)))
