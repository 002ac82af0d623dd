"""The server, through its front door: real HTTP routing, a real store."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from memos.server.app import create_app
from memos.server.logs import JsonLines
from memos.server.pepper import pepper
from memos.server.schemas import PageOut, SearchOut
from memos.settings import Settings
from memos.testing.fakes import HashEmbedder, ScriptedChat
from memos.types import ApiKey
from memos.users.keys import Keys, new_token

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
    assert (stale.status_code, stale.json()["code"]) == (412, "version_moved")
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
    assert again == {**first, "stored": [False]}
    assert (first["user"], first["cube"]) == ("default", "default")


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
        'memos_http_request_seconds_count{dialect="native",method="POST",route="/v1/search",'
        'status="200"} 1.0' in text
    )
    assert client.get("/ready").json() == {"ready": True, "checks": {"store": "ok"}}


def test_cubes_are_shared_over_http(client: TestClient) -> None:
    for user in ("zoe", "lin"):
        assert client.get("/v1/cubes", params={"user": user}).status_code == 200  # made on use
    made = client.post("/v1/cubes", json={"id": "studio", "name": "工作室", "user": "zoe"})
    assert (made.status_code, made.json()["owner"]) == (201, "zoe")
    body = {"text": "the kiln is hot", "user": "zoe", "cube": "studio"}
    client.post("/v1/memories", json=body)
    asked = {"query": "kiln", "user": "lin"}
    assert client.post("/v1/search", json=asked).json()["hits"] == []
    shared = client.put("/v1/cubes/studio/grants/lin", json={"user": "zoe"})
    assert shared.json()["access"] == "read"
    assert len(client.post("/v1/search", json=asked).json()["hits"]) == 1
    refused = client.post("/v1/memories", json={**body, "user": "lin"})
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    revoked = client.delete("/v1/cubes/studio/grants/lin", params={"user": "zoe"})
    assert revoked.status_code == 204
    assert client.post("/v1/search", json=asked).json()["hits"] == []
    hidden = client.post("/v1/cubes/studio/transfer", json={"to": "lin", "user": "lin"})
    assert (hidden.status_code, hidden.json()["code"]) == (404, "unknown_cube")
    given = client.post("/v1/cubes/studio/transfer", json={"to": "lin", "user": "zoe"})
    assert given.json()["owner"] == "lin"
    closed = client.post("/v1/cubes/studio/unregister", params={"user": "lin"})
    assert closed.json()["registered"] is False


def test_keys_open_what_they_say(client: TestClient) -> None:
    client.post("/v1/memories", json={"text": "tea", "user": "zoe"})
    made = client.post("/v1/keys", json={"name": "reader", "scopes": ["read"], "user": "zoe"})
    assert made.status_code == 201
    reader = {"Authorization": f"Bearer {made.json()['token']}"}
    found = client.post("/v1/search", json={"query": "tea"}, headers=reader)
    assert len(found.json()["hits"]) == 1
    for answer in (
        client.post("/v1/memories", json={"text": "x"}, headers=reader),
        client.post("/v1/search", json={"query": "x", "user": "lin"}, headers=reader),
        client.get("/v1/keys", headers=reader),
        client.post("/v1/users", json={"id": "x"}, headers=reader),
        client.post("/v1/cubes", json={"id": "x"}, headers=reader),
        client.put("/v1/cubes/zoe/grants/lin", json={}, headers=reader),
        client.post("/v1/chat", json={"query": "x"}, headers=reader),
    ):
        assert answer.status_code == 403, answer.text
    id = made.json()["key"]["id"]
    shown = client.get("/v1/keys").json()["keys"]
    assert [key["name"] for key in shown] == ["bootstrap", "reader"]
    assert "digest" not in shown[0]
    fresh = client.post(f"/v1/keys/{id}/rotate").json()["token"]
    assert client.get("/v1/memories", headers=reader).status_code == 401
    again = {"Authorization": f"Bearer {fresh}"}
    assert client.get("/v1/memories", headers=again).status_code == 200
    assert client.delete(f"/v1/keys/{id}").json()["revoked_at"]
    assert client.get("/v1/memories", headers=again).status_code == 401


def test_users_are_managed_by_admins(client: TestClient) -> None:
    made = client.post("/v1/users", json={"id": "lin", "name": "林", "role": "GUEST"})
    assert (made.status_code, made.json()["role"]) == (201, "GUEST")
    changed = client.patch("/v1/users/lin", json={"role": "USER", "active": False})
    assert (changed.json()["role"], changed.json()["active"]) == ("USER", False)
    refused = client.get("/v1/memories", params={"user": "lin"})
    assert (refused.status_code, refused.json()["code"]) == (403, "deactivated")
    assert client.patch("/v1/users/lin", json={}).status_code == 422
    assert [user["id"] for user in client.get("/v1/users").json()["users"]] == ["default", "lin"]


def test_chat_streams_and_remembers(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    model = ScriptedChat("Peanuts [1].", "Noted.")
    app = create_app(settings, embedder=HashEmbedder(), chat=model)
    with TestClient(app, client=("127.0.0.1", 5)) as client:
        client.post("/v1/memories", json={"text": "Zoe is allergic to peanuts."})
        body = {"query": "What is Zoe allergic to?", "session": "s"}
        told = client.post("/v1/chat/stream", json=body)
        assert told.headers["content-type"].startswith("text/event-stream")
        events = re.findall(r"^event: (\w+)\ndata: (.*)$", told.text, re.MULTILINE)
        assert events[0][0] == "recalled"
        assert events[-1][0] == "done"
        said = "".join(json.loads(data)["text"] for name, data in events if name == "delta")
        result = json.loads(events[-1][1])["result"]
        assert said == result["text"] == "Peanuts [1]."
        assert len(result["ids"]) == 2
        whole = client.post("/v1/chat", json={"query": "谢谢", "session": "s"}).json()
        assert whole["text"] == "Noted."
        assert len(client.get("/v1/memories").json()["items"]) == 5


def test_chat_without_a_model_says_so(client: TestClient) -> None:
    for path in ("/v1/chat", "/v1/chat/stream"):
        answer = client.post(path, json={"query": "hello"})
        assert (answer.status_code, answer.json()["code"]) == (503, "no_chat_model")


def test_answers_have_the_shape_that_the_document_says(client: TestClient) -> None:
    client.post("/v1/memories", json={"messages": [{"role": "user", "content": "tea"}]})
    SearchOut.model_validate(client.post("/v1/search", json={"query": "tea"}).json())
    PageOut.model_validate(client.get("/v1/memories").json())
    document = client.get("/openapi.json").json()
    assert {"/v1/search", "/v1/memories", "/v1/cubes", "/v1/keys", "/v1/chat"} <= set(
        document["paths"]
    )


def test_neither_contents_nor_keys_are_logged(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    canary = "zyx-canary-42"
    client.post("/v1/memories", json={"text": canary, "user": "zoe"})
    client.post("/v1/search", json={"query": canary, "user": "zoe"})
    client.get(f"/v1/memories/{canary}")
    client.post("/v1/memories", json={"text": canary, "wrong": canary})
    client.get("/v1/memories", headers={"Authorization": f"Bearer {canary}"})
    ours = [record for record in caplog.records if record.name.startswith("memos")]
    lines = [JsonLines().format(record) for record in ours]
    assert any('"event": "request"' in line for line in lines)
    assert not [line for line in lines if canary in line or TOKEN in line]


def test_serving_others_needs_a_key(tmp_path: Path) -> None:
    environ = {"MEMOS_HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    command = [str(Path(sys.executable).with_name("memos")), "serve", "--host", "0.0.0.0", "--json"]
    refused = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert json.loads(refused.stdout)["error"]["code"] == "no_key"


def test_a_real_server_answers_and_ends_well(tmp_path: Path) -> None:
    environ = {"MEMOS_HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    memos = str(Path(sys.executable).with_name("memos"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [memos, "serve", "--port", str(port)]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as server:
        try:
            transport = httpx.HTTPTransport(retries=0)
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", transport=transport) as http:
                for _ in range(200):
                    try:
                        http.get("/health")
                        break
                    except httpx.ConnectError:
                        threading.Event().wait(0.1)
                added = http.post("/v1/memories", json={"text": "我对花生过敏。"}, timeout=30)
                assert added.status_code == 201
                found = http.post("/v1/search", json={"query": "allergic to what?"}, timeout=30)
                assert found.json()["hits"][0]["memory"]["text"] == "我对花生过敏。"
        finally:
            server.terminate()
        assert server.wait(timeout=30) in (0, -15)


def _key(client: TestClient, **body: object) -> tuple[str, dict[str, str]]:
    made = client.post("/v1/keys", json={"name": "k", **body})
    assert made.status_code == 201, made.text
    return made.json()["key"]["id"], {"Authorization": f"Bearer {made.json()['token']}"}


def test_a_key_gives_nobody_more_than_it_has(client: TestClient) -> None:
    every = ["read", "write", "admin"]
    _, bound = _key(client, scopes=["read", "admin"], user="default", cubes=["default"])
    wide, _ = _key(client, scopes=every)
    for body in (
        {"name": "x", "scopes": every},
        {"name": "x", "scopes": ["read"]},
        {"name": "x", "scopes": ["read"], "user": "zoe", "cubes": ["default"]},
        {"name": "x", "scopes": ["read"], "user": "default", "cubes": ["default", "other"]},
    ):
        answer = client.post("/v1/keys", json=body, headers=bound)
        assert (answer.status_code, answer.json()["code"]) == (403, "key_scope")
    within = {"name": "x", "scopes": ["read"], "user": "default", "cubes": ["default"]}
    assert client.post("/v1/keys", json=within, headers=bound).status_code == 201
    assert client.post(f"/v1/keys/{wide}/rotate", headers=bound).status_code == 403
    assert client.delete(f"/v1/keys/{wide}", headers=bound).status_code == 403
    assert wide not in client.get("/v1/keys", headers=bound).text
    soon = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    _, ending = _key(client, scopes=every, expires_at=soon)
    assert client.post("/v1/keys", json={"name": "x"}, headers=ending).status_code == 403
    timely = {"name": "x", "expires_at": soon}
    assert client.post("/v1/keys", json=timely, headers=ending).status_code == 201


def test_a_key_bound_to_a_cube_touches_no_other(client: TestClient) -> None:
    for id in ("one", "two"):
        client.post("/v1/cubes", json={"id": id})
    client.post("/v1/cubes/two/unregister")
    _, bound = _key(client, scopes=["read", "write", "admin"], cubes=["one"])
    listed = client.get("/v1/cubes", headers=bound).json()["cubes"]
    assert [cube["id"] for cube in listed] == ["one"]
    hidden = client.get("/v1/cubes", params={"unregistered": True}, headers=bound)
    assert hidden.json()["cubes"] == []
    client.get("/v1/cubes", params={"user": "zoe"})
    for answer in (
        client.put("/v1/cubes/two/grants/zoe", json={}, headers=bound),
        client.patch("/v1/cubes/default", json={"name": "x"}, headers=bound),
        client.get("/v1/cubes/two/grants", headers=bound),
        client.post("/v1/cubes/two/register", headers=bound),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_cube")
    refused = client.post("/v1/cubes", json={"id": "three"}, headers=bound)
    assert (refused.status_code, refused.json()["code"]) == (403, "key_scope")
    assert client.put("/v1/cubes/one/grants/zoe", json={}, headers=bound).status_code == 200


def test_who_only_reads_makes_nobody(client: TestClient) -> None:
    _, reader = _key(client, scopes=["read"])
    answer = client.post("/v1/search", json={"query": "x", "user": "new"}, headers=reader)
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_user")
    assert [user["id"] for user in client.get("/v1/users").json()["users"]] == ["default"]
    own = client.delete("/v1/cubes/default/grants/default", headers=reader)
    assert (own.status_code, own.json()["code"]) == (403, "key_scope")


def test_a_revoked_key_ends_open_streams(tmp_path: Path) -> None:
    settings = Settings.model_validate({"home": tmp_path, "server": {"bootstrap_key": TOKEN}})
    model = ScriptedChat("a long answer in many pieces", pieces=9)
    app = create_app(settings, embedder=HashEmbedder(), chat=model)
    with TestClient(app) as client:
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        id, talker = _key(client, scopes=["read", "write"])
        keys = app.state.tenants.keys
        original, asked = keys.check, 0

        async def check(self: Keys, key: ApiKey) -> None:
            nonlocal asked
            asked += 1
            if asked == 3:
                await self.revoke("local", id)
            await original(key)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Keys, "check", check)
            told = client.post("/v1/chat/stream", json={"query": "hello"}, headers=talker).text
    events = re.findall(r"^event: (\w+)\ndata: (.*)$", told, re.MULTILINE)
    assert [name for name, _ in events] == ["recalled", "delta", "delta", "error"]
    assert json.loads(events[-1][1])["code"] == "invalid_key"


def test_processes_that_start_at_once_share_one_secret(tmp_path: Path) -> None:
    found: list[bytes] = []
    together = threading.Barrier(8)

    def start(settings: Settings) -> None:
        together.wait()
        found.append(pepper(settings))

    for number in range(10):
        found.clear()
        home = tmp_path / str(number)
        settings = Settings.model_validate({"home": home})
        threads = [threading.Thread(target=start, args=(settings,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(found)) == 1
        (kept,) = home.iterdir()
        assert kept.stat().st_mode & 0o777 == 0o600
