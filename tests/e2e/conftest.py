from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from memos import MOS
from memos.settings import Settings
from memos.testing.fakes import HashEmbedder


@pytest.fixture
def mos(tmp_path: Path) -> Iterator[MOS]:
    with MOS.open(Settings(home=tmp_path / "home"), embedder=HashEmbedder()) as opened:
        yield opened
