"""Bad input by the hundred: every piece gets a 4xx with a code, and the server goes on."""

from __future__ import annotations

import json
import os
import secrets
import socket
from collections.abc import Generator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.servers import openai, serving
from tests.serving import TOKEN, on_loopback

ENVIRONMENT = {
    "MEMOS_BOOTSTRAP_KEY": TOKEN,
    "MEMOS_SERVER__OPEN_LOOPBACK": "false",
    "MEMOS_SERVER__MAX_BODY_MEGABYTES": "1",
    "MEMOS_SERVER__BURST": "100000",
}
SECRET = "the canary of another tenant"


@dataclass(frozen=True)
class Bad:
    """A request that must be refused."""

    method: str
    path: str
    body: Any = None
    content: bytes | None = None
    headers: dict[str, str | bytes] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    statuses: tuple[int, ...] = (400, 404, 409, 413, 422)


VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1e308, 10**30, "", " ", [], {}, [[]], {"a": {"b": []}}, "\x00", "a\x00b",
    "\ud800", ["\udfff"], "x" * 600,
)  # fmt: skip
FIELDS: dict[str, tuple[tuple[str, str], ...]] = {
    "/v1/memories": (
        ("text", "text"), ("text", "user"), ("text", "cube"), ("text", "session"), ("text", "tags"),
        ("text", "info"), ("text", "tier"), ("text", "kind"), ("text", "confidence"),
        ("text", "valid_from"), ("text", "expires_at"), ("text", "title"), ("messages", "messages"),
        ("items", "items"),
    ),
    "/v1/search": (
        ("query", "query"), ("query", "user"), ("query", "cubes"), ("query", "where"),
        ("query", "limit"), ("query", "budget"), ("query", "recipe"), ("query", "dedup"),
        ("query", "as_of"), ("query", "at"), ("query", "rerank"),
    ),
    "/v1/memories/forget": (("ids", "ids"), ("ids", "mode"), ("ids", "cubes")),
    "/v1/memories/query": (("where", "where"), ("where", "cursor"), ("where", "limit")),
    "/v1/memories/batch": (("adds", "adds"),),
    "/v1/cubes": (("id", "id"), ("id", "name")),
    "/v1/users": (("id", "id"), ("id", "role"), ("id", "name")),
    "/v1/keys": (("name", "name"), ("name", "scopes"), ("name", "expires_at"), ("name", "cubes")),
    "/v1/chat": (("query", "query"), ("query", "max_tokens"), ("query", "where")),
}  # fmt: skip
GOOD = {"text": "x", "messages": [{"role": "user", "content": "x"}], "query": "x", "ids": ["none"],
        "where": {"tags": "x"}, "items": [{"memory": "x"}], "adds": [{"text": "x"}],
        "id": "new", "name": "new"}  # fmt: skip


def wrong_values() -> Generator[Bad]:
    for path, fields in FIELDS.items():
        for base, name in fields:
            for value in VALUES:
                if fits(path, base, name, value):
                    continue
                yield Bad("POST", path, {base: GOOD[base], name: value})


def fits(path: str, base: str, name: str, value: Any) -> bool:
    """Whether a value is one that the field may have."""
    if value is None:
        return (name != base or base == "where") and name not in (
            "mode",
            "role",
            "scopes",
            "tags",
            "info",
        )
    if value == "x" * 600:
        return name in ("text", "query", "title", "messages", "items", "adds", "where") or (
            path == "/v1/memories" and name == "tags"
        )
    if isinstance(value, bool):
        return name == "rerank" and not value
    if name in ("confidence", "limit", "budget", "max_tokens") and isinstance(value, int | float):
        return name == "confidence" and 0 <= value <= 100
    if name in ("where", "info"):
        return isinstance(value, dict) and (name == "info" or path != "/v1/memories/forget")
    return name == "tags" and value == []


OPERATORS = (
    "' OR 1=1 --", "'; DROP TABLE memories; --", '" OR ""="', "1); DELETE FROM entries; --",
    "NEAR(a b)", "a AND", "OR", "NOT", "*", '"', "((", "text:*", "^a", "a NEAR/2 b", "{a b}: c",
    "%", "_", "\\", "${jndi:ldap://127.0.0.1/a}", "{{7*7}}", "<script>alert(1)</script>",
    "../../etc/passwd", "file:///etc/passwd", "http://169.254.169.254/latest/meta-data/",
    "http://[::ffff:169.254.169.254]/", "http://metadata.google.internal/", "gopher://127.0.0.1",
)  # fmt: skip
FILTERS: tuple[Any, ...] = (
    {"a": {"near": 1}}, {"and": 1}, {"or": [1]}, {"not": []}, {"tags": {"in": "x"}},
    {"$where": {"$gt": 1, "x": 2}}, {"created_at": {"gte": "'; DROP"}}, {"a": {"in": None}},
    {"or": {"a": 1}}, {"": {"": 1}}, {"created_at": {"between": [1, 2]}},
)  # fmt: skip


def nested(depth: int, opening: str, closing: str, middle: str = "1") -> bytes:
    return (opening * depth + middle + closing * depth).encode()


def bodies() -> Generator[Bad]:
    deep = b'{"query": "x", "where": ' + nested(50_000, '{"not":', "}", "{}") + b"}"
    for path in ("/v1/search", "/v1/memories", "/v1/memories/query", "/v1/keys", "/v1/chat"):
        for content in (
            b"", b"{", b"null", b"[]", b'"x"', b"1", b"NaN", b'{"query": NaN}', b"\xff\xfe\x00",
            b'{"text": "\xff"}', b'{"query": "\xc3\x28"}', b'{"text": "\\ud800"}', b"\x00" * 1000,
            nested(100_000, "[", "]"), nested(100_000, '{"a":', "}"), deep, b"a" * 2_000_000,
            b'{"text": 1e999999}', b'{"query": ' + b"9" * 5000 + b"}",
            b"PK\x03\x04" + bytes(100), b"<xml/>", b"a=b&c=d", b"{'text': 'x'}",
        ):  # fmt: skip
            yield Bad("POST", path, content=content)
    many = json.dumps({"adds": [{"text": "x"}] * 1001}).encode()
    yield Bad("POST", "/v1/memories/batch", content=many)
    yield Bad("POST", "/v1/memories/forget", {"ids": ["x"] * 10_001})
    yield Bad("POST", "/v1/search", {"query": "x", "cubes": ["x"] * 1001})
    yield Bad("POST", "/v1/search", {"query": "x", "where": {"or": [{"a": 1}] * 1001}})
    for kind in ("text/plain", "application/xml", "multipart/form-data", "image/png"):
        yield Bad("POST", "/v1/search", content=b'{"query": "x"', headers={"Content-Type": kind})
    for where in FILTERS:
        yield Bad("POST", "/v1/search", {"query": "x", "where": where})
        yield Bad("POST", "/v1/memories/query", {"where": where})
        yield Bad("POST", "/v1/memories/forget", {"where": where, "mode": "erase"})
    for name in (
        "url",
        "doc_path",
        "path",
        "file",
        "uri",
        "source",
        "$ref",
        "__proto__",
        "account",
    ):
        for value in ("/etc/passwd", "file:///etc/passwd", "http://169.254.169.254/"):
            yield Bad("POST", "/v1/memories", {"text": "x", name: value})
            yield Bad("POST", "/v1/search", {"query": "x", name: value})


PATHS = (
    "..", "../..", "%2e%2e", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "..%5c..%5cwindows", "%00", "a%00b",
    "%0d%0aX-Evil:%201", "%ff", "%c0%ae%c0%ae", "x" * 5000, "%27%20OR%201=1--", "*", "%25",
    "file:%2f%2f%2fetc%2fpasswd",
)  # fmt: skip


def paths() -> Generator[Bad]:
    for part in PATHS:
        for path in (
            f"/v1/memories/{part}", f"/v1/memories/{part}/history", f"/v1/cubes/{part}",
            f"/v1/cubes/{part}/export", f"/v1/cubes/{part}/grants", f"/v1/users/{part}",
        ):  # fmt: skip
            yield Bad("GET", path, statuses=(400, 404, 405, 422))
        yield Bad("PATCH", f"/v1/memories/{part}", {"text": "x"}, statuses=(400, 404, 405, 422))
        yield Bad("DELETE", f"/v1/memories/{part}", statuses=(400, 404, 405, 422))
        yield Bad("DELETE", f"/v1/keys/{part}", statuses=(400, 404, 405, 422))
    for name, value in (
        ("limit", "0"), ("limit", "-1"), ("limit", "x"), ("limit", "1e9"), ("limit", "9" * 50),
        ("cursor", "x"), ("cursor", "' OR 1=1"), ("cursor", "9" * 300), ("cursor", "-1"),
        ("as_of", "yesterday"), ("as_of", "2026-13-45"), ("as_of", "9" * 60), ("cube", "x" * 600),
        ("cube", "../other"), ("user", "a/b"), ("user", "a\nb"), ("user", "x" * 201), ("user", ""),
        ("cube", ""), ("cube", "\x00"),
    ):  # fmt: skip
        yield Bad("GET", "/v1/memories", params={name: value})
    for name, value in (("If-Match", "1"), ("If-Match", "'1'"), ("If-Match", '"1')):
        yield Bad("PATCH", "/v1/memories/none", {"text": "x"}, headers={name: value})
    for value in ("", "x" * 201):
        headers: dict[str, str | bytes] = {"Idempotency-Key": value}
        yield Bad("POST", "/v1/memories", {"text": "x"}, headers=headers)


def credentials() -> Generator[Bad]:
    id, secret = TOKEN.split("_", 2)[1:]
    forged = (
        "", "Bearer", "Basic " + TOKEN, "Bearer x", f"Bearer {TOKEN}x", "Digest a",
        f"Bearer {TOKEN[:-1]}", f"Bearer mk_{id}_", f"Bearer mk_{id}_{secret[::-1]}",
        f"Bearer mk_000000000000_{secret}", f"Bearer MK_{id}_{secret}", "Bearer ' OR 1=1 --",
        f"Bearer mk_{id}'--_{secret}", "Bearer eyJhbGciOiJub25lIn0.e30.", f"Bearer {'a' * 60_000}",
        f"Bearer mk_{id}_{secret}, Bearer {TOKEN}", TOKEN, f"Bearer mk_%_{secret}",
        f"Bearer mk_____________{secret}",
    )  # fmt: skip
    for value in forged:
        for path in ("/v1/memories", "/v1/keys", "/metrics", "/v1/cubes/default/export"):
            yield Bad("GET", path, headers={"Authorization": value}, statuses=(400, 401, 431))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    with serving(openai()) as provider:
        model = {"KIND": "openai", "BASE_URL": f"{provider.url}/v1", "MODEL": "fake"}
        chat = {f"MEMOS_CHAT__{name}": value for name, value in model.items()}
        with on_loopback(tmp_path_factory.mktemp("home"), **ENVIRONMENT, **chat) as url:
            yield url


@pytest.fixture(scope="module")
def http(server: str) -> Generator[httpx.Client]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=server, headers=headers, timeout=30) as http:
        http.post("/v1/memories", json={"text": SECRET, "user": "victim"})
        yield http


@pytest.mark.parametrize(
    "table", [wrong_values, bodies, paths, credentials], ids=lambda table: table.__name__
)
def test_bad_input_is_refused(http: httpx.Client, table: Any) -> None:
    wrong: list[str] = []
    count = 0
    for bad in table():
        content = bad.content
        headers = dict(bad.headers)
        if bad.body is not None:
            content = json.dumps(bad.body).encode()
        if content is not None:
            headers.setdefault("Content-Type", "application/json")
        answer = http.request(
            bad.method, bad.path, content=content, params=bad.params or None, headers=headers
        )
        count += 1
        kind = answer.headers.get("content-type", "")
        fine = answer.status_code in bad.statuses and (
            answer.json()["code"]
            if kind == "application/problem+json"
            else answer.status_code == 400
        )
        if not fine or SECRET in answer.text or "Traceback" in answer.text:
            shown = str(bad.body if content is None else content)[:120]
            wrong.append(
                f"{bad.method} {bad.path[:80]} {bad.params} {shown} -> {answer.status_code}"
            )
    assert not wrong, f"{len(wrong)} of {count}:\n" + "\n".join(wrong[:40])
    assert count >= 50
    assert http.get("/health").json()["status"] == "healthy"


@pytest.mark.parametrize("text", OPERATORS)
def test_operators_are_words_like_others(http: httpx.Client, text: str) -> None:
    user = f"u{secrets.token_hex(8)}"
    added = http.post("/v1/memories", json={"text": f"about {text} here", "user": user})
    assert added.status_code == 201
    for body in ({"query": text}, {"query": "about", "where": {"text": text}}):
        found = http.post("/v1/search", json={**body, "user": user})
        assert found.status_code == 200, found.text
        assert SECRET not in found.text
    named = http.post("/v1/search", json={"query": "canary", "user": "lin", "cubes": [text]})
    assert (named.status_code, named.json()["code"]) == (404, "unknown_cube")


def test_expired_keys(http: httpx.Client) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=0.3)
    made = http.post("/v1/keys", json={"name": "brief", "expires_at": soon.isoformat()})
    brief = {"Authorization": f"Bearer {made.json()['token']}"}
    for _ in range(100):
        answer = http.get("/v1/memories", headers=brief)
        if answer.status_code == 401:
            break
    else:
        while http.get("/v1/memories", headers=brief).status_code != 401:
            pass
    late = http.get("/v1/memories", headers=brief)
    assert (late.status_code, late.json()["code"]) == (401, "invalid_key")


RAW = (
    b"GET / HTTP/1.1\r\nHost: x\r\nX-Trace-Id: a\r\n b\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: x\r\nX-Trace-Id: a\rX-Evil: 1\r\n\r\n",
    b"GET /health\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"POST /v1/search HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /v1/search HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999999\r\n\r\n",
    b"POST /v1/search HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
    b"POST /v1/search HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"X: " + b"y" * 200_000 + b"\r\n\r\n",
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"FROB /v1/search HTTP/1.1\r\nHost: x\r\n\r\n",
    b"CONNECT 169.254.169.254:80 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET http://169.254.169.254/latest/ HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n",
    os.urandom(4096),
)


@pytest.mark.parametrize("raw", RAW, ids=range(len(RAW)))
def test_what_is_no_http(server: str, http: httpx.Client, raw: bytes) -> None:
    host, port = server.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        answer = b""
        try:  # the server may hang up before it has heard all
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(65536):
                answer += piece
        except OSError:
            pass
    assert answer == b"" or answer.split(b" ", 2)[1].startswith(b"4"), answer[:300]
    assert b"X-Evil" not in answer
    assert http.get("/health").status_code == 200


def test_headers_cannot_be_injected(http: httpx.Client) -> None:
    for name in ("a%0d%0aX-Evil: 1", "b%0aSet-Cookie: x=1"):
        http.post("/v1/cubes", json={"id": "fine", "user": "zoe"})
        answer = http.get(f"/v1/cubes/{name}/export")
        assert "x-evil" not in answer.headers
        assert "set-cookie" not in answer.headers
    echoed = http.get("/health", headers={"X-Trace-Id": b"a\xc3\xa9"})
    assert echoed.headers["x-trace-id"].isalnum()


def test_the_home_directory_is_never_served(http: httpx.Client, tmp_path: Path) -> None:
    for path in ("/memos.db", "/server.pepper", "//etc/passwd", "/docs/../memos.db", "/.env"):
        assert http.get(path).status_code == 404
