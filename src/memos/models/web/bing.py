"""Bing Web Search, version 7."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
from pydantic import Field, HttpUrl, SecretStr

from memos.models.web.asking import Request
from memos.models.web.engine import Dialect, Item, WebSettings, moment, opening, text
from memos.ports.backend import Backend, Role
from memos.ports.web import WebPage


class BingSettings(WebSettings):
    """Bing's Web Search API, version 7."""

    kind: Literal["bing"] = "bing"
    api_key: SecretStr = Field(description="The subscription key.")
    base_url: HttpUrl = Field(
        default=HttpUrl("https://api.bing.microsoft.com"),
        description="`/v7.0/search` is appended.",
    )


class _Pages(msgspec.Struct):
    value: list[dict[str, object]]


class _Answer(msgspec.Struct, rename="camel"):
    web_pages: _Pages | None = None


def _request(settings: BingSettings, query: str, count: int) -> Request:
    return Request(
        parameters={"q": query, "count": str(count), "textFormat": "Raw"},
        headers={"Ocp-Apim-Subscription-Key": settings.api_key.get_secret_value()},
    )


def _items(content: bytes) -> Sequence[Item]:
    pages = msgspec.json.decode(content, type=_Answer).web_pages
    return [] if pages is None else pages.value


def _page(item: Item) -> WebPage:
    at = moment(item.get("datePublished")) or moment(item.get("dateLastCrawled"))
    return WebPage(text(item, "url"), text(item, "name"), text(item, "snippet"), at)


backend = Backend(
    name="bing",
    roles=frozenset({Role.WEB}),
    settings=BingSettings,
    open=opening(Dialect("bing", "/v7.0/search", 50, _request, _items, _page)),
)
