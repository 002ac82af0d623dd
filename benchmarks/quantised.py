"""What the rounded scan of the embedded engine finds, beside an exact scan of the same vectors.

Through the engine's ``VectorIndex``, over all memories and over those of some agents. A memory
counts as found when its exact product is no less than the last of the exact best: equals are
equally right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import anyio
import numpy as np
from numpy.typing import NDArray

from memos.backends.sqlite import SqliteSettings, open_sqlite
from memos.filters import parse
from memos.types import Scope

_QUERIES: Final = 30
_WANTED: Final = (10, 100)
_NOISE: Final = 1e-6
_ALL: Final = "all"


def recall(
    home: Path, user: str, vectors: NDArray[np.float32], agents: Sequence[str]
) -> Mapping[str, float]:
    """Return "agents@k" -> the share of the exact best k that the engine finds.

    Args:
        home: A store whose cube of ``user`` holds the memories of ``vectors`` first.
        user: Whose cube.
        vectors: Shape (n, dimensions).
        agents: The agent of each memory.
    """
    dice = np.random.default_rng(23)
    near = vectors[dice.integers(0, len(vectors), _QUERIES)]
    noise = dice.standard_normal(near.shape).astype(np.float32)
    queries = near + 0.5 * noise / np.linalg.norm(noise, axis=1, keepdims=True)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    codes = np.array(agents)
    exact = [vectors @ query for query in queries]
    asked = [(agent, wanted) for agent in (_ALL, *sorted(set(agents))) for wanted in _WANTED]
    found: dict[str, float] = {}
    for (agent, wanted), scores in anyio.run(_nearest, home, user, queries, asked).items():
        kept = np.ones(len(codes), np.bool_) if agent == _ALL else codes == agent
        last = [np.partition(products[kept], -wanted)[-wanted] for products in exact]
        right = sum(
            int(score >= least - _NOISE)
            for some, least in zip(scores, last, strict=True)
            for score in some
        )
        found[f"{agent}@{wanted}"] = right / wanted / len(queries)
    return found


async def _nearest(
    home: Path, user: str, queries: NDArray[np.float32], asked: Sequence[tuple[str, int]]
) -> Mapping[tuple[str, int], list[list[float]]]:
    """Return (agent, k) -> the scores of what the engine finds for each query."""
    scope = Scope("local", user, {user: "read"})
    found: dict[tuple[str, int], list[list[float]]] = {}
    async with open_sqlite(SqliteSettings(path=home)) as opened:
        assert opened.vectors is not None
        for agent, wanted in asked:
            where = parse(None if agent == _ALL else {"agent": agent})
            best = await opened.vectors.nearest(list(queries), scope, where, wanted)
            found[agent, wanted] = [[scored.score for scored in some] for some in best]
    return found
