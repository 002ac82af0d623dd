"""How often somebody may call: a token bucket per key and per address, in this process."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

_HELD: Final = 50_000
"""Callers that are remembered; the longest silent ones are forgotten first."""


class Buckets:
    """Token buckets: each holds what may be called at once, and fills evenly.

    See J. Turner, "New directions in communications", IEEE Communications Magazine 24(10), 1986.
    """

    def __init__(
        self, per_minute: int, *, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = per_minute / 60
        self._burst = burst
        self._clock = clock
        self._held: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, caller: str) -> float:
        """Take a token; return 0, or in how many seconds there will be one."""
        now = self._clock()
        tokens, since = self._held.pop(caller, (float(self._burst), now))
        tokens = min(float(self._burst), tokens + (now - since) * self._rate)
        missing = 1 - tokens
        self._held[caller] = (tokens if missing > 0 else tokens - 1, now)
        while len(self._held) > _HELD:
            self._held.popitem(last=False)
        return missing / self._rate if missing > 0 else 0.0
