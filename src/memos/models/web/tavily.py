"""Tavily."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, HttpUrl, SecretStr

from memos.models.web.asking import Request
from memos.models.web.engine import Dialect, Item, WebSettings, moment, opening, results, text
from memos.ports.backend import Backend, Role
from memos.ports.web import WebPage


class TavilySettings(WebSettings):
    """Tavily's search API."""

    kind: Literal["tavily"] = "tavily"
    api_key: SecretStr = Field(description="The key.")
    base_url: HttpUrl = Field(
        default=HttpUrl("https://api.tavily.com"), description="`/search` is appended."
    )
    search_depth: Literal["basic", "advanced"] = Field(
        default="basic", description="How much Tavily looks at."
    )


def _request(settings: TavilySettings, query: str, count: int) -> Request:
    return Request(
        headers={"Authorization": f"Bearer {settings.api_key.get_secret_value()}"},
        body={
            "query": query,
            "max_results": count,
            "search_depth": settings.search_depth,
            "include_answer": False,
        },
    )


def _page(item: Item) -> WebPage:
    return WebPage(
        text(item, "url"), text(item, "title"), text(item, "content"),
        moment(item.get("published_date")),
    )  # fmt: skip


backend = Backend(
    name="tavily",
    roles=frozenset({Role.WEB}),
    settings=TavilySettings,
    open=opening(Dialect("tavily", "/search", 20, _request, results, _page)),
)
