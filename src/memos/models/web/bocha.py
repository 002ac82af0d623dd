"""Bocha (博查)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec
from pydantic import Field, HttpUrl, SecretStr

from memos.models.web.asking import Request
from memos.models.web.engine import Dialect, Item, WebSettings, moment, opening, text
from memos.ports.backend import Backend, Role
from memos.ports.web import WebPage

_FINE: Final = 200


class BochaSettings(WebSettings):
    """Bocha's (博查) web search."""

    kind: Literal["bocha"] = "bocha"
    api_key: SecretStr = Field(description="The key.")
    base_url: HttpUrl = Field(
        default=HttpUrl("https://api.bochaai.com"), description="`/v1/web-search` is appended."
    )


class _Pages(msgspec.Struct):
    value: list[dict[str, object]]


class _Data(msgspec.Struct, rename="camel"):
    web_pages: _Pages | None = None


class _Answer(msgspec.Struct):
    code: int | str = _FINE
    data: _Data | None = None


def _request(settings: BochaSettings, query: str, count: int) -> Request:
    return Request(
        headers={"Authorization": f"Bearer {settings.api_key.get_secret_value()}"},
        body={"query": query, "freshness": "noLimit", "summary": True, "count": count},
    )


def _items(content: bytes) -> Sequence[Item]:
    answer = msgspec.json.decode(content, type=_Answer)
    if str(answer.code) != str(_FINE):
        raise ValueError("its code is an error's")
    pages = answer.data.web_pages if answer.data else None
    return [] if pages is None else pages.value


def _page(item: Item) -> WebPage:
    at = moment(item.get("datePublished")) or moment(item.get("dateLastCrawled"))
    return WebPage(text(item, "url"), text(item, "name"), text(item, "summary", "snippet"), at)


backend = Backend(
    name="bocha",
    roles=frozenset({Role.WEB}),
    settings=BochaSettings,
    open=opening(Dialect("bocha", "/v1/web-search", 50, _request, _items, _page)),
)
