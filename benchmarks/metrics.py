"""Measures of a ranking against gold ids, and their averages; no model judges anything."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypedDict

import numpy as np

from benchmarks.cases import Level

Measure: TypeAlias = Callable[[Sequence[str], frozenset[str]], float]

_RESAMPLES = 1000
_SEED = 20240501
_TURN_CUTS = (5, 10, 20, 50)
_SESSION_CUTS = (1, 3, 5, 10)


class Average(TypedDict):
    """One metric over all questions, as it goes to JSON; fractions from 0 to 1."""

    micro: float
    macro: float
    ci: list[float]
    n: int
    by: dict[str, float]


@dataclass(frozen=True, slots=True)
class Score:
    """One measure of one question."""

    metric: str
    value: float
    category: str
    cluster: str
    headline: bool


def recall(ranked: Iterable[str], gold: frozenset[str]) -> float:
    """Return the share of the gold ids that are ranked."""
    return len(gold.intersection(ranked)) / len(gold)


def reciprocal_rank(ranked: Sequence[str], gold: frozenset[str]) -> float:
    """Return 1 / rank of the first gold id, 0 when there is none."""
    return next((1 / rank for rank, found in enumerate(ranked, 1) if found in gold), 0.0)


def ndcg(ranked: Sequence[str], gold: frozenset[str], cut: int) -> float:
    """Return the discounted gain of the first ``cut`` ids over that of the best ranking."""
    gain = sum(1 / math.log2(rank + 1) for rank, r in enumerate(ranked[:cut], 1) if r in gold)
    best = sum(1 / math.log2(rank + 1) for rank in range(1, min(cut, len(gold)) + 1))
    return gain / best


def freshness(ranked: Sequence[str], stale: frozenset[str], current: frozenset[str]) -> float:
    """Return 1 if what is true now is ranked before what it replaced, or without it."""
    first = next((found for found in ranked if found in stale or found in current), None)
    return float(first in current)


def auroc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Return how often a positive value is above a negative one, ties counting half.

    T. Fawcett, "An introduction to ROC analysis", Pattern Recognition Letters 27, 2006.
    """
    one, other = np.array(positive)[:, None], np.array(negative)[None, :]
    return float((one > other).mean() + (one == other).mean() / 2)


def measure(level: Level, ranked: Sequence[str], gold: frozenset[str]) -> dict[str, float]:
    """Return every measure of one ranking, by name (``turn.recall@10``)."""
    found: dict[str, float] = {}
    for cut in _SESSION_CUTS if level == "session" else _TURN_CUTS:
        share = recall(ranked[:cut], gold)
        found[f"{level}.recall@{cut}"] = share
        found[f"{level}.all@{cut}"] = float(share == 1)
        found[f"{level}.any@{cut}"] = float(share > 0)
    found[f"{level}.ndcg@10"] = ndcg(ranked, gold, 10)
    found[f"{level}.mrr"] = reciprocal_rank(ranked, gold)
    return found


def average(scores: Iterable[Score]) -> dict[str, Average]:
    """Average the measures of all questions, metric by metric, in order of appearance."""
    by_metric: dict[str, list[Score]] = {}
    for score in scores:
        by_metric.setdefault(score.metric, []).append(score)
    return {metric: _average(found) for metric, found in by_metric.items()}


def _average(scores: Sequence[Score]) -> Average:
    by = {name: _mean(values) for name, values in _grouped(scores).items()}
    counted = [score for score in scores if score.headline] or list(scores)
    categories = _grouped(counted)
    return Average(
        micro=_mean([score.value for score in counted]),
        macro=_mean([_mean(values) for values in categories.values()]),
        ci=list(interval(counted)),
        n=len(counted),
        by=dict(sorted(by.items())),
    )


def _grouped(scores: Iterable[Score]) -> Mapping[str, list[float]]:
    grouped: dict[str, list[float]] = {}
    for score in scores:
        grouped.setdefault(score.category, []).append(score.value)
    return grouped


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def interval(scores: Sequence[Score]) -> tuple[float, float]:
    """Return the 95% bootstrap interval of the mean, whole clusters drawn with replacement."""
    clusters: dict[str, list[float]] = {}
    for score in scores:
        clusters.setdefault(score.cluster, []).append(score.value)
    sums = np.array([math.fsum(values) for values in clusters.values()])
    sizes = np.array([len(values) for values in clusters.values()])
    random = np.random.default_rng(_SEED)
    drawn = random.integers(0, len(sums), size=(_RESAMPLES, len(sums)))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Return the median and the 95th percentile of durations, in milliseconds."""
    if not seconds:
        return {"p50": 0.0, "p95": 0.0, "n": 0}
    p50, p95 = np.quantile(np.array(seconds) * 1000, (0.5, 0.95))
    return {"p50": float(p50), "p95": float(p95), "n": len(seconds)}
