"""Cutting a ranking to what is wanted: a number of hits or a token budget. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Literal, TypeAlias

from memos.analysis import tokens
from memos.types import Memory

Dedup: TypeAlias = Literal["exact", "none"]
_OVERHEAD_TOKENS: Final = 12
"""Speaker, date and number of a memory in a prompt."""


def pack(
    ranked: Iterable[Memory], *, limit: int, budget: int | None, dedup: Dedup
) -> Iterator[Memory]:
    """Yield memories in order until ``limit`` are out or the token budget is used.

    A memory that does not fit into what is left of the budget is passed over: a shorter one further
    down may. With ``dedup`` "exact", words that the same speaker said before come once.
    """
    seen: set[tuple[str | None, str]] = set()
    left = budget
    count = 0
    for memory in ranked:
        if count == limit:
            return
        said = (memory.speaker, " ".join(memory.text.split()))
        if dedup == "exact" and said in seen:
            continue
        if left is not None:
            cost = tokens(memory.text) + _OVERHEAD_TOKENS
            if cost > left:
                continue
            left -= cost
        seen.add(said)
        count += 1
        yield memory
