"""The embedder that asks a server, against a real one on the loopback interface."""

from __future__ import annotations

import base64
import contextlib
import inspect
import json
import socket
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import numpy as np
import pytest
from pydantic import ValidationError

from memos.errors import MemosError, ModelError, RateLimited, Timeout
from memos.models._http.embedding import HttpEmbedder
from memos.models._http.service import Service
from memos.models.openai_embedder import (
    OpenAIEmbedderSettings,
    backend,
    dialect,
    endpoint,
    open_openai,
)
from memos.ports.backend import Role

SECRET = "sk-very-secret"


@dataclass(frozen=True)
class Reply:
    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Server:
    """Answers with the planned replies, then as ``answer`` says; keeps what it was asked."""

    url: str = ""
    planned: list[Reply] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    answer: Callable[[dict[str, Any]], Reply] = lambda body: embeddings(body)  # noqa: PLW0108 - defined below

    def reply(self, path: str, key: str | None, body: dict[str, Any]) -> Reply:
        with self.lock:
            self.requests.append(body)
            self.keys.append(key)
            if path != "/v1/embeddings":
                return Reply(404, b"no such path")
            if self.planned:
                return self.planned.pop(0)
        return self.answer(body)


def vector(text: str) -> list[float]:
    """Return something that tells texts apart and has not length 1."""
    return [float(len(text)), float(sum(map(ord, text)) % 101), 3.0]


def unit(text: str) -> Any:
    return pytest.approx(np.array(vector(text)) / np.linalg.norm(vector(text)), abs=1e-6)


def embeddings(body: dict[str, Any], encode: Callable[[list[float]], Any] = list) -> Reply:
    rows = [
        {"object": "embedding", "index": index, "embedding": encode(vector(text))}
        for index, text in enumerate(body["input"])
    ]
    return Reply(200, json.dumps({"object": "list", "data": rows[::-1]}).encode())


def packed(values: list[float]) -> str:
    return base64.b64encode(np.array(values, "<f4").tobytes()).decode()


def data(*rows: tuple[int, Any]) -> Reply:
    listed = [{"index": index, "embedding": embedding} for index, embedding in rows]
    return Reply(200, json.dumps({"data": listed}).encode())


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            reply = state.reply(self.path, self.headers["Authorization"], body)
            self.send_response(reply.status)
            for name, value in {**reply.headers, "Content-Length": len(reply.body)}.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, *_: Any) -> None:
            """Keep the output of the tests clean."""

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """Say nothing of clients that went away, as the time-out test does on purpose."""

    http = Quiet(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{http.server_port}/v1"
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    yield state
    http.shutdown()
    thread.join()
    http.server_close()


@asynccontextmanager
async def opened(
    server: Server, slept: list[float] | None = None, **settings: Any
) -> AsyncGenerator[HttpEmbedder, None]:
    """Open with known dimensions unless told otherwise, and note sleeps instead of sleeping."""

    async def note(seconds: float) -> None:
        if slept is not None:
            slept.append(seconds)

    fields = {"base_url": server.url, "model": "m", "dimensions": 3, "api_key": SECRET} | settings
    async with open_openai(OpenAIEmbedderSettings(**fields), sleep=note) as found:
        assert isinstance(found.embedder, HttpEmbedder)
        yield found.embedder


@pytest.mark.anyio
async def test_batches_come_back_in_the_order_of_the_texts(server: Server) -> None:
    texts = [f"text {'x' * number}" for number in range(7)]
    async with opened(server, batch_size=3, query_prefix="q: ", passage_prefix="p: ") as embedder:
        vectors = await embedder.embed(texts, "query")
        assert all(row == unit(f"q: {text}") for row, text in zip(vectors, texts, strict=True))
        await embedder.embed(["a"], "passage")
    assert vectors.dtype == np.float32
    assert sorted(len(body["input"]) for body in server.requests) == [1, 1, 3, 3]
    assert server.requests[-1] == {"model": "m", "dimensions": 3, "input": ["p: a"]}
    assert set(server.keys) == {f"Bearer {SECRET}"}


@pytest.mark.anyio
async def test_base64_is_understood(server: Server) -> None:
    server.answer = lambda body: embeddings(body, packed)
    async with opened(server) as embedder:
        assert (await embedder.embed(["abc"], "query"))[0] == unit("abc")


@pytest.mark.anyio
async def test_dimensions_are_found_by_one_request_at_open(server: Server) -> None:
    async with opened(server, dimensions=None, api_key=None) as embedder:
        assert embedder.dimensions == 3
        assert len(server.requests) == 1
        assert "dimensions" not in server.requests[0]
        assert server.keys == [None]
    async with opened(server, dimensions=3):
        assert len(server.requests) == 1


@pytest.mark.anyio
async def test_name_tells_vectors_that_cannot_be_compared_apart(server: Server) -> None:
    names = []
    for settings in ({"dimensions": None}, {"dimensions": 3}, {"query_prefix": "q"}):
        async with opened(server, **settings) as embedder:
            names.append(embedder.name)
    assert names[:2] == ["m", "m-3"]
    assert len(set(names)) == 3


@pytest.mark.anyio
async def test_requests_run_together(server: Server) -> None:
    pair = threading.Barrier(2)

    def in_pairs(body: dict[str, Any]) -> Reply:
        pair.wait(10)
        return embeddings(body)

    server.answer = in_pairs
    async with opened(server, batch_size=1, concurrency=2) as embedder:
        assert (await embedder.embed(["a", "b", "c", "d"], "passage")).shape == (4, 3)


@pytest.mark.anyio
async def test_no_more_requests_run_together_than_allowed(server: Server) -> None:
    meeting = threading.Barrier(3)
    met: list[int] = []

    def wait_for_a_third(body: dict[str, Any]) -> Reply:
        with contextlib.suppress(threading.BrokenBarrierError):
            met.append(meeting.wait(0.2))
        return embeddings(body)

    server.answer = wait_for_a_third
    async with opened(server, batch_size=1, concurrency=2) as embedder:
        await embedder.embed(["a", "b", "c"], "passage")
    assert met == []


@pytest.mark.anyio
async def test_every_string_is_sent_in_a_form_that_servers_take(server: Server) -> None:
    async with opened(server) as embedder:
        vectors = await embedder.embed(["", "\ud800", "a\0b", "日本 😀"], "query")
        assert vectors.shape == (4, 3)
        assert (await embedder.embed([], "query")).shape == (0, 3)
    assert server.requests[0]["input"] == [" ", "?", "a b", "日本 😀"]
    assert len(server.requests) == 1


@pytest.mark.anyio
@pytest.mark.parametrize("status", [408, 429, 500, 503])
async def test_busy_servers_are_asked_again_with_growing_pauses(
    server: Server, status: int
) -> None:
    slept: list[float] = []
    server.planned = [Reply(status, b"busy")] * 3
    async with opened(server, slept) as embedder:
        assert (await embedder.embed(["abc"], "query"))[0] == unit("abc")
    assert len(server.requests) == 4
    for pause, longest in zip(slept, (0.5, 1, 2), strict=True):
        assert longest / 2 <= pause <= longest


@pytest.mark.anyio
async def test_retry_after_is_honoured_as_seconds_and_as_date(server: Server) -> None:
    slept: list[float] = []
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    server.planned = [
        Reply(429, b"", {"Retry-After": "7.5"}),
        Reply(429, b"", {"Retry-After": date}),
        Reply(429, b"", {"Retry-After": "soon"}),
    ]
    async with opened(server, slept) as embedder:
        await embedder.embed(["a"], "query")
    assert slept[0] == 7.5
    assert 20 < slept[1] <= 30
    assert slept[2] <= 2


@pytest.mark.anyio
async def test_too_long_a_wait_is_left_to_the_caller(server: Server) -> None:
    slept: list[float] = []
    server.planned = [Reply(429, b"", {"Retry-After": "3600"})]
    async with opened(server, slept) as embedder:
        with pytest.raises(RateLimited) as caught:
            await embedder.embed(["a"], "query")
    assert (caught.value.retry_after, caught.value.retryable, slept) == (3600, True, [])


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "kind"), [(429, RateLimited), (503, ModelError)], ids=["limited", "down"]
)
async def test_lasting_refusal_is_raised_after_the_last_try(
    server: Server, status: int, kind: type[MemosError]
) -> None:
    server.planned = [Reply(status, b"")] * 9
    async with opened(server, max_retries=2) as embedder:
        with pytest.raises(kind) as caught:
            await embedder.embed(["a"], "query")
    assert len(server.requests) == 3
    assert getattr(caught.value, "retryable") is True  # noqa: B009 - not on every kind


@pytest.mark.anyio
@pytest.mark.parametrize("status", [401, 403])
async def test_wrong_key_is_not_tried_again_and_not_told(server: Server, status: int) -> None:
    said = json.dumps({"error": {"message": f"wrong key {SECRET}"}}).encode()
    server.planned = [Reply(status, said)]
    async with opened(server) as embedder:
        with pytest.raises(ModelError, match="check api_key") as caught:
            await embedder.embed(["a"], "query")
    assert not caught.value.retryable
    assert len(server.requests) == 1
    assert SECRET not in f"{caught.value} {caught.value.context}"


@pytest.mark.anyio
async def test_password_in_the_url_is_sent_and_not_told(server: Server) -> None:
    server.planned = [Reply(400, b"")]
    url = server.url.replace("http://", f"http://me:{SECRET}@")
    async with opened(server, base_url=url, api_key=None) as embedder:
        with pytest.raises(ModelError, match=r"127\.0\.0\.1") as caught:
            await embedder.embed(["a"], "query")
    assert SECRET not in str(caught.value)
    assert server.keys == ["Basic " + base64.b64encode(f"me:{SECRET}".encode()).decode()]


@pytest.mark.anyio
async def test_what_a_server_says_is_quoted_without_the_key(server: Server) -> None:
    said = json.dumps({"error": {"message": f"too long, {SECRET}" + "x" * 999}}).encode()
    server.planned = [Reply(400, said)]
    async with opened(server) as embedder:
        with pytest.raises(ModelError, match=r"answered 400.*too long") as caught:
            await embedder.embed(["a"], "query")
    assert not caught.value.retryable
    assert SECRET not in str(caught.value)
    assert len(str(caught.value)) < 400
    assert len(server.requests) == 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, b"<html>"),
        Reply(200, b"{}"),
        data(),
        data((0, [1, 2, 3]), (0, [1, 2, 3])),
        data((1, [1, 2, 3]), (2, [1, 2, 3])),
        data((0, [1, 2, 3])),
        data((0, "no base64!"), (1, "AAAA")),
        data((0, "AAAA"), (1, "AAAA")),
        data((0, [0, 0, 0]), (1, [1, 2, 3])),
        data((0, [1, 2, "x"]), (1, [1, 2, 3])),
        data((0, [float("inf"), 0, 0]), (1, [1, 2, 3])),
    ],
)  # fmt: skip
async def test_malformed_answers_are_model_errors(server: Server, reply: Reply) -> None:
    server.planned = [reply]
    async with opened(server) as embedder:
        with pytest.raises(ModelError) as caught:
            await embedder.embed(["a", "b"], "query")
    assert caught.value.code == "model_malformed"
    assert not caught.value.retryable
    assert len(server.requests) == 1


@pytest.mark.anyio
async def test_other_dimensions_than_expected_are_told(server: Server) -> None:
    async with opened(server, dimensions=4) as embedder:
        with pytest.raises(ModelError, match=r"\[3\] dimensions instead of 4") as caught:
            await embedder.embed(["a"], "query")
    assert caught.value.code == "model_dimensions"
    server.planned = [data((0, [1, 2, 3])), data((0, [1, 2]), (1, [1, 2, 3]))]
    async with opened(server, dimensions=None) as embedder:
        with pytest.raises(ModelError, match="dimensions instead of 3"):
            await embedder.embed(["a", "b"], "query")


@pytest.mark.anyio
async def test_one_failed_batch_fails_the_call_with_that_error(server: Server) -> None:
    def fail_on_c(body: dict[str, Any]) -> Reply:
        return Reply(400, b"") if body["input"] == ["c"] else embeddings(body)

    server.answer = fail_on_c
    async with opened(server, batch_size=1) as embedder:
        with pytest.raises(ModelError, match="answered 400"):
            await embedder.embed(["a", "b", "c", "d"], "query")
        assert (await embedder.embed(["a"], "query"))[0] == unit("a")


@pytest.mark.anyio
async def test_silent_server_is_a_timeout(server: Server) -> None:
    release = threading.Event()

    def silent(body: dict[str, Any]) -> Reply:
        release.wait(10)
        return embeddings(body)

    server.answer = silent
    async with opened(server, timeout_s=0.05, max_retries=1) as embedder:
        with pytest.raises(Timeout, match=r"within 0.05 s") as caught:
            await embedder.embed(["a"], "query")
    release.set()
    assert caught.value.retryable
    assert len(server.requests) == 2


@pytest.mark.anyio
async def test_server_that_is_not_there_is_a_retryable_model_error(server: Server) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    slept: list[float] = []
    async with opened(server, slept, base_url=url) as embedder:
        with pytest.raises(ModelError, match="check base_url") as caught:
            await embedder.embed(["a"], "query")
    assert caught.value.retryable
    assert len(slept) == 3


def driver_exceptions() -> list[type[Exception]]:
    return [
        value
        for value in vars(httpx).values()
        if inspect.isclass(value)
        and issubclass(value, Exception)
        # Raised by reading a cookie jar, which the embedder never does.
        and value is not httpx.CookieConflict
    ]


class Failing(httpx.AsyncBaseTransport):
    """A transport whose every request fails in one way."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        raise self.error


@pytest.mark.anyio
@pytest.mark.parametrize("kind", driver_exceptions(), ids=lambda kind: kind.__name__)
async def test_every_exception_of_the_driver_is_mapped(kind: type[Exception]) -> None:
    count = len(inspect.signature(kind).parameters)
    error = kind.__new__(kind)
    Exception.__init__(error, *["said"] * count)
    if kind is httpx.HTTPStatusError or issubclass(kind, httpx.RequestError):
        error = kind("said", request=None, response=None) if count == 3 else kind("said")
    settings = OpenAIEmbedderSettings(base_url="http://localhost", model="m", max_retries=0)
    async with httpx.AsyncClient(transport=Failing(error)) as client:
        embedder = HttpEmbedder(Service(endpoint(settings), client), dialect(settings))
        with pytest.raises((ModelError, Timeout)):
            await embedder.embed(["a"], "query")


@pytest.mark.anyio
async def test_wrong_path_says_so_at_open(server: Server) -> None:
    with pytest.raises(ModelError, match=r"answered 404.*check base_url"):
        async with opened(server, dimensions=None, base_url=server.url.removesuffix("/v1")):
            pass


def test_backend_is_named_and_typed() -> None:
    assert (backend.name, backend.roles) == ("openai", frozenset({Role.EMBEDDER}))
    assert backend.settings is OpenAIEmbedderSettings


@pytest.mark.parametrize(
    "wrong", [{"base_url": "nowhere"}, {"model": ""}, {"batch_size": 0}, {"apikey": "x"}]
)
def test_settings_refuse_what_cannot_work(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        OpenAIEmbedderSettings(**{"base_url": "http://localhost/v1", "model": "m"} | wrong)


def test_settings_do_not_show_the_key() -> None:
    settings = OpenAIEmbedderSettings(base_url="http://localhost", model="m", api_key=SECRET)
    assert SECRET not in f"{settings!r} {settings} {settings.model_dump_json()}"
