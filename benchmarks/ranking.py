"""From scored memories to ranked sources, and from sources to ranked sessions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

Ranking: TypeAlias = list[tuple[str, float]]
"""Source ids, best first, each once, with the score of the memory that it came with."""


def expand(cited: Iterable[tuple[str, float]]) -> Ranking:
    """Keep the first mention of every source, in rank order."""
    ranking: dict[str, float] = {}
    for source, score in cited:
        ranking.setdefault(source, score)
    return list(ranking.items())


def rank_units(ranking: Ranking, units: Mapping[str, str]) -> list[str]:
    """Return the units (sessions) of ranked ids, each once, where its first id stands."""
    return list(dict.fromkeys(units[found] for found, _ in ranking if found in units))
