"""Search engines of the web against a server that speaks what they speak, faults included."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from pydantic import BaseModel
from tests import servers

from memos import MOS
from memos._offload import Offload
from memos.errors import (
    ConfigError,
    InvalidInput,
    NotFound,
    RateLimited,
    StoreError,
    Timeout,
    UpstreamError,
)
from memos.models.web.asking import Asker, Request
from memos.network import Policy
from memos.ports.backend import Opened, Role
from memos.ports.web import WebPage, WebSearch
from memos.registry import load, names, resolve
from memos.retrieve.pages import as_memories, clean
from memos.settings import Settings
from memos.testing import contracts
from memos.testing.fakes import HashEmbedder, ScriptedWeb

ENGINES = ("tavily", "bing", "google", "bocha", "searxng")
KEY = "sk-very-secret-key"
PAGES = [
    {
        "url": f"https://museum.example/{n}",
        "title": f"The museum {n}",
        "snippet": f"It opens at {n}.",
        "date": "2026-03-04T05:06:07Z",
    }
    for n in range(1, 9)
]


def section(engine: str, url: str, **more: object) -> dict[str, object]:
    own: dict[str, object] = {} if engine == "searxng" else {"api_key": KEY}
    own |= {"search_engine_id": "cx-1"} if engine == "google" else {}
    return {"kind": engine, "base_url": url, "allow": ["127.0.0.1"], **own, **more}


def opening(engine: str, url: str, **more: object) -> AbstractAsyncContextManager[Opened]:
    backend, settings = resolve("web", section(engine, url, **more), Role.WEB)
    return backend.open(settings)


@pytest.fixture
def provider() -> Iterator[servers.Provider]:
    with servers.serving(lambda asked: servers.web_results(asked, PAGES)) as server:
        yield server


async def ask(engine: str, url: str, limit: int = 3, **more: object) -> list[WebPage]:
    async with opening(engine, url, **more) as opened:
        assert opened.web is not None
        return list(await opened.web.find("When does it open? 何时开门", limit))


class TestWebs(contracts.Webs):
    @pytest.fixture(params=["scripted", *ENGINES])
    async def opened(self, request: pytest.FixtureRequest) -> AsyncIterator[Opened]:
        if request.param == "scripted":
            found = [WebPage(page["url"], page["title"], page["snippet"]) for page in PAGES]
            yield Opened(web=ScriptedWeb(*found))
            return
        with servers.serving(lambda asked: servers.web_results(asked, PAGES)) as server:
            async with opening(request.param, server.url) as opened:
                yield opened


def test_every_engine_is_installed() -> None:
    assert names(Role.WEB) == sorted(ENGINES)


@pytest.mark.anyio
@pytest.mark.parametrize("engine", ENGINES)
async def test_pages_come_with_title_snippet_and_date(
    engine: str, provider: servers.Provider
) -> None:
    pages = await ask(engine, provider.url)
    at = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
    assert pages == [WebPage(page["url"], page["title"], page["snippet"], at) for page in PAGES[:3]]
    (asked,) = provider.asked
    host = urlsplit(provider.url).netloc
    assert (asked.headers["host"], asked.headers["accept-encoding"]) == (host, "identity")


@pytest.mark.anyio
async def test_each_engine_is_asked_as_it_wants(provider: servers.Provider) -> None:
    question = "When does it open? 何时开门"
    for engine in ENGINES:
        await ask(engine, provider.url)
    tavily, bing, google, bocha, searxng = provider.asked

    assert tavily.body == {
        "query": question, "max_results": 3, "search_depth": "basic", "include_answer": False,
    }  # fmt: skip
    assert tavily.headers["authorization"] == f"Bearer {KEY}"

    def parameters(asked: servers.Asked) -> dict[str, list[str]]:
        return parse_qs(urlsplit(asked.path).query)

    assert parameters(bing) == {"q": [question], "count": ["3"], "textFormat": ["Raw"]}
    assert bing.headers["ocp-apim-subscription-key"] == KEY
    assert parameters(google) == {"key": [KEY], "cx": ["cx-1"], "q": [question], "num": ["3"]}
    assert bocha.body == {"query": question, "freshness": "noLimit", "summary": True, "count": 3}
    assert bocha.headers["authorization"] == f"Bearer {KEY}"
    assert parameters(searxng) == {"q": [question], "format": ["json"]}
    assert "authorization" not in searxng.headers


FAULTS: dict[str, tuple[servers.Answer, type[UpstreamError], str]] = {
    "refused": (servers.Answer(f"bad key {KEY}".encode(), 401), UpstreamError, "web_refused"),
    "busy": (servers.Answer(b"", 429, {"Retry-After": "7"}), RateLimited, "rate_limited"),
    "broken": (servers.Answer(b"oops", 500), UpstreamError, "web_status"),
    "elsewhere": (servers.Answer(b"", 302, {"Location": "http://127.0.0.1:1/"}), UpstreamError,
                  "web_redirect"),
    "text": (servers.Answer(b"<html>"), UpstreamError, "web_malformed"),
    "other": (servers.Answer(b'{"results": 7, "items": 7, "webPages": 7, "data": 7}'),
              UpstreamError, "web_malformed"),
    "deep": (servers.Answer(b'{"results":' + b"[" * 100_000), UpstreamError, "web_malformed"),
    "zipped": (servers.Answer(b"{}", headers={"Content-Encoding": "gzip"}), UpstreamError,
               "web_malformed"),
    "endless": (servers.Answer([b" " * 65536] * 40), UpstreamError, "web_too_large"),
    "cut": (servers.Answer([b'{"results"'], cut=True), UpstreamError, "web_unreachable"),
    "silent": (servers.Answer([b"{"], hang=True), Timeout, "timeout"),
}  # fmt: skip


@pytest.mark.anyio
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("engine", ["tavily", "google"])
async def test_faults_are_told_without_secrets(
    engine: str, fault: str, provider: servers.Provider
) -> None:
    answer, kind, code = FAULTS[fault]
    provider.planned.append(answer)
    with pytest.raises(UpstreamError) as caught:
        await ask(engine, provider.url, timeout_s=0.3 if fault == "silent" else 5)
    assert (type(caught.value), caught.value.code) == (kind, code)
    assert KEY not in f"{caught.value.detail} {caught.value.context} {caught.value!r}"
    assert engine in caught.value.detail
    assert len(provider.asked) == 1
    if fault == "busy":
        assert getattr(caught.value, "retry_after", None) == 7


@pytest.mark.anyio
async def test_an_error_inside_of_a_good_status_is_one(provider: servers.Provider) -> None:
    provider.planned.append(servers.Answer(b'{"code": 403, "msg": "no money"}'))
    with pytest.raises(UpstreamError) as caught:
        await ask("bocha", provider.url)
    assert caught.value.code == "web_malformed"


@pytest.mark.anyio
async def test_nothing_found_is_no_fault(provider: servers.Provider) -> None:
    for engine, body in {
        "bing": b"{}", "google": b"{}", "tavily": b'{"results": []}', "bocha": b'{"data": null}',
    }.items():  # fmt: skip
        provider.planned.append(servers.Answer(body))
        assert await ask(engine, provider.url) == []


@pytest.mark.anyio
async def test_private_addresses_are_refused_unless_allowed(provider: servers.Provider) -> None:
    with pytest.raises(UpstreamError, match=r"web\.allow") as caught:
        await ask("searxng", provider.url, allow=[])
    assert caught.value.code == "private_address"
    assert provider.asked == []
    assert len(await ask("searxng", provider.url, allow="10.0.0.0/8, 127.0.0.0/8")) == 3


class Noting(httpx.AsyncHTTPTransport):
    """Keeps the requests that it sends."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        return await super().handle_async_request(request)


@pytest.mark.anyio
async def test_the_connection_goes_to_the_address_that_was_judged(
    provider: servers.Provider,
) -> None:
    url = f"{provider.url.replace('127.0.0.1', 'localhost')}/search?lang=pt"
    policy = Policy(allow=("localhost",), timeout_s=5)
    async with Noting() as transport:
        asker = Asker("e", url, policy, transport, Offload(1))
        await asker.ask(Request(parameters={"q": "a b"}))
    (sent,) = transport.sent
    assert ip_address(sent.url.host).is_loopback  # no name is left to be looked up again
    assert sent.extensions["sni_hostname"] == "localhost"
    assert dict(sent.url.params) == {"lang": "pt", "q": "a b"}
    (asked,) = provider.asked
    assert asked.headers["host"] == urlsplit(url).netloc


@pytest.mark.anyio
async def test_no_log_line_has_the_question_or_the_key(
    provider: servers.Provider, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        await ask("google", provider.url)
    assert KEY not in caplog.text
    assert "open" not in caplog.text


def test_settings_are_checked_and_keys_masked() -> None:
    with pytest.raises(ConfigError, match=r"web\.api_key"):
        resolve("web", {"kind": "tavily"}, Role.WEB)
    with pytest.raises(ConfigError, match=r"web\.base_url"):
        resolve("web", {"kind": "searxng"}, Role.WEB)
    for engine in ENGINES:
        shown = load(engine, Role.WEB).settings.model_validate(section(engine, "http://a.example"))
        assert KEY not in f"{shown!r} {shown.model_dump_json()}"
    assert isinstance(shown, BaseModel)
    assert Policy().setting == "network.allow"


# --- what becomes of pages


HOSTILE = [
    WebPage("javascript:alert(1)", "A", "run me"),
    WebPage("file:///etc/passwd", "A", "read me"),
    WebPage("https://user:pass@a.example/", "A", "log me in"),
    WebPage("https://[::1/", "A", "malformed"),
    WebPage('https://a.example/"><script>', "A", "quoted"),
    WebPage("https://a.example/\u202ecod.exe", "A", "turned"),
    WebPage("https://a.example/" + "x" * 3000, "A", "long"),
    WebPage("", "A", "nowhere"),
    WebPage("https://a.example/empty", "", " <br> "),
]


def test_pages_without_a_plain_address_or_words_are_left_out() -> None:
    assert as_memories(HOSTILE, "e", "acc") == []


def test_words_are_cleaned() -> None:
    assert clean("<b>Open</b>\x1b[31m at&nbsp;9\r\n<script>alert('x')</script>am", "snippet") == (
        "Open [31m at 9 am"
    )
    assert clean("&lt;img src=x onerror=alert(1)&gt;safe \u202eevil\u2066 \ufeff", "snippet") == (
        "safe evil"
    )
    assert clean("1 < 2 and 3 > 2; half \ud800 \0", "snippet") == "1 < 2 and 3 > 2; half"
    assert len(clean("word " * 100_000, "snippet")) <= 2000
    assert clean("<" * 100_000 + "<script" * 9000, "title")
    assert clean("博物馆<em>九点</em>开门", "snippet") == "博物馆 九点 开门"


def test_each_page_and_each_text_comes_once() -> None:
    pages = [
        WebPage("https://a.example/x?utm_source=q&id=1", "One", "It opens at nine."),
        WebPage("http://www.a.example:80/x/?id=1#top", "One again", "Other words."),
        WebPage("https://b.example/", "Two", "It  OPENS at nine."),
        WebPage("https://c.example/O'Hara path", "Three", "Closed on Monday."),
    ]
    made = as_memories(pages, "e", "acc")
    assert [memory.text for memory in made] == ["It opens at nine.", "Closed on Monday."]
    first, third = made
    assert (first.kind, first.tier, first.title, first.place.cube) == ("page", "outer", "One", "")
    (source,) = first.sources
    assert (source.type, source.uri) == ("web", "https://a.example/x?utm_source=q&id=1")
    assert third.sources[0].uri == "https://c.example/O%27Hara%20path"
    assert as_memories(pages[2:3], "e", "acc", known=made) == []
    assert as_memories(pages[:1], "e", "acc")[0].id == first.id


# --- through the door


def opened(home: Path, engine: WebSearch | None = None, **sections: Any) -> MOS:
    settings = Settings.model_validate({"home": home, **sections})
    return MOS.open(settings, embedder=HashEmbedder(), web=engine)


def test_the_web_is_asked_only_when_asked_for(tmp_path: Path, provider: servers.Provider) -> None:
    with opened(tmp_path, web=section("tavily", provider.url, max_results=2)) as mos:
        mos.add("The museum opens at nine.")
        assert len(mos.search("When does the museum open?").hits) == 1
        assert provider.asked == []
        found = mos.search("When does the museum open?", internet=True)
        assert [hit.memory.kind for hit in found.hits] == ["fact", "page", "page"]
        page = found.hits[1]
        assert page.memory.sources[0].uri == "https://museum.example/1"
        assert page.memory.sources[0].at == datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
        assert (page.why.lanes, page.score, page.relativity) == ({"web": 0}, 0.0, 0.0)
        assert "museum" in page.why.words
        assert [item.kind for item in mos.get_all().items] == ["fact"]
        short = mos.search("When does the museum open?", internet=True, budget=40)
        assert len(short.hits) == 2
        with pytest.raises(InvalidInput, match="past state"):
            mos.search("museum", internet=True, as_of="2026-01-01")


def test_without_an_engine_it_says_so(tmp_path: Path) -> None:
    with opened(tmp_path) as mos, pytest.raises(ConfigError, match=r"web\.kind") as caught:
        mos.search("museum", internet=True)
    assert caught.value.code == "no_web"


@pytest.mark.parametrize("fault", ["broken", "silent", "endless", "text"])
def test_a_failing_engine_takes_nothing_away(
    tmp_path: Path, provider: servers.Provider, fault: str
) -> None:
    answer, _, code = FAULTS[fault]
    provider.planned.append(answer)
    web = section("searxng", provider.url, timeout_s=0.3)
    with opened(tmp_path, web=web) as mos:
        mos.add("The museum opens at nine.")
        found = mos.search("museum", internet=True)
        assert [hit.memory.text for hit in found.hits] == ["The museum opens at nine."]
        assert found.degraded == (f"web: {code}",)


def test_what_is_remembered_comes_first_and_is_not_repeated(tmp_path: Path) -> None:
    same = WebPage("https://a.example/", "T", "The museum opens at nine.")
    other = WebPage("https://b.example/", "", "<p>The museum shows maps.</p>")
    web = ScriptedWeb(same, other)
    with opened(tmp_path, web) as mos:
        mos.add("The museum opens at nine.")
        found = mos.search("museum", internet=True, limit=2)
        assert [hit.memory.text for hit in found.hits] == [
            "The museum opens at nine.", "The museum shows maps.",
        ]  # fmt: skip
        assert web.queries == ["museum"]
        page = found.hits[-1].memory
        assert (page.place.account, page.kind, page.tier) == ("local", "page", "outer")
        with pytest.raises(NotFound):
            mos.get(page.id)
        web.error = StoreError("down", service="w", code="w")
        assert mos.search("museum", internet=True).degraded == ("web: w",)
