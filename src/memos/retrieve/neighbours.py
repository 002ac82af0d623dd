"""The turns around a hit: what came before and after it in its session. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from memos.filters import Filter, matches
from memos.retrieve.pack import Key, cost_of
from memos.types import Memory, Place


def beside(
    hits: Sequence[Memory],
    near: Iterable[Memory],
    span: int,
    where: Filter,
    at: datetime,
) -> Mapping[Key, list[Memory]]:
    """Return, for every hit, the memories up to ``span`` places before and after it.

    Args:
        hits: What was found.
        near: Live memories of their sessions.
        span: How far to look.
        where: What the search may show at all.
        at: The moment of the question; what has expired by then is left out.
    """
    sessions: dict[Place, list[Memory]] = defaultdict(list)
    for memory in near:
        if memory.position is not None and memory.place.session is not None:
            sessions[memory.place].append(memory)
    orders = {
        place: sorted(memories, key=lambda memory: memory.position or 0)
        for place, memories in sessions.items()
    }
    found: dict[Key, list[Memory]] = {}
    for hit in hits:
        order = orders.get(hit.place, [])
        here = next((n for n, memory in enumerate(order) if memory.id == hit.id), None)
        if here is None:
            continue
        window = order[max(0, here - span) : here + span + 1]
        found[hit.place.cube, hit.id] = [
            memory for memory in window if memory.id != hit.id and _shown(memory, where, at)
        ]
    return found


def fitting(
    packed: Sequence[Sequence[Memory]], around: Mapping[Key, Sequence[Memory]], left: int | None
) -> dict[Key, tuple[Memory, ...]]:
    """Return which neighbours are shown with which hit, in the order of the session.

    No memory comes twice, hits and their repeats among them; the better hit has the first claim,
    the nearer neighbour too, as far as the budget reaches.
    """
    seen = {(memory.place.cube, memory.id) for group in packed for memory in group}
    shown: dict[Key, tuple[Memory, ...]] = {}
    for hit, *_ in packed:
        key = (hit.place.cube, hit.id)
        middle = hit.position or 0
        taken: list[Memory] = []
        for memory in sorted(around.get(key, ()), key=lambda m: abs((m.position or 0) - middle)):
            one = (memory.place.cube, memory.id)
            cost = 0 if left is None else cost_of(memory)
            if one in seen or (left is not None and cost > left):
                continue
            left = None if left is None else left - cost
            seen.add(one)
            taken.append(memory)
        shown[key] = tuple(sorted(taken, key=lambda memory: memory.position or 0))
    return shown


def _shown(memory: Memory, where: Filter, at: datetime) -> bool:
    expired = memory.expires_at is not None and memory.expires_at <= at
    return memory.retired_at is None and not expired and matches(where, memory)
