"""Searching the web behind the core."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class WebPage:
    """What a search engine says of a page, as it says it: nobody has cleaned it yet.

    Attributes:
        url: Where the page is.
        title: Its title.
        snippet: What it says about the question, in the engine's choice.
        at: When it was published, if the engine knows.
    """

    url: str
    title: str
    snippet: str
    at: datetime | None = None


class WebSearch(Protocol):
    """Asks a search engine; the pages that it names are never fetched.

    An adapter answers within a time limit of its own, follows no redirect, reads no more than a
    limit, and calls no other address than the configured one. Every string is accepted.

    Raises:
        UpstreamError: The engine refused, failed, or answered something else.
        RateLimited: The engine refuses for now.
        Timeout: The engine did not answer in time.
    """

    @property
    def name(self) -> str:
        """The engine's name, for sources and messages."""
        ...

    async def find(self, query: str, limit: int) -> Sequence[WebPage]:
        """Return at most ``limit`` pages, best first."""
        ...
