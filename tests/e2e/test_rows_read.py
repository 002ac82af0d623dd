"""How many rows a search under a token budget reads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from memos import AsyncMOS
from memos.build import open_engine
from memos.ports.stores import RecordStore
from memos.retrieve.pack import cost_of
from memos.retrieve.pipeline import Retrieve
from memos.settings import Settings
from memos.testing.fakes import HashEmbedder
from memos.types import Memory, Scope
from memos.users.access import narrowed

LONG = "Ann and Bo talked about the garden, the weather, the harvest and the tea of day"


class Reading:
    """A ``RecordStore`` that counts the rows that ``get`` is asked for."""

    def __init__(self, records: RecordStore) -> None:
        self._records = records
        self.rows = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._records, name)

    async def get(self, ids: Sequence[str], scope: Scope) -> list[Memory]:
        self.rows += len(ids)
        return await self._records.get(ids, scope)


@asynccontextmanager
async def opened(home: Path, texts: Sequence[str]) -> AsyncIterator[tuple[AsyncMOS, Reading]]:
    embedder = HashEmbedder()
    async with open_engine(Settings(home=home), embedder=embedder) as engine:
        assert engine.store.features is not None
        reading = Reading(engine.records)
        retrieve = Retrieve(reading, engine.store.features, embedder, narrowed)  # type: ignore[arg-type]
        mos = replace(engine, retrieve=retrieve).mos()
        await mos.users.ensure("default")
        await mos.add([{"role": "user", "content": text} for text in texts], session="s")
        yield mos, reading


@pytest.mark.anyio
@pytest.mark.parametrize("budget", [100, 500, 1000])
@pytest.mark.parametrize("dedup", ["exact", "sim", "mmr"])
async def test_a_budget_that_nothing_fills_reads_few_rows(
    tmp_path: Path, budget: int, dedup: str
) -> None:
    """Every memory takes about the same, so that a rest stays that none fits into."""
    async with opened(tmp_path, [f"{LONG} {n:04}." for n in range(3000)]) as (mos, reading):
        found = await mos.search("Who talked about tea?", budget=budget, dedup=dedup)  # type: ignore[arg-type]
        assert found.trace.candidates > 900
        one = cost_of(found.hits[0].memory)
        assert len(found.hits) == budget // one
        assert reading.rows <= budget // 20 * 3 + 7  # as many as may be wanted, for mmr three times


@pytest.mark.anyio
async def test_for_a_rest_is_looked_once_more(tmp_path: Path) -> None:
    """A short memory further down takes the rest, if one may be expected there."""
    texts = [f"{LONG} {n:04}." for n in range(3000)]
    texts[7::40] = [f"Tea {n}!" for n in range(len(texts[7::40]))]
    async with opened(tmp_path, texts) as (mos, reading):
        found = await mos.search("garden weather harvest talked Ann Bo", budget=500)
        spent = sum(cost_of(hit.memory) for hit in found.hits)
        assert spent <= 500
        assert reading.rows <= (500 // 20 + 1) * 6 + 20


@pytest.mark.anyio
async def test_a_budget_with_room_for_all_gets_all(tmp_path: Path) -> None:
    async with opened(tmp_path, [f"tea of day {n:03}" for n in range(300)]) as (mos, _):
        found = await mos.search("tea", budget=100_000)
        assert len(found.hits) == 300
        folded = await mos.search("tea", budget=100_000, dedup="sim")
        assert sum(1 + len(hit.repeats) for hit in folded.hits) == 300


@pytest.mark.anyio
async def test_without_a_budget_everything_is_read_that_may_be_wanted(tmp_path: Path) -> None:
    """Repeats join the first, and the next ones take their places, however many there are."""
    texts = ["We like tea."] * 100 + [f"We drink tea number {n}." for n in range(20)]
    async with opened(tmp_path, texts) as (mos, _):
        found = await mos.search("We like tea", limit=10)
        assert len(found.hits) == 10
