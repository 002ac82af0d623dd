from __future__ import annotations

import pytest

from memos.analysis import count_terms, tokens, words


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("The dogs were running", {"dog": 1, "run": 1}),
        ("Zürich zurich ZÜRICH", {"zurich": 3}),
        ("Caroline’s cat, Caroline's dog", {"carolin": 2, "cat": 1, "dog": 1}),
        ("user_id getUserName", {"user_id": 1, "user": 2, "id": 1, "getusername": 1, "get": 1,
                                 "name": 1}),
        ("Python 3.11 on 2024-03-15", {"python": 1, "3.11": 1, "3": 1, "11": 1, "2024-03-15": 1,
                                       "2024": 1, "03": 1, "15": 1}),
        ("我在北京大学读书", {"北京": 1, "大学": 1, "北京大学": 1, "读书": 1, "我在": 1, "在北": 1,
                          "京大": 1, "学读": 1}),
        ("ｆｕｌｌ　ｗｉｄｔｈ", {"full": 1, "width": 1}),
        ("東京タワー", {"東京": 1, "タワ": 1, "ワー": 1}),
        ("안녕하세요", {"안녕": 1, "녕하": 1, "하세": 1, "세요": 1}),
        ("party 🎉🎉", {"parti": 1, "🎉": 2}),
        ("iPhone发布了", {"iphone": 1, "phone": 1, "发布": 1, "布了": 1}),
        ("", {}),
        (" \n\t", {}),
        ("the of and 的 了", {}),
    ],
)  # fmt: skip
def test_terms(text: str, terms: dict[str, int]) -> None:
    assert count_terms(text) == terms


def test_ascii_text_takes_a_short_cut_to_the_same_terms() -> None:
    text = "Don't e-mail bob@x.org about user_id=42, v1.2/3: it's fine_"
    assert count_terms(text) == {k: v for k, v in count_terms(text + " é").items() if k != "e"} | (
        {"e": count_terms(text)["e"]} if "e" in count_terms(text) else {}
    )


def test_very_long_words_are_cut() -> None:
    assert max(map(len, count_terms("x" * 100_000))) <= 64


@pytest.mark.timeout(5)
def test_a_long_run_without_a_break_takes_time_that_grows_with_it() -> None:
    assert count_terms("上个月" * 20_000)["上个"] == 20_000


def test_words_are_compared_without_case_and_accents() -> None:
    assert "renee" in words("What did Renée say?")
    assert "小明" in words("小明去哪里了")


@pytest.mark.parametrize(
    ("text", "count"), [("", 0), ("abcd", 1), ("abcde", 2), ("你好", 2), ("你好 abc", 3)]
)
def test_tokens(text: str, count: int) -> None:
    assert tokens(text) == count
