"""Google's Custom Search JSON API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, cast

import msgspec
from pydantic import Field, HttpUrl, SecretStr

from memos.models.web.asking import Request
from memos.models.web.engine import Dialect, Item, WebSettings, moment, opening, text
from memos.ports.backend import Backend, Role
from memos.ports.web import WebPage

_DATES: Final = ("article:published_time", "date", "og:updated_time")


class GoogleSettings(WebSettings):
    """Google's Custom Search JSON API; it gives 10 results at most."""

    kind: Literal["google"] = "google"
    api_key: SecretStr = Field(description="The key.")
    search_engine_id: str = Field(min_length=1, description="The engine: `cx`.")
    base_url: HttpUrl = Field(
        default=HttpUrl("https://www.googleapis.com"),
        description="`/customsearch/v1` is appended.",
    )


class _Answer(msgspec.Struct):
    items: list[dict[str, object]] = []


def _request(settings: GoogleSettings, query: str, count: int) -> Request:
    return Request(
        parameters={
            "key": settings.api_key.get_secret_value(),
            "cx": settings.search_engine_id,
            "q": query,
            "num": str(count),
        }
    )


def _items(content: bytes) -> Sequence[Item]:
    return msgspec.json.decode(content, type=_Answer).items


def _page(item: Item) -> WebPage:
    return WebPage(
        text(item, "link"), text(item, "title"), text(item, "snippet"), moment(_published(item))
    )


def _published(item: Item) -> str:
    """Return the date that the page says of itself."""
    found: object = item.get("pagemap")
    found = cast("Item", found).get("metatags") if isinstance(found, Mapping) else None
    first: object = (
        cast("Sequence[object]", found)[0] if isinstance(found, list) and found else None
    )
    return text(cast("Item", first), *_DATES) if isinstance(first, Mapping) else ""


backend = Backend(
    name="google",
    roles=frozenset({Role.WEB}),
    settings=GoogleSettings,
    open=opening(Dialect("google", "/customsearch/v1", 10, _request, _items, _page)),
)
