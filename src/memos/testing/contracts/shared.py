"""What ``SharedState`` promises."""

from __future__ import annotations

import pytest

from memos.buckets import Rate
from memos.ports.backend import Opened
from memos.testing.contracts.making import need

HOURLY = Rate(per_second=1 / 3600, burst=3)
FAST = Rate(per_second=1e6, burst=1)


@pytest.mark.anyio
class Shared:
    """'Small things that processes share and may lose.'"""

    async def test_burst(self, opened: Opened) -> None:
        """'Return 0, or in how many seconds there will be one': ``burst`` at once."""
        shared = need(opened.shared)
        assert [await shared.take("a", HOURLY) for _ in range(3)] == [0, 0, 0]
        wait = await shared.take("a", HOURLY)
        assert 3590 < wait <= 3600

    async def test_refused_takes_nothing(self, opened: Opened) -> None:
        """'Who is refused takes nothing': asking again makes nobody wait longer."""
        shared = need(opened.shared)
        waits = [await shared.take("a", HOURLY) for _ in range(20)][3:]
        assert max(waits) <= 3600

    async def test_keys(self, opened: Opened) -> None:
        """Every key has a bucket of its own."""
        shared = need(opened.shared)
        for key in ("a", "b", "", "密钥"):
            assert [await shared.take(key, HOURLY) for _ in range(3)] == [0, 0, 0]
            assert await shared.take(key, HOURLY) > 0

    async def test_it_fills(self, opened: Opened) -> None:
        """'It fills evenly.'"""
        shared = need(opened.shared)
        for _ in range(200):
            assert await shared.take("a", FAST) < 1e-2
        assert await shared.take("b", FAST) == 0
