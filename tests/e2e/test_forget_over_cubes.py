"""Forgetting an id that several of the named cubes hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from memos.build import AsyncMOS
from memos.errors import NotFound
from memos.settings import Settings
from memos.testing.fakes import HashEmbedder

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@pytest.mark.parametrize("mode", ["retire", "erase"])
async def test_goes_from_each(tmp_path: Path, kind: str, mode: str) -> None:
    settings = Settings.model_validate({"home": tmp_path, "store": {"kind": kind}, "user": "zoe"})
    async with AsyncMOS.open(settings, embedder=HashEmbedder()) as mos:
        await mos.cubes.create("more")
        for cube in ("zoe", "more"):
            await mos.add({"id": "m1", "memory": f"secret of {cube}"}, cube=cube)
        await mos.forget("m1", cubes=["zoe", "more"], mode=mode)
        assert (await mos.get_all()).items == ()
        for cube in ("zoe", "more"):
            if mode == "erase":
                with pytest.raises(NotFound):
                    await mos.get("m1", cube=cube)
