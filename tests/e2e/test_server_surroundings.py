"""What surrounds the API: its page, other origins, what is measured."""

from __future__ import annotations

import base64
import re
from hashlib import sha256
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from tests.serving import in_process

from memos.server.app import create_app
from memos.settings import Settings
from memos.testing.fakes import HashEmbedder, ScriptedChat

ORIGIN = "https://app.example.org"


def test_the_page_needs_nothing_else(tmp_path: Path) -> None:
    with in_process(tmp_path) as client:
        del client.headers["Authorization"]
        told = client.get("/docs")
        paths = client.get("/openapi.json").json()["paths"]
    assert told.headers["content-type"].startswith("text/html")
    for path in paths:
        assert path in told.text
    assert not re.findall(r"<(?:script|img|link|iframe)|https?://|@import|url\(", told.text)
    (style,) = re.findall(r"<style>(.*?)</style>", told.text, re.DOTALL)
    digest = base64.b64encode(sha256(style.encode()).digest()).decode()
    policy = told.headers["content-security-policy"]
    assert f"style-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")


def test_pages_of_other_origins_are_kept_out_unless_named(tmp_path: Path) -> None:
    asked = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    with in_process(tmp_path) as client:
        assert client.options("/v1/search", headers=asked).status_code == 405
        plain = client.get("/v1/memories", headers={"Origin": ORIGIN})
        assert "access-control-allow-origin" not in plain.headers
    with in_process(tmp_path, cors_origins=[ORIGIN]) as client:
        allowed = client.options("/v1/search", headers=asked)
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == ORIGIN
        assert "access-control-allow-credentials" not in allowed.headers
        other = client.options("/v1/search", headers={**asked, "Origin": "https://evil.test"})
        assert "access-control-allow-origin" not in other.headers
        assert (
            "ETag"
            in client.get("/v1/memories", headers={"Origin": ORIGIN}).headers[
                "access-control-expose-headers"
            ]
        )


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "127.0.0.1:8000"}, 200),
        ({"Host": "localhost:8000"}, 200),
        ({"Host": "[::1]:8000"}, 200),
        ({"Host": "127.0.0.1:8000", "Origin": "http://127.0.0.1:8000"}, 200),
        ({"Host": "127.0.0.1:8000", "Origin": "http://127.0.0.1:9999"}, 401),
        ({"Origin": "https://evil.test"}, 401),
        ({"Origin": "null"}, 401),
        ({"Host": "evil.test"}, 401),
        ({"Host": "evil.test:8000", "Origin": "http://evil.test:8000"}, 401),
        ({"Host": "169.254.169.254"}, 401),
        ({"Host": "evil.test", "Forwarded": "for=127.0.0.1"}, 401),
    ],
)
def test_web_pages_are_nobody_on_this_machine(
    tmp_path: Path, headers: dict[str, str], status: int
) -> None:
    app = create_app(
        Settings.model_validate({"home": tmp_path, "server": {"cors_origins": [ORIGIN]}}),
        embedder=HashEmbedder(),
    )
    with TestClient(app, client=("127.0.0.1", 5)) as client:
        assert client.get("/v1/memories", headers=headers).status_code == status
        assert client.post("/v1/cubes/none/unregister", headers=headers).status_code == (
            404 if status == 200 else status
        )


def test_what_is_measured(tmp_path: Path) -> None:
    with in_process(tmp_path, chat=ScriptedChat("Noted.")) as client:
        client.post("/v1/memories", json={"text": "The kiln is hot."})
        client.post("/v1/search", json={"query": "kiln"})
        client.post("/v1/chat", json={"query": "kiln?"})
        text = client.get("/metrics").text
        for name in (
            'memos_add_seconds_count{outcome="ok"} 1.0',
            'memos_search_seconds_count{outcome="ok"} 1.0',
            'memos_chat_seconds_count{outcome="ok"} 1.0',
            'memos_embed_seconds_count{outcome="ok",role="query"}',
            'memos_search_step_seconds_count{step="features"}',
            'memos_model_calls_total{model="scripted",outcome="ok"} 1.0',
            'memos_model_tokens_total{kind="prompt",model="scripted"}',
            'memos_queue_jobs{label="add",state="dead"} 0.0',
            'memos_queue_oldest_seconds{label="add"} 0.0',
        ):
            assert name in text, name
        for body in (
            {"name": "k", "scopes": ["read", "admin"], "cubes": ["default"]},
            {"name": "k", "scopes": ["read", "admin"], "user": "default"},
            {"name": "k", "scopes": ["read", "write"]},
        ):
            token = client.post("/v1/keys", json=body).json()["token"]
            refused = client.get("/metrics", headers={"Authorization": f"Bearer {token}"})
            assert (refused.status_code, refused.json()["code"]) == (403, "key_scope")


@pytest.mark.parametrize("counted", ["shared", "process"])
def test_the_servers_of_one_home_count_together_when_told_so(tmp_path: Path, counted: str) -> None:
    few = {"rate_limits": counted, "requests_per_minute": 1, "burst": 4}
    with in_process(tmp_path, **few) as one, in_process(tmp_path, **few) as two:
        answers = [client.get("/v1/cubes") for client in (one, two, one, two, one, two)]
        statuses = [answer.status_code for answer in answers]
        assert statuses == [200] * 4 + ([429] * 2 if counted == "shared" else [200] * 2)
        if counted == "shared":
            assert 1 <= int(answers[-1].headers["Retry-After"]) <= 60
            assert answers[-1].json()["code"] == "rate_limited"
            assert b"testclient" not in (tmp_path / "shared.db").read_bytes()


def test_a_damaged_count_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "shared.db").write_bytes(b"no database at all" * 400)
    with in_process(tmp_path, rate_limits="shared") as client:
        assert client.get("/v1/cubes").status_code == 200
