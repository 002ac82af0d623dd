"""What ``WebSearch`` promises."""

from __future__ import annotations

import pytest

from memos.ports.backend import Opened
from memos.testing.contracts.making import need

_QUERY = "When does the museum open?"


@pytest.mark.anyio
class Webs:
    """Expects an engine that has three pages at least for any question."""

    async def test_pages(self, opened: Opened) -> None:
        """'Return at most ``limit`` pages, best first'; every page has an address."""
        engine = need(opened.web)
        pages = await engine.find(_QUERY, 3)
        assert len(pages) == 3
        assert all(page.url for page in pages)
        assert [page.url for page in await engine.find(_QUERY, 1)] == [pages[0].url]

    async def test_every_string(self, opened: Opened) -> None:
        """'Every string is accepted.'"""
        engine = need(opened.web)
        for query in ("日本 😀", "half \ud800", "null \0", "why " * 3000, "a&b=c#d?e/../%00"):
            assert len(await engine.find(query, 2)) == 2

    async def test_name(self, opened: Opened) -> None:
        """'The engine's name, for sources and messages.'"""
        assert need(opened.web).name
