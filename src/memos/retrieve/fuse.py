"""Several rankings as one. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from memos.retrieve.pack import Key
from memos.retrieve.pipeline import Hit

K: Final = 60
"""How slowly places lose worth: the constant of Cormack, Clarke and Büttcher 2009."""


def fused(rankings: Mapping[str, Sequence[Hit]]) -> list[Hit]:
    """Return the hits of several rankings by reciprocal rank fusion, best first.

    Scores of different searches do not compare; places do. A hit's score is the sum over the
    rankings of 1 / (60 + place), which is what its ``parts`` say; its lanes gain its place in each.
    What else is told of it is what the first ranking that has it says.
    """
    found: dict[Key, Hit] = {}
    parts: dict[Key, dict[str, float]] = {}
    lanes: dict[Key, dict[str, int]] = {}
    for name, hits in rankings.items():
        for place, hit in enumerate(hits):
            key = (hit.memory.place.cube, hit.memory.id)
            first = found.setdefault(key, hit)
            parts.setdefault(key, {})[name] = 1 / (K + place + 1)
            lanes.setdefault(key, {**first.why.lanes})[name] = place
            found[key] = replace(first, relativity=max(first.relativity, hit.relativity))
    made = [
        replace(
            hit,
            score=sum(parts[key].values()),
            why=replace(hit.why, parts=parts[key], lanes=lanes[key]),
        )
        for key, hit in found.items()
    ]
    return sorted(made, key=lambda hit: -hit.score)
