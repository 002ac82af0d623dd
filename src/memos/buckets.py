"""How often somebody may do something: buckets of tokens that fill evenly."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_HELD: Final = 50_000
"""Keys that are remembered; the longest silent ones are forgotten first."""


@dataclass(frozen=True, slots=True)
class Rate:
    """What is allowed: ``burst`` at once, and ``per_second`` in the long run."""

    per_second: float
    burst: int

    @property
    def interval(self) -> float:
        """Seconds in which one token comes."""
        return 1 / self.per_second

    @property
    def slack(self) -> float:
        """Seconds of tokens that may be taken in advance."""
        return (self.burst - 1) * self.interval


class Buckets:
    """``SharedState`` of one process.

    Of a bucket only the moment is kept when it will be full again: the generic cell rate algorithm
    (ITU-T I.371), which decides as a token bucket does.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._full: OrderedDict[str, float] = OrderedDict()

    async def take(self, key: str, rate: Rate) -> float:
        """Take a token; return 0, or in how many seconds there will be one."""
        now = self._clock()
        full = max(now, self._full.pop(key, now))
        wait = max(0.0, full - now - rate.slack)
        self._full[key] = full if wait else full + rate.interval
        while len(self._full) > _HELD:
            self._full.popitem(last=False)
        return wait
