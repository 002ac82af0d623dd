"""The one scorer: features of the candidates in, order and reasons out. Pure."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Final, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from memos.ports.stores import Feature, Features
from memos.relevance import TEXT_WEIGHTS
from memos.retrieve.calibrate import answerable, relativity
from memos.retrieve.recipe import Recipe

Column = NDArray[np.float32]
_EVIDENCE: Final = ("text", Feature.COSINE, Feature.COSINE_NEAR)
_SHOWN: Final = 10
"""How many candidates are worked out with their reasons at first: as many as are mostly wanted."""
_STANDARDISED: Final = frozenset({Feature.COSINE, Feature.COSINE_NEAR})


class Ranked(NamedTuple):
    """A candidate in its place.

    Attributes:
        cube: Where it lives.
        id: Which it is.
        score: The sum of ``parts``; comparable within one search only.
        relativity: How good it is by itself, from 0 to 1; comparable over searches and cubes.
        parts: What each feature contributed.
        features: The features as they were.
        lanes: Lane -> rank in it, from 0.
        words: The terms of the question that it holds.
    """

    cube: str
    id: str
    score: float
    relativity: float
    parts: Mapping[str, float]
    features: Mapping[str, float]
    lanes: Mapping[str, int]
    words: tuple[str, ...]


class Order:
    """The candidates of a search, best first; reasons are worked out for those that are read.

    Attributes:
        answerable: How likely they answer the question, from 0 to 1.
    """

    def __init__(
        self,
        found: Sequence[Features],
        recipe: Recipe,
        aspects: Sequence[Sequence[Features]] = (),
    ) -> None:
        """Score the candidates of every cube together; ties stay in the order they came in.

        Args:
            found: The candidates of the question.
            recipe: What counts how much.
            aspects: Those of its sentences, each cube by cube as in ``found``.
        """
        self._found = found
        self._shown: list[Ranked] = []
        self._starts = list(accumulate((len(part.ids) for part in found), initial=0))
        self._parts = _contributions(found, recipe)
        nothing = np.zeros(self._starts[-1], np.float32)
        evidence = sum((self._parts.get(name, nothing) for name in _EVIDENCE), nothing)
        self.answerable = answerable(found, evidence, _column(found, Feature.SPEAKER))
        total = sum(self._parts.values(), nothing.copy())
        if aspects and recipe.aspects:
            sentences = [_looked_up(found, other, recipe) for other in aspects]
            together = np.log(np.mean(np.exp(sentences), axis=0, dtype=np.float64))
            self._parts["aspects"] = recipe.aspects * (together.astype(np.float32) - total)
            total += self._parts["aspects"]
        more: dict[str, Column] = {}
        if recipe.session:
            more["session"] = recipe.session * _standardised(_together(found, total))
        if recipe.leading:
            more["leading"] = recipe.leading * _leading(found, total)
        for name, column in more.items():
            self._parts[name] = column
            total += column
        self._scores: Column = total
        self._order = cast("list[int]", np.argsort(-total, kind="stable").tolist())

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, rank: int) -> Ranked:
        if rank >= len(self._shown):
            start, end = len(self._shown), max(_SHOWN, 2 * len(self._shown), rank + 1)
            self._shown += self._reasons(self._order[start:end])
        return self._shown[rank]

    def keys(self, count: int) -> list[tuple[str, str]]:
        """Return (cube, id) of the first ``count``."""
        chosen = map(self._candidate, self._order[:count])
        return [(part.cube, part.ids[row]) for part, row in chosen]

    def _reasons(self, chosen: Sequence[int]) -> list[Ranked]:
        """Return some candidates with all that is known of them; many at once cost little more."""
        cubes: dict[int, list[int]] = {}
        for at in chosen:
            cubes.setdefault(self._cube(at), []).append(at)
        found: dict[int, Ranked] = {}
        for cube, mine in cubes.items():
            ranked = self._of_cube(self._found[cube], np.array(mine), self._starts[cube])
            found |= zip(mine, ranked, strict=True)
        return [found[at] for at in chosen]

    def _of_cube(self, part: Features, at: NDArray[np.intp], start: int) -> list[Ranked]:
        rows = at - start
        columns = [(str(name), column[rows].tolist()) for name, column in part.columns.items()]
        parts = [(name, column[at].tolist()) for name, column in self._parts.items()]
        lanes = [(name, ranks[rows].tolist()) for name, ranks in part.lanes.items()]
        words = [(term, holds[rows].tolist()) for term, holds in part.words.items()]
        scores, good = self._scores[at].tolist(), relativity(part, rows)
        return [
            Ranked(
                cube=part.cube,
                id=part.ids[row],
                score=scores[n],
                relativity=good[n],
                parts={name: values[n] for name, values in parts},
                features={name: values[n] for name, values in columns},
                lanes={name: ranks[n] for name, ranks in lanes if ranks[n] >= 0},
                words=tuple(term for term, holds in words if holds[n]),
            )
            for n, row in enumerate(cast("list[int]", rows.tolist()))
        ]

    def _candidate(self, at: int) -> tuple[Features, int]:
        cube = self._cube(at)
        return self._found[cube], at - self._starts[cube]

    def _cube(self, at: int) -> int:
        return bisect_right(self._starts, at) - 1 if len(self._found) > 1 else 0


def _contributions(found: Sequence[Features], recipe: Recipe) -> dict[str, Column]:
    parts: dict[str, Column] = {}
    if recipe.text:
        text = sum(
            (weight * _column(found, feature) for feature, weight in TEXT_WEIGHTS.items()),
            np.zeros(sum(len(part.ids) for part in found), np.float32),
        )
        parts["text"] = recipe.text * _standardised(text)
    for feature, weight in recipe.weights.items():
        if not weight or not any(feature in part.columns for part in found):
            continue
        column = _column(found, feature)
        parts[str(feature)] = weight * (
            _standardised(column) if feature in _STANDARDISED else column
        )
    return parts


def _together(found: Sequence[Features], scores: Column) -> Column:
    """Return, for every candidate, the log of the sum of e^score over its session's candidates.

    One strong turn lifts its session as much as several fair ones do, and a long session of weak
    ones not at all: the sum is over the root of their number, between a sum and a mean.
    """
    starts = list(accumulate((len(part.ids) for part in found), initial=0))
    together = np.empty(len(scores), np.float32)
    for part, start, end in zip(found, starts, starts[1:], strict=False):
        if part.sessions is None:
            together[start:end] = scores[start:end]
            continue
        weights = np.exp(scores[start:end].astype(np.float64))
        sums = np.bincount(part.sessions, weights=weights)
        means = sums / np.sqrt(np.maximum(np.bincount(part.sessions), 1))
        together[start:end] = np.log(means[part.sessions])
    return together


def _looked_up(found: Sequence[Features], other: Sequence[Features], recipe: Recipe) -> Column:
    """Return the scores that another question gives to the candidates of ``found``.

    Those it did not nominate get the least that it gave to anybody.
    """
    parts = _contributions(other, recipe)
    nothing = np.zeros(sum(len(part.ids) for part in other), np.float32)
    scores = sum(parts.values(), nothing)
    least = float(scores.min()) if len(scores) else 0.0
    keys = ((part.cube, id) for part in other for id in part.ids)
    score_of = dict(zip(keys, cast("list[float]", scores.tolist()), strict=True))
    wanted = [score_of.get((part.cube, id), least) for part in found for id in part.ids]
    return np.array(wanted, np.float32)


def _leading(found: Sequence[Features], scores: Column) -> Column:
    """Return, for every candidate, 1 if it is the best of its session, less the farther behind.

    It falls steadily, with e^(-2 x distance), so that equals stay equals.
    """
    behind = np.zeros(len(scores), np.float32)
    starts = list(accumulate((len(part.ids) for part in found), initial=0))
    for part, start, end in zip(found, starts, starts[1:], strict=False):
        if part.sessions is not None and end > start:
            best = np.full(int(part.sessions.max()) + 1, -np.inf, np.float32)
            np.maximum.at(best, part.sessions, scores[start:end])
            behind[start:end] = scores[start:end] - best[part.sessions]
    return np.exp(2 * behind)


def _column(found: Sequence[Features], feature: Feature) -> Column:
    columns = [
        part.columns[feature] if feature in part.columns else np.zeros(len(part.ids), np.float32)
        for part in found
    ]
    if len(columns) == 1:
        return columns[0]
    return np.concatenate(columns) if columns else np.zeros(0, np.float32)


def _standardised(values: Column) -> Column:
    """Return z-scores over the candidates; all zero where they do not differ."""
    if not len(values):
        return values
    apart = values - values.sum() / np.float32(len(values))
    spread = math.sqrt(float(apart @ apart) / len(values))
    if spread < 1e-6:  # noqa: PLR2004 - float32 noise
        return np.zeros(len(values), np.float32)
    return cast("Column", apart / np.float32(spread))
