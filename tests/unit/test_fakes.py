"""The shipped test doubles keep the promises of what they stand in for."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from memos.backends.memory import MemorySettings, open_memory
from memos.filters import EVERYTHING
from memos.ports.stores import RecordStore
from memos.testing.fakes import CountingStore, HashEmbedder, ManualClock
from memos.types import Page, Scope

pytestmark = pytest.mark.anyio
TEXTS = ["", "   ", "green tea", "Green TEA!", "green rain", "绿茶", "🎉", "\ud800", "x" * 10_000]


@pytest.mark.parametrize("dimensions", [1, 8, 384])
async def test_hash_embedder_gives_unit_vectors(dimensions: int) -> None:
    embedder = HashEmbedder(dimensions)
    vectors = await embedder.embed(TEXTS, "passage")
    assert vectors.shape == (len(TEXTS), dimensions)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert (await embedder.embed([], "query")).shape == (0, dimensions)
    assert (embedder.calls, embedder.texts) == (2, len(TEXTS))


async def test_hash_embedder_knows_shared_words() -> None:
    first, same, near, far = await HashEmbedder(64).embed(
        ["green tea", "Tea, GREEN", "green rain", "old stone"], "query"
    )
    assert np.allclose(first, same, atol=1e-6)
    assert first @ near > first @ far + 0.2


def test_manual_clock_stands_still() -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    assert clock() == clock()
    assert clock.advance(hours=1, seconds=2) == clock() == datetime(2026, 1, 1, 1, 0, 2, tzinfo=UTC)


async def test_counting_store_counts_awaited_calls() -> None:
    async with open_memory(MemorySettings()) as opened:
        assert opened.records is not None
        counted: CountingStore[RecordStore] = CountingStore(opened.records)
        scope = Scope("acme", "zoe", {})
        assert await counted.port.get(["m1"], scope) == []
        await counted.port.scan(scope, EVERYTHING, Page())
        await counted.port.scan(scope, EVERYTHING, Page(5))
        assert counted.calls == {"get": 1, "scan": 2}


async def test_counting_store_passes_attributes_on() -> None:
    counted = CountingStore(HashEmbedder(8, name="mine"))
    await counted.port.embed(["a"], "query")
    assert (counted.port.name, counted.port.dimensions) == ("mine", 8)
    assert counted.calls == {"embed": 1}
