"""The one place where blocking work leaves the event loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import anyio.to_thread

T = TypeVar("T")
Args = TypeVarTuple("Args")


class Offload:
    """Run blocking calls in worker threads, at most ``limit`` at a time.

    Each blocking adapter owns one, so that a slow store cannot take the threads of another.
    """

    def __init__(self, limit: int) -> None:
        self._limiter = anyio.CapacityLimiter(limit)

    async def run(self, work: Callable[[*Args], T], *args: *Args) -> T:
        """Return ``work(*args)``, run outside the event loop."""
        return await anyio.to_thread.run_sync(work, *args, limiter=self._limiter)
