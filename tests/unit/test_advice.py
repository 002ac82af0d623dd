from __future__ import annotations

import numpy as np
import pytest

from memos.retrieve.advice import asks_advice, liking, towards


@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        ("Can you recommend some hotels in Rome?", "I like or dislike hotels Rome"),
        ("What should I cook for dinner?", "I like or dislike cook dinner"),
        ("推荐一部科幻电影", "我喜欢或不喜欢一部科幻电影"),
        ("Any tips?", None),
        ("Where does Ann live?", None),
        ("她住在什么地方？", None),
        ("", None),
    ],
)
def test_a_plea_for_advice_looks_for_likes(question: str, sentence: str | None) -> None:
    assert liking(question) == sentence
    assert asks_advice(question) is (sentence is not None or "tips" in question)


def test_a_question_moves_towards_an_answer() -> None:
    one, other = np.eye(2, dtype=np.float32)
    assert towards(one, other, 0.0) == pytest.approx(one)
    assert towards(one, other, 1.0) == pytest.approx([0.5**0.5, 0.5**0.5])
    assert towards(one, other, 1.0).dtype == np.float32
