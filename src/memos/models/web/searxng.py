"""SearXNG, with its JSON format."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, HttpUrl, SecretStr

from memos.models.web.asking import Request
from memos.models.web.engine import Dialect, Item, WebSettings, moment, opening, results, text
from memos.ports.backend import Backend, Role
from memos.ports.web import WebPage


class SearxngSettings(WebSettings):
    """An instance of SearXNG; its settings must have `json` among `search.formats`."""

    kind: Literal["searxng"] = "searxng"
    base_url: HttpUrl = Field(description="The instance; `/search` is appended.")
    api_key: SecretStr | None = Field(
        default=None, description="Sent as a bearer token, for instances behind a gate."
    )
    language: str | None = Field(
        default=None, min_length=1, description="Language of the results; the instance's if unset."
    )


def _request(settings: SearxngSettings, query: str, count: int) -> Request:
    del count  # it has no such parameter; a page of results comes, and is cut
    key = settings.api_key
    headers = {} if key is None else {"Authorization": f"Bearer {key.get_secret_value()}"}
    parameters = {"q": query, "format": "json"}
    if settings.language is not None:
        parameters["language"] = settings.language
    return Request(parameters=parameters, headers=headers)


def _page(item: Item) -> WebPage:
    return WebPage(
        text(item, "url"), text(item, "title"), text(item, "content"),
        moment(item.get("publishedDate")),
    )  # fmt: skip


backend = Backend(
    name="searxng",
    roles=frozenset({Role.WEB}),
    settings=SearxngSettings,
    open=opening(Dialect("searxng", "/search", 50, _request, results, _page)),
)
