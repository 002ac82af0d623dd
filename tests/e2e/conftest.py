from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest

from memos import MOS
from memos.backends import memory, sqlite
from memos.ports.backend import Opened
from memos.settings import Settings
from memos.testing.fakes import HashEmbedder


@pytest.fixture
def mos(tmp_path: Path) -> Iterator[MOS]:
    with MOS.open(Settings(home=tmp_path / "home"), embedder=HashEmbedder()) as opened:
        yield opened


@pytest.fixture(params=["memory", "sqlite"])
async def opened(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Opened]:
    """An empty store of each backend."""
    if request.param == "memory":
        opening = memory.open_memory(memory.MemorySettings())
    else:
        opening = sqlite.open_sqlite(sqlite.SqliteSettings(path=tmp_path))
    async with opening as opened:
        yield opened
