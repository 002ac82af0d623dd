"""The server, through its front door: real HTTP routing, a real store."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from memos.server.app import create_app
from memos.settings import Settings
from memos.testing.fakes import HashEmbedder
from memos.users.keys import new_token

TOKEN = new_token()


@pytest.fixture
def client(tmp_path: Path) -> Generator[TestClient]:
    """A client with the operator's key."""
    settings = Settings.model_validate(
        {"home": tmp_path, "server": {"bootstrap_key": TOKEN, "open_loopback": False}}
    )
    with TestClient(create_app(settings, embedder=HashEmbedder())) as client:
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        yield client


def test_a_memory_s_life(client: TestClient) -> None:
    added = client.post("/v1/memories", json={"text": "Zoe is allergic to peanuts.", "user": "zoe"})
    assert added.status_code == 201
    (id,) = added.json()["ids"]
    found = client.post("/v1/search", json={"query": "allergic", "user": "zoe"})
    assert [hit["memory"]["id"] for hit in found.json()["hits"]] == [id]
    held = client.get(f"/v1/memories/{id}", params={"user": "zoe"})
    assert held.json()["text"] == "Zoe is allergic to peanuts."
    etag = held.headers["etag"]
    fresh = client.get(
        f"/v1/memories/{id}", params={"user": "zoe"}, headers={"If-None-Match": etag}
    )
    assert fresh.status_code == 304
    changed = client.patch(
        f"/v1/memories/{id}", json={"text": "花生过敏", "user": "zoe"}, headers={"If-Match": etag}
    )
    assert (changed.status_code, changed.json()["version"]) == (200, 2)
    stale = client.patch(
        f"/v1/memories/{id}", json={"text": "x", "user": "zoe"}, headers={"If-Match": etag}
    )
    assert (stale.status_code, stale.json()["code"]) == (409, "version_moved")
    history = client.get(f"/v1/memories/{id}/history", params={"user": "zoe"}).json()
    assert [version["version"] for version in history["versions"]] == [1, 2]
    assert client.delete(f"/v1/memories/{id}", params={"user": "zoe"}).json()["mode"] == "retire"
    assert client.get("/v1/memories", params={"user": "zoe"}).json() == {"items": [], "next": None}
    gone = client.delete(f"/v1/memories/{id}", params={"user": "zoe", "erase": "true"})
    assert gone.json()["mode"] == "erase"
    erased = client.get(f"/v1/memories/{id}", params={"user": "zoe"})
    assert (erased.status_code, erased.json()["code"]) == (404, "erased")


def test_a_repeated_call_is_harmless(client: TestClient) -> None:
    body = {"messages": [{"role": "user", "content": "I moved to Lisbon."}], "session": "s"}
    headers = {"Idempotency-Key": "one"}
    first = client.post("/v1/memories", json=body, headers=headers).json()
    again = client.post("/v1/memories", json=body, headers=headers).json()
    assert again == {"ids": first["ids"], "stored": [False]}


@pytest.mark.parametrize(
    "token", [None, "Bearer ", "Bearer x", f"Basic {TOKEN}", f"Bearer {TOKEN}x"]
)
def test_who_has_no_valid_key_gets_nothing(client: TestClient, token: str | None) -> None:
    del client.headers["Authorization"]
    headers = {} if token is None else {"Authorization": token}
    for answer in (
        client.post("/v1/search", json={"query": "x"}, headers=headers),
        client.get("/v1/memories", headers=headers),
        client.get("/metrics", headers=headers),
    ):
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.headers["content-type"] == "application/problem+json"


def test_token_is_a_scheme_too(client: TestClient) -> None:
    answer = client.get("/v1/memories", headers={"Authorization": f"token {TOKEN}"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/v1/search", {}, 422, "invalid_input"),
        ("POST", "/v1/search", {"query": "x", "secret": 1}, 422, "invalid_input"),
        ("POST", "/v1/search", {"query": "x", "where": {"a": {"near": 1}}}, 422,
         "filter_operator"),
        ("POST", "/v1/search", {"query": "x", "cubes": ["other"]}, 404, "unknown_cube"),
        ("POST", "/v1/memories", {}, 422, "no_content"),
        ("POST", "/v1/memories", {"text": "a\u0000b"}, 422, "invalid_text"),
        ("POST", "/v1/memories/forget", {}, 422, "no_selector"),
        ("POST", "/v1/memories/forget", {"where": {}}, 422, "no_selector"),
        ("GET", "/v1/memories/none", None, 404, "unknown_memory"),
        ("GET", "/v1/nowhere", None, 404, "not_found"),
        ("PUT", "/v1/search", {}, 405, "method_not_allowed"),
    ],
)  # fmt: skip
def test_failures_are_problems(
    client: TestClient, method: str, path: str, body: object, status: int, code: str
) -> None:
    answer = client.request(method, path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["trace_id"] == answer.headers["x-trace-id"]


def test_bodies_have_a_limit(tmp_path: Path) -> None:
    settings = Settings.model_validate({"home": tmp_path, "server": {"max_body_megabytes": 1}})
    with TestClient(
        create_app(settings, embedder=HashEmbedder()), client=("127.0.0.1", 5)
    ) as client:
        large = client.post("/v1/memories", content=b"x" * (1024 * 1024 + 1))
        assert (large.status_code, large.json()["code"]) == (413, "too_large")

        def chunks() -> Generator[bytes]:
            for _ in range(20):
                yield b" " * 100_000

        streamed = client.post("/v1/memories", content=chunks())
        assert (streamed.status_code, streamed.json()["code"]) == (413, "too_large")
        assert client.get("/health").json()["status"] == "healthy"


def test_this_machine_needs_no_key_and_a_proxy_on_it_does(tmp_path: Path) -> None:
    app = create_app(Settings(home=tmp_path), embedder=HashEmbedder())
    with TestClient(app, client=("127.0.0.1", 5)) as local:
        assert local.get("/v1/memories").status_code == 200
        forwarded = local.get("/v1/memories", headers={"X-Forwarded-For": "198.51.100.7"})
        assert forwarded.status_code == 401
    with TestClient(app, client=("198.51.100.7", 5)) as remote:
        assert remote.get("/v1/memories").status_code == 401


def test_trace_ids_are_the_caller_s_or_new(client: TestClient) -> None:
    given = client.get("/health", headers={"X-Trace-Id": "abc-1"})
    assert given.headers["x-trace-id"] == "abc-1"
    parent = f"00-{'a' * 32}-{'b' * 16}-01"
    assert client.get("/health", headers={"traceparent": parent}).headers["x-trace-id"] == "a" * 32
    for bad in ("a b", "x" * 200, "é"):
        made = client.get("/health", headers={"X-Trace-Id": bad.encode()})
        assert len(made.headers["x-trace-id"]) == 32


def test_metrics_and_readiness(client: TestClient) -> None:
    client.post("/v1/search", json={"query": "x"})
    text = client.get("/metrics").text
    assert (
        'memos_http_request_seconds_count{method="POST",route="/v1/search",status="200"} 1.0'
        in text
    )
    assert client.get("/ready").json() == {"ready": True, "checks": {"store": "ok"}}
