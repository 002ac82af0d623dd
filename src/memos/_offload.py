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

    async def run(self, work: Callable[[*Args], T], *args: *Args, leave: bool = False) -> T:
        """Return ``work(*args)``, run outside the event loop.

        Args:
            work: The blocking call.
            *args: Its arguments.
            leave: Do not wait for it when the caller is cancelled; it goes on to its end unheard.
        """
        return await anyio.to_thread.run_sync(
            work, *args, abandon_on_cancel=leave, limiter=self._limiter
        )
