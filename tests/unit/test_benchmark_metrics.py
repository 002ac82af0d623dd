"""The benchmark's measures against values computed by hand."""

from __future__ import annotations

import math

import pytest
from benchmarks.bm25 import K1, B, Bm25
from benchmarks.metrics import (
    Score,
    auroc,
    average,
    freshness,
    interval,
    measure,
    ndcg,
    percentiles,
    recall,
    reciprocal_rank,
)
from benchmarks.ranking import expand, rank_units

RANKED = ["a", "b", "c", "d", "e", "f"]


def test_recall_is_the_share_of_gold_that_is_ranked() -> None:
    assert recall(RANKED[:2], frozenset({"b", "f"})) == 0.5
    assert recall(RANKED, frozenset({"b", "f"})) == 1.0
    assert recall([], frozenset({"b"})) == 0.0


def test_reciprocal_rank_looks_at_the_first_gold_id_only() -> None:
    assert reciprocal_rank(RANKED, frozenset({"c", "f"})) == pytest.approx(1 / 3)
    assert reciprocal_rank(RANKED, frozenset({"x"})) == 0.0


def test_ndcg_discounts_by_rank_and_divides_by_the_best_ranking() -> None:
    gain = 1 / math.log2(3) + 1 / math.log2(7)  # ranks 2 and 6
    best = 1 / math.log2(2) + 1 / math.log2(3)
    assert ndcg(RANKED, frozenset({"b", "f"}), 10) == pytest.approx(gain / best)
    assert ndcg(RANKED, frozenset({"b", "f"}), 5) == pytest.approx(1 / math.log2(3) / best)
    assert ndcg(RANKED, frozenset({"a"}), 10) == 1.0


def test_freshness_asks_for_the_new_before_the_old() -> None:
    old, new = frozenset({"b"}), frozenset({"d"})
    assert freshness(RANKED, old, new) == 0.0
    assert freshness(RANKED, new, old) == 1.0
    assert freshness(RANKED, frozenset({"x"}), new) == 1.0
    assert freshness([], old, new) == 0.0


def test_auroc_is_the_share_of_pairs_in_order() -> None:
    assert auroc([3, 2], [1, 0]) == 1.0
    assert auroc([1, 0], [1, 0]) == 0.5
    assert auroc([2, 0], [1, 1]) == 0.5
    assert auroc([0], [1]) == 0.0


def test_measure_names_levels_and_cuts() -> None:
    turns = measure("turn", RANKED, frozenset({"b", "f"}))
    assert turns["turn.recall@5"] == 0.5
    assert turns["turn.all@5"] == 0.0
    assert turns["turn.any@5"] == 1.0
    assert turns["turn.all@10"] == 1.0
    assert turns["turn.mrr"] == 0.5
    sessions = measure("session", ["s1", "s2"], frozenset({"s2"}))
    assert sessions["session.recall@1"] == 0.0
    assert sessions["session.all@3"] == 1.0
    assert {name.split("@")[-1] for name in sessions if "@" in name} == {"1", "3", "5", "10"}


def test_micro_counts_questions_and_macro_counts_categories() -> None:
    scores = [
        Score("turn.mrr", 1.0, "easy", "c1", headline=True),
        Score("turn.mrr", 1.0, "easy", "c1", headline=True),
        Score("turn.mrr", 0.0, "hard", "c2", headline=True),
        Score("turn.mrr", 0.25, "apart", "c2", headline=False),
    ]
    found = average(scores)["turn.mrr"]
    assert found["micro"] == pytest.approx(2 / 3)
    assert found["macro"] == 0.5
    assert found["n"] == 3
    assert found["by"] == {"apart": 0.25, "easy": 1.0, "hard": 0.0}


def test_interval_draws_whole_clusters() -> None:
    scores = [Score("m", value, "", name, headline=True) for name in "abcd" for value in (0.0, 1.0)]
    assert interval(scores) == (0.5, 0.5)
    apart = [Score("m", float(name < "c"), "", name, headline=True) for name in "abcd"]
    low, high = interval(apart)
    assert low == 0.0
    assert high == 1.0
    assert interval(apart) == (low, high)


def test_percentiles_are_in_milliseconds() -> None:
    assert percentiles([0.001, 0.002, 0.003]) == pytest.approx({"p50": 2.0, "p95": 2.9, "n": 3})
    assert percentiles([])["n"] == 0


def test_expanding_keeps_the_first_mention_of_every_source() -> None:
    cited = [("t2", 3.0), ("t1", 2.0), ("t2", 1.5), ("t3", 1.0)]
    assert expand(cited) == [("t2", 3.0), ("t1", 2.0), ("t3", 1.0)]


def test_sessions_stand_where_their_first_turn_stands() -> None:
    sessions = {"t1": "s1", "t2": "s2", "t3": "s2"}
    ranking = [("t3", 3.0), ("t1", 2.0), ("foreign", 1.5), ("t2", 1.0)]
    assert rank_units(ranking, sessions) == ["s2", "s1"]


def words(text: str) -> dict[str, int]:
    return {word: text.split().count(word) for word in text.split()}


def test_bm25_against_the_formula() -> None:
    index = Bm25(words)
    index.add("1", "red apple")
    index.add("2", "red red rose red")
    ((first, score), (second, _)) = index.rank("red", limit=10)
    assert (first, second) == ("2", "1")
    weight = math.log(1 + (2 - 2 + 0.5) / (2 + 0.5))
    norm = K1 * (1 - B + B * 4 / 3)
    assert score == pytest.approx(weight * 3 * (K1 + 1) / (3 + norm))


def test_bm25_forgets_dropped_documents() -> None:
    index, fresh = Bm25(words), Bm25(words)
    for found in (index, fresh):
        found.add("1", "red apple")
        found.add("2", "green apple pie")
    index.add("3", "red red")
    index.drop("3")
    assert index.rank("red apple", limit=10) == fresh.rank("red apple", limit=10)


def test_bm25_ranks_equal_documents_in_order_of_arrival() -> None:
    index = Bm25(words)
    for name in "cab":
        index.add(name, "same words")
    assert [found for found, _ in index.rank("words", limit=2)] == ["c", "a"]
