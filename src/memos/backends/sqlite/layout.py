"""The live documents of a cube in session order, and the windows around each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from memos.ports.stores import Feature
from memos.relevance import NEIGHBOUR_WEIGHT, NOMINATING, SPANS, length_norm

REACH: Final = SPANS[NOMINATING]
_SPANS: Final = np.array([[span] for span in SPANS.values()], np.int64)
Floats = NDArray[np.float32]


class Layout:
    """The live documents in session order: their *slots*.

    It is made anew whenever a memory came or went, before the next search, so it holds only what
    every search reads over all slots; windows are worked out for those that are chosen.

    Attributes:
        order: Slot -> document.
        full_order: The same over all documents, also dead ones; a hint for the next layout.
        rank: Document -> slot, -1 for a dead one.
        has_previous: Slot -> 1 where a turn of the same session comes before it.
        has_next: Slot -> 1 where one comes after it.
        near_divisor: Slot -> by what the sum with its neighbours is divided.
        mean_length: Mean length of a turn, in terms.
        number: Slot -> the number of its session; a turn outside any has one of its own.
        spaced: The slots with gaps between sessions.
    """

    def __init__(
        self,
        chains: NDArray[np.int64],
        positions: NDArray[np.int64],
        live: NDArray[np.bool_],
        lengths: Floats,
        hint: NDArray[np.int64],
    ) -> None:
        """Sort the live documents; ``hint`` is a former order, which makes that fast."""
        order = np.concatenate((hint, np.arange(len(hint), len(live))))
        key = chains[order] << 32 | positions[order]
        self.full_order = order[np.argsort(key, kind="stable")]
        self.order = self.full_order[live[self.full_order]]
        size = len(self.order)
        self.rank = np.full(len(live), -1, np.int32)
        self.rank[self.order] = np.arange(size, dtype=np.int32)
        first = np.ones(size, bool)
        sessions = chains[self.order]
        first[1:] = sessions[1:] != sessions[:-1]
        self.has_previous = (~first).astype(np.float32)
        self.has_next = np.append(self.has_previous[1:], np.float32(0))[:size]
        self.near_divisor = 1 + NEIGHBOUR_WEIGHT * (self.has_previous + self.has_next)
        held = lengths[self.order]
        self.mean_length = float(held.mean()) if size else 0.0
        self._starts = np.append(np.flatnonzero(first), size).astype(np.int32)
        self.number = (np.cumsum(first) - 1).astype(np.int32)
        self.spaced = Spaced.of(self._starts, self.number, held, self.mean_length)
        self.places = np.full(len(live), -1, np.int32)
        """Document -> its place in ``spaced``, -1 for a dead one."""
        self.places[self.order] = self.spaced.places

    def windows(
        self, slots: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
        """Return the windows around some slots: where each begins, ends before, its length norm.

        Each has the shape (spans, slots), the spans being those of ``SPANS``; begin and end are
        places.
        """
        number = self.number[slots]
        low = np.maximum(self._starts[number], slots - _SPANS)
        high = np.minimum(self._starts[number + 1], slots + _SPANS + 1)
        begin = self.spaced.places[low].astype(np.int64)
        end = self.spaced.places[high - 1] + np.int64(1)
        lengths = (self.spaced.sums[end] - self.spaced.sums[begin]).astype(np.float32)
        for row, span in zip(lengths, SPANS.values(), strict=True):
            row[:] = length_norm(row, self.mean_length, span)
        return begin, end, lengths


@dataclass(frozen=True, slots=True)
class Spaced:
    """The slots laid out with gaps, so that no wide window reaches into another session.

    Window sums over all slots are then differences of one running sum and a shifted copy of it,
    contiguous passes that cost a fraction of two look-ups per slot. Sessions come first, each
    between gaps of ``REACH``; turns that are alone in their session have no neighbours to add and
    follow without gaps.

    Attributes:
        size: Length of the layout.
        loose: Where the lone turns begin.
        places: Slot -> its place in the layout.
        sums: Running sums of the turns' lengths, one longer than the layout.
        norms: BM25's length norms of turns and of wide windows, by place.
    """

    size: int
    loose: int
    places: NDArray[np.int32]
    sums: NDArray[np.float64]
    norms: Mapping[Feature, Floats]

    @classmethod
    def of(
        cls,
        starts: NDArray[np.int32],
        number: NDArray[np.int32],
        lengths: Floats,
        mean_length: float,
    ) -> Self:
        """Space out sessions that begin at ``starts``; ``number`` is each slot's session."""
        shared = np.diff(starts) > 1
        inside = shared[number]
        together = int(inside.sum())
        loose = together + REACH * (int(shared.sum()) + 1)
        size = loose + len(number) - together
        if together == len(number):
            places = np.arange(together, dtype=np.int32) + REACH * (number + 1)
        else:
            gaps = (REACH * np.cumsum(shared)).astype(np.int32)
            rising = np.cumsum(inside, dtype=np.int32)
            apart = np.arange(1, len(number) + 1, dtype=np.int32) - rising
            places = np.where(inside, rising - 1 + gaps[number], loose + apart - 1)
        spread = np.zeros(size, np.float32)
        spread[places] = lengths
        sums = np.zeros(size + 1, np.float64)
        np.cumsum(spread, dtype=np.float64, out=sums[1:])
        wide = windows(sums, spread, loose)
        norms = {
            Feature.BM25: length_norm(spread, mean_length, 0),
            NOMINATING: length_norm(wide, mean_length, REACH),
        }
        return cls(size, loose, places.astype(np.int32), sums, norms)


def windows(sums: NDArray[np.floating], turns: Floats, loose: int) -> Floats:
    """Return the sum over the wide window around every place, given running sums over all."""
    found = np.zeros(len(turns), np.float32)
    inner = len(turns) - 2 * REACH
    if inner > 0:
        ends, begins = sums[2 * REACH + 1 :], sums[: -2 * REACH - 1]
        np.subtract(ends, begins, out=found[REACH : REACH + inner], casting="same_kind")
    found[loose:] = turns[loose:]
    return found
