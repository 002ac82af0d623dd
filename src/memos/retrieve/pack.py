"""Cutting a ranking to what is wanted: a number of hits or a token budget. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

from memos.analysis import tokens
from memos.types import Memory

Dedup: TypeAlias = Literal["exact", "none"]
_OVERHEAD_TOKENS: Final = 12
"""Speaker, date and number of a memory in a prompt."""


def pack(
    ranked: Iterable[Memory], *, limit: int, budget: int | None, dedup: Dedup
) -> list[list[Memory]]:
    """Return what fits, in order: each memory, followed by those that repeat it.

    A memory that does not fit into what is left of the budget is passed over: a shorter one further
    down may. With ``dedup`` "exact", words that the same speaker said before only join the first.
    """
    packed: list[list[Memory]] = []
    said: dict[tuple[str | None, str], list[Memory]] = {}
    left = budget
    for memory in ranked:
        words = (memory.speaker, " ".join(memory.text.split()))
        if dedup == "exact" and words in said:
            said[words].append(memory)
            continue
        cost = 0 if left is None else tokens(memory.text) + _OVERHEAD_TOKENS
        if len(packed) == limit or (left is not None and cost > left):
            continue
        left = None if left is None else left - cost
        said[words] = [memory]
        packed.append(said[words])
    return packed
