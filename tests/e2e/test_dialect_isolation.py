"""The dialects and keys: who reaches what, on every route that takes an id."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.dialects import OPENMEM, TOKEN, add, events, key, open_server, texts

from memos.ports.models import FREELY, ChatEvent, ChatMessage, Generation
from memos.testing.fakes import ScriptedChat
from memos.users.keys import new_token

SECRET = "zyx-secret"
ROUTES = (
    ("POST", "/product/search", {"user_id": "zoe", "query": "x"}),
    ("POST", "/product/get_memory_by_ids", ["x"]),
    ("GET", "/product/get_memory/x", None),
    ("POST", "/product/feedback", {}),
    ("POST", "/product/chat", {"user_id": "zoe", "query": "x"}),
    ("GET", "/product/scheduler/allstatus", None),
    ("POST", f"{OPENMEM[0]}/search/memory", {"user_id": "zoe", "query": "x"}),
    ("POST", f"{OPENMEM[1]}/add/feedback", {}),
    ("POST", "/product/add/message", {"user_id": "zoe", "messages": [{"content": "x"}]}),
    ("GET", "/memories", None),
    ("POST", "/configure", {}),
)


@pytest.mark.parametrize("token", [None, "Token mpg-x", "mpg-x", "Bearer ", "Basic eDp5"])
def test_on_this_machine_what_is_no_key_counts_as_none(tmp_path: Path, token: str | None) -> None:
    with open_server(tmp_path) as client:
        headers = {} if token is None else {"Authorization": token}
        for method, path, body in ROUTES:
            answer = client.request(method, path, json=body, headers=headers)
            assert answer.status_code in (200, 404, 501, 503), (path, answer.text)
        native = client.get("/v1/memories", headers=headers)
        assert native.status_code == (200 if token is None else 401)


@pytest.mark.parametrize("token", [None, "Token mpg-x", f"Token {new_token()}", f"Bearer {TOKEN}x"])
def test_elsewhere_a_key_is_needed(tmp_path: Path, token: str | None) -> None:
    headers = {} if token is None else {"Authorization": token}
    with open_server(tmp_path, address="198.51.100.7") as client:
        for method, path, body in ROUTES:
            answer = client.request(method, path, json=body, headers=headers)
            assert (answer.status_code, answer.json()["data"]) == (401, None)
            cloud = path.startswith(OPENMEM[:2]) or path == "/product/add/message"
            codes = (40100, 40130) if cloud else (401,)
            assert answer.json()["code"] in codes
    with open_server(tmp_path) as client:
        behind = {**headers, "X-Forwarded-For": "198.51.100.7"}
        for method, path, body in ROUTES:
            assert client.request(method, path, json=body, headers=behind).status_code == 401


def test_a_key_that_was_revoked_opens_nothing_on_this_machine_either(tmp_path: Path) -> None:
    with open_server(tmp_path) as client:
        made = key(client)
        assert client.get("/memories", headers=made).status_code == 200
        admin = {"Authorization": f"Bearer {TOKEN}"}
        (id,) = [one["id"] for one in client.get("/v1/keys", headers=admin).json()["keys"]
                 if one["name"] == "k"]  # fmt: skip
        client.delete(f"/v1/keys/{id}", headers=admin)
        for method, path, body in ROUTES:
            assert client.request(method, path, json=body, headers=made).status_code == 401


def test_keys_are_taken_with_any_scheme_or_none(tmp_path: Path) -> None:
    with open_server(tmp_path, address="198.51.100.7") as client:
        for value in (TOKEN, f"Token {TOKEN}", f"bearer {TOKEN}"):
            answer = client.get("/memories", headers={"Authorization": value})
            assert answer.status_code == 200


def test_an_operator_binds_a_key_to_a_dialect_and_a_network(tmp_path: Path) -> None:
    bound = [{"dialect": "openmem", "network": "198.51.100.0/24", "key": TOKEN}]
    told = {"user_id": "zoe", "query": "x"}
    with open_server(tmp_path, address="198.51.100.7", default_keys=bound) as client:
        for headers in ({}, {"Authorization": "Token mpg-x"}):
            found = client.post(f"{OPENMEM[0]}/search/memory", json=told, headers=headers)
            assert found.status_code == 200
        assert client.post("/product/search", json=told).status_code == 401
        assert client.post("/v1/search", json={"query": "x"}).status_code == 401
        forged = {"Authorization": f"Token {new_token()}"}
        refused = client.post(f"{OPENMEM[0]}/search/memory", json=told, headers=forged)
        assert refused.status_code == 401
        behind = {"X-Forwarded-For": "198.51.100.9"}
        refused = client.post(f"{OPENMEM[0]}/search/memory", json=told, headers=behind)
        assert refused.status_code == 401
    with open_server(tmp_path, address="203.0.113.9", default_keys=bound) as client:
        assert client.post(f"{OPENMEM[0]}/search/memory", json=told).status_code == 401


@pytest.fixture
def server(tmp_path: Path) -> Generator[TestClient]:
    with open_server(tmp_path, chat=ScriptedChat("Nothing.")) as client:
        yield client


def test_end_users_do_not_reach_each_other(server: TestClient) -> None:
    (id,) = add(server, "zoe", SECRET, session_id="s")
    add(server, "lin", "nothing of note")
    lin = {"user_id": "lin"}
    cube = {"mem_cube_id": "zoe"}
    assert texts(server, "lin", SECRET, relativity=0) == ["nothing of note"]
    cases = [
        ("POST", "/product/search", {**lin, "query": SECRET, "readable_cube_ids": ["zoe"]}),
        ("POST", "/product/search", {**lin, "query": SECRET, "readable_cube_ids": ["lin", "zoe"]}),
        ("POST", "/product/add", {**lin, "messages": "x", "writable_cube_ids": ["lin", "zoe"]}),
        ("POST", "/product/add", {**lin, "messages": "x", **cube}),
        ("POST", "/product/get_all", {**lin, "memory_type": "text_mem", "mem_cube_ids": ["zoe"]}),
        ("POST", "/product/get_memory", {**lin, **cube}),
        ("POST", "/product/get_memory_dashboard", {**lin, **cube}),
        ("GET", f"/product/get_memory/{id}?user_id=lin", None),
        ("POST", "/product/delete_memory", {**lin, "memory_ids": [id]}),
        ("POST", "/product/delete_memory", {**lin, "writable_cube_ids": ["zoe"]}),
        ("POST", "/product/delete_memory", {"memory_ids": [id], "writable_cube_ids": ["lin"]}),
        ("POST", "/product/register_cube", {**lin, "mem_cube_name_or_path": "zoe"}),
        ("POST", "/product/users/register", {**lin, "mem_cube_id": "zoe"}),
        ("POST", "/product/chat/complete", {**lin, "query": "x", **cube}),
        ("POST", "/product/chat/stream", {**lin, "query": "x", "readable_cube_ids": ["zoe"]}),
        ("GET", "/memories?mem_cube_id=zoe&user_id=lin", None),
        ("GET", f"/memories/zoe/{id}?user_id=lin", None),
        ("GET", f"/memories/lin/{id}?user_id=lin", None),
        ("GET", f"/memories/lin/{id}", None),
        ("PUT", f"/memories/zoe/{id}?user_id=lin", {"memory": "x"}),
        ("DELETE", f"/memories/zoe/{id}?user_id=lin", None),
        ("DELETE", "/memories/zoe?user_id=lin", None),
        ("DELETE", "/mem_cubes/zoe?user_id=lin", None),
        ("POST", "/mem_cubes", {**lin, "mem_cube_name_or_path": "zoe"}),
        ("POST", "/mem_cubes/zoe/share", {**lin, "target_user_id": "lin"}),
        ("POST", "/memories", {**lin, "memory_content": "x", **cube}),
        ("POST", "/search", {**lin, "query": SECRET, "install_cube_ids": ["zoe"]}),
    ]
    for method, path, body in cases:
        answer = server.request(method, path, json=body)
        assert answer.status_code in (403, 404), (path, answer.text)
        assert answer.json()["data"] is None
        assert SECRET not in answer.text
    empty = server.post("/product/get_memory_by_ids?user_id=lin", json=[id]).json()
    assert empty["data"] == {"memories": []}
    cloud = OPENMEM[0]
    told = {**lin, "conversation_id": "s"}
    said = server.post(f"{cloud}/get/message", json=told).json()["data"]
    assert said["message_detail_list"] == []
    for more in ({"filter": {"user_id": "zoe"}}, {"filter": {"or": [{"id": id}, {"cube": "zoe"}]}}):
        found = server.post(f"{cloud}/search/memory", json={**lin, "query": SECRET, **more}).json()
        assert found["data"]["memory_detail_list"] == []
    assert texts(server, "zoe", SECRET) == [SECRET]


def test_accounts_do_not_reach_each_other(server: TestClient) -> None:
    (id,) = add(server, "zoe", SECRET, session_id="s")
    app: Any = server.app
    keys = app.state.tenants.keys
    portal: Any = server.portal
    made = portal.call(keys.create, "rival", "k")
    rival = {"Authorization": f"Token {made.token}"}
    cloud = OPENMEM[0]
    cases = [
        ("GET", f"/product/get_memory/{id}", None, 404),
        ("POST", "/product/delete_memory", {"memory_ids": [id]}, 404),
        ("POST", "/product/delete_memory", {"user_id": "zoe"}, 200),
        ("POST", "/product/delete_memory", {"writable_cube_ids": ["zoe"], "session_id": "s"}, 200),
        ("POST", "/product/delete_memory", {"filter": {"session_id": "s"}}, 200),
        ("GET", f"/memories/zoe/{id}", None, 404),
        ("PUT", f"/memories/zoe/{id}", {"memory": "x"}, 404),
        ("DELETE", f"/memories/zoe/{id}", None, 404),
        ("GET", f"{cloud}/get/memory/{id}", None, 404),
        ("POST", f"{cloud}/get/status", {"task_id": id}, 404),
        ("POST", f"{cloud}/update/memory", {"memory_id": id, "content": "x"}, 404),
        ("POST", f"{cloud}/delete/memory", {"memory_ids": [id]}, 404),
        ("POST", f"{cloud}/delete/memory", {"user_id": "zoe"}, 200),
        ("POST", f"{cloud}/delete/memory", {"filter": {"conversation_id": "s"}}, 200),
    ]
    for method, path, body, status in cases:
        answer = server.request(method, path, json=body, headers=rival)
        assert answer.status_code == status, (path, answer.text)
        assert SECRET not in answer.text
    told = {"user_id": "zoe", "query": SECRET, "relativity": 0}
    found = server.post("/product/search", json=told, headers=rival).json()["data"]
    assert found["text_mem"] == [{"cube_id": "zoe", "memories": [], "total_nodes": 0}]
    names = server.post(
        "/product/get_user_names_by_memory_ids", json={"memory_ids": [id]}, headers=rival
    )
    assert names.json()["data"] == {id: None}
    assert texts(server, "zoe", SECRET) == [SECRET]


def test_a_key_of_one_user_reaches_that_user_alone(server: TestClient) -> None:
    (id,) = add(server, "zoe", SECRET)
    (own,) = add(server, "lin", "tea")
    bound = key(server, user="lin")
    cloud = OPENMEM[0]
    assert server.get(f"{cloud}/get/memory/{own}", headers=bound).status_code == 200
    for method, path, body, status in (
        ("GET", f"{cloud}/get/memory/{id}", None, 404),
        ("POST", f"{cloud}/update/memory", {"memory_id": id, "content": "x"}, 404),
        ("POST", f"{cloud}/delete/memory", {"memory_ids": [id]}, 404),
        ("POST", f"{cloud}/delete/memory", {"filter": {"user_id": "zoe"}}, 200),
        ("POST", f"{cloud}/search/memory", {"user_id": "zoe", "query": "x"}, 403),
        ("POST", "/product/get_memory", {"mem_cube_id": "zoe"}, 404),
        ("GET", f"/product/get_memory/{id}", None, 404),
        ("POST", "/product/exist_mem_cube_id", {"mem_cube_id": "zoe"}, 200),
        ("GET", "/product/users", None, 403),
        ("GET", "/users", None, 403),
        ("GET", f"/memories/zoe/{id}", None, 404),
        ("DELETE", "/memories/zoe", None, 404),
    ):
        answer = server.request(method, path, json=body, headers=bound)
        assert answer.status_code == status, (path, answer.text)
        assert SECRET not in answer.text
    told = {"mem_cube_id": "zoe"}
    known = server.post("/product/exist_mem_cube_id", json=told, headers=bound)
    assert known.json()["data"] == {"zoe": False}
    assert texts(server, "zoe", SECRET) == [SECRET]


def test_a_key_that_does_not_manage_names_a_user_once(server: TestClient) -> None:
    app = key(server)
    for name, status in (("Zoe", 200), ("Zoe", 200), ("Other", 403)):
        for path in ("/users", "/product/users/register"):
            body = {"user_id": "zoe", "user_name": name}
            assert server.post(path, json=body, headers=app).status_code == status
    admin = {"user_id": "king", "role": "admin"}
    assert server.post("/users", json=admin, headers=app).status_code == 403


def test_a_key_that_only_reads_changes_nothing(server: TestClient) -> None:
    (id,) = add(server, "zoe", SECRET)
    reader = key(server, scopes=["read"])
    assert texts(server, "zoe", SECRET) == [SECRET]
    cloud = OPENMEM[0]
    for method, path, body in (
        ("POST", "/product/add", {"user_id": "zoe", "messages": "x"}),
        ("POST", "/product/delete_memory", {"memory_ids": [id]}),
        ("POST", "/product/delete_memory", {"user_id": "zoe"}),
        ("POST", "/product/delete_memory", {"filter": {"user_id": "zoe"}}),
        ("POST", "/product/create_cube", {"cube_name": "x", "owner_id": "zoe"}),
        ("POST", "/product/chat/complete", {"user_id": "zoe", "query": "x"}),
        ("POST", f"{cloud}/add/message", {"user_id": "zoe", "messages": [{"content": "x"}]}),
        ("POST", f"{cloud}/update/memory", {"memory_id": id, "content": "x"}),
        ("POST", f"{cloud}/update/memory", {"memory_id": id, "status": "deleted"}),
        ("PUT", f"/memories/zoe/{id}", {"memory": "x"}),
        ("DELETE", f"/memories/zoe/{id}", None),
        ("DELETE", "/memories/zoe", None),
        ("POST", "/mem_cubes/zoe/share", {"target_user_id": "default"}),
        ("DELETE", "/mem_cubes/zoe", None),
        ("POST", "/users", {"user_id": "zoe", "user_name": "Other"}),
        ("POST", "/chat", {"query": "x", "user_id": "zoe"}),
    ):
        answer = server.request(method, path, json=body, headers=reader)
        assert answer.status_code == 403, (path, answer.text)
    told = {"user_id": "new", "query": "x"}
    assert server.post("/product/search", json=told, headers=reader).status_code == 404
    told = {"user_id": "zoe", "query": "x", "readable_cube_ids": ["new"]}
    assert server.post("/product/search", json=told, headers=reader).status_code == 404
    assert texts(server, "zoe", SECRET) == [SECRET]


class Interrupted(ScriptedChat):
    """Something happens after the second event of an answer."""

    def __init__(self, happens: Callable[[], Awaitable[object]]) -> None:
        super().__init__("a long answer in many pieces", pieces=9)
        self._happens = happens

    async def stream(
        self, messages: Sequence[ChatMessage], how: Generation = FREELY
    ) -> AsyncGenerator[ChatEvent, None]:
        count = 0
        async for event in super().stream(messages, how):
            yield event
            count += 1
            if count == 2:
                await self._happens()


@pytest.mark.parametrize(
    "path", ["/product/chat/stream", "/product/chat/stream/playground", f"{OPENMEM[0]}/chat"]
)
def test_a_revoked_key_ends_open_streams(tmp_path: Path, path: str) -> None:
    async def revoke() -> None:
        keys = state.tenants.keys
        for one in await keys.list("local"):
            if one.name == "k":
                await keys.revoke("local", one.id)

    with open_server(tmp_path, chat=Interrupted(revoke)) as client:
        app: Any = client.app
        state = app.state
        body = {"user_id": "zoe", "query": "x", "conversation_id": "c", "stream": True}
        told = events(client.post(path, json=body, headers=key(client)).text)
    assert told[-1]["type"] == "error"
    assert [event["data"] for event in told if event["type"] == "text"] == [
        "a long an",
        "swer in m",
    ]


def test_what_changes_something_is_in_the_audit_log(server: TestClient) -> None:
    cloud = OPENMEM[1]
    said = [{"role": "user", "content": SECRET}]
    body = {"messages": said, "user_id": "zoe", "agent_id": "chef"}
    id = server.post(f"{cloud}/add/message", json=body).json()["data"]["task_id"]
    server.post("/product/search/memory", json={"user_id": "zoe", "query": SECRET})
    server.post("/product/search", json={"user_id": "zoe", "query": SECRET})
    server.post(f"{cloud}/update/memory", json={"memory_id": id, "title": "x"})
    server.post("/product/add", json={"user_id": "lin", "messages": "x", "mem_cube_id": "studio"})
    server.post("/product/delete_memory", json={"memory_ids": [id]})
    server.get("/memories", params={"user_id": "zoe"})
    server.delete("/memories/studio")
    server.post("/product/feedback", json={})
    reader = key(server, scopes=["read"])
    server.post("/memories", json={"user_id": "zoe", "memory_content": "x"}, headers=reader)
    told = server.get("/v1/audit")
    assert SECRET not in told.text
    noted = [
        (one["action"], one["user"], one["cubes"], one["target"], one["status"])
        for one in told.json()["items"]
    ]
    assert [one for one in noted if one[0] != "accounts.create_key"][::-1] == [
        ("openmem.add_message", "zoe", ["zoe"], None, 200),
        ("openmem.update_memory", "zoe", ["zoe"], id, 200),
        ("product.add", "lin", ["studio"], None, 200),
        ("product.delete", "zoe", ["zoe"], id, 200),
        ("start.delete_all", "lin", ["studio"], None, 200),
        ("start.add", "zoe", ["zoe"], None, 403),
    ]
