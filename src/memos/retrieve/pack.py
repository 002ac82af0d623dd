"""Cutting a ranking to what is wanted: a number of hits or a token budget. Pure."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, Literal, TypeAlias

from memos.analysis import tokens
from memos.retrieve.alike import Alike, diverse
from memos.types import Memory, Vector

Dedup: TypeAlias = Literal["exact", "none", "sim", "mmr"]
Key: TypeAlias = tuple[str, str]
"""Cube and id."""
_OVERHEAD_TOKENS: Final = 12
"""Speaker, date and number of a memory in a prompt."""
POOL: Final = 3
"""So many candidates a hit are there to choose different ones from, as in MemOS."""
_NO_VECTORS: Final[Mapping[Key, Vector]] = {}


def pack(
    ranked: Iterable[Memory],
    *,
    limit: int,
    budget: int | None,
    dedup: Dedup,
    vectors: Mapping[Key, Vector] = _NO_VECTORS,
) -> list[list[Memory]]:
    """Return what fits, in order: each memory, followed by those that repeat it.

    A memory that does not fit into what is left of the budget is passed over: a shorter one further
    down may. With ``dedup`` "exact", words that the same speaker said before only join the first.
    With "sim", so does what is nearly the same. With "mmr" what is left after that is chosen so
    that hits differ from each other; they are in the order of the ranking all the same.
    """
    if dedup == "mmr":
        return _diverse(ranked, limit, budget, vectors)
    packed: list[list[Memory]] = []
    said: dict[tuple[str | None, str], list[Memory]] = {}
    alike = Alike(vectors) if dedup == "sim" else None
    left = budget
    for memory in ranked:
        words = (memory.speaker, " ".join(memory.text.split()))
        same = said.get(words) if dedup != "none" else None
        if same is None and alike is not None and (at := alike.find(memory)) is not None:
            same = packed[at]
        if same is not None:
            same.append(memory)
            continue
        cost = 0 if left is None else cost_of(memory)
        if len(packed) == limit or (left is not None and cost > left):
            continue
        left = None if left is None else left - cost
        said[words] = [memory]
        packed.append(said[words])
        if alike is not None:
            alike.add(memory)
    return packed


def cost_of(memory: Memory) -> int:
    """Return how many tokens a memory takes in a prompt, about."""
    return tokens(memory.text) + _OVERHEAD_TOKENS


def full(left: int | None) -> bool:
    """Return whether nothing fits any more into what is left of a budget."""
    return left is not None and left <= _OVERHEAD_TOKENS


def spent(rows: Collection[Memory], packed: Sequence[Sequence[Memory]], left: int | None) -> bool:
    """Return whether a budget is the bound, and nothing that was read fits into what is left.

    What comes further down is worth less and hardly shorter.
    """
    return crowded(rows, packed, left) and all(cost_of(memory) > (left or 0) for memory in rows)


def crowded(rows: Collection[Memory], packed: Sequence[Sequence[Memory]], left: int | None) -> bool:
    """Return whether some of what was read found no room in a budget."""
    return left is not None and sum(map(len, packed)) < len(rows)


def room(budget: int | None, packed: Iterable[Memory]) -> int | None:
    """Return what is left of a budget."""
    return None if budget is None else budget - sum(map(cost_of, packed))


def _diverse(
    ranked: Iterable[Memory], limit: int, budget: int | None, vectors: Mapping[Key, Vector]
) -> list[list[Memory]]:
    """Choose from so many candidates a hit; all else that is ranked is too far behind."""
    exact = pack(ranked, limit=sys.maxsize, budget=None, dedup="exact")
    firsts = [group[0] for group in exact]
    fitting = len(pack(firsts, limit=limit, budget=budget, dedup="none"))
    repeats = {(one.place.cube, one.id): again for one, *again in exact}
    near = pack(
        firsts[: POOL * fitting], limit=limit * POOL, budget=None, dedup="sim", vectors=vectors
    )
    groups = [
        [memory for one in group for memory in (one, *repeats[one.place.cube, one.id])]
        for group in near
    ]
    left = budget
    chosen: list[int] = []
    for at in diverse([group[0] for group in groups], vectors):
        cost = 0 if left is None else cost_of(groups[at][0])
        if left is None or cost <= left:
            left = None if left is None else left - cost
            chosen.append(at)
        if len(chosen) == limit or full(left):
            break
    return [groups[at] for at in sorted(chosen)]
