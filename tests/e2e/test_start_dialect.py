"""The start dialect of MemOS: the routes of its first server."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from tests.dialects import open_server

from memos.testing.fakes import ScriptedChat


@pytest.fixture
def client(tmp_path: Path) -> Generator[TestClient]:
    with open_server(tmp_path, chat=ScriptedChat("Peanuts.")) as client:
        yield client


def test_a_session_with_the_first_server(client: TestClient) -> None:
    made = client.post("/users", json={"user_id": "zoe", "user_name": "Zoe"})
    assert made.json() == {
        "code": 200, "message": "User created successfully", "data": {"user_id": "zoe"},
    }  # fmt: skip
    cube = client.post("/mem_cubes", json={"mem_cube_name_or_path": "studio", "user_id": "zoe"})
    assert (cube.json()["code"], cube.json()["data"]) == (200, None)
    body = {
        "messages": [{"role": "user", "content": "The kiln is hot."}],
        "mem_cube_id": "studio", "user_id": "zoe",
    }  # fmt: skip
    added = client.post("/memories", json=body).json()
    assert (added["message"], added["data"]) == ("Memories added successfully", None)
    client.post("/memories", json={"memory_content": "我对花生过敏。", "user_id": "zoe"})
    every = client.get("/memories", params={"user_id": "zoe"}).json()["data"]
    assert {part["cube_id"] for part in every["text_mem"]} == {"studio", "zoe"}
    assert (every["act_mem"], every["para_mem"]) == ([], [])
    of_cube = client.get("/memories", params={"mem_cube_id": "studio"}).json()["data"]
    (memory,) = of_cube["text_mem"][0]["memories"]
    place = f"/memories/studio/{memory['id']}"
    assert client.get(place).json()["data"]["memory"] == "The kiln is hot."
    change = {"memory": "The kiln is cold.", "metadata": {"key": "kiln", "tags": ["clay"]}}
    assert client.put(place, json=change).json()["data"] is None
    held = client.get(place, params={"user_id": "zoe"}).json()["data"]
    assert (held["memory"], held["metadata"]["key"], held["metadata"]["tags"]) == (
        "The kiln is cold.", "kiln", ["clay"],
    )  # fmt: skip
    asked = {"query": "kiln", "install_cube_ids": ["studio"], "user_id": "zoe"}
    found = client.post("/search", json=asked).json()["data"]
    assert found["text_mem"][0]["memories"][0]["memory"] == "The kiln is cold."
    assert client.post("/chat", json={"query": "nuts?", "user_id": "zoe"}).json()["data"] == (
        "Peanuts."
    )
    assert client.delete(place).json()["data"] is None
    assert client.get(place).status_code == 404
    assert client.delete("/memories/zoe", params={"user_id": "zoe"}).json()["data"] is None
    left = client.get("/memories", params={"user_id": "zoe"}).json()["data"]["text_mem"]
    assert [part["memories"] for part in left] == [[], []]


def test_cubes_are_shared_and_put_away(client: TestClient) -> None:
    client.post("/users", json={"user_id": "lin"})
    client.post("/mem_cubes", json={"mem_cube_name_or_path": "studio", "user_id": "zoe"})
    client.post("/memories", json={
        "memory_content": "hot", "mem_cube_id": "studio", "user_id": "zoe",
    })  # fmt: skip
    asked = {"query": "hot", "install_cube_ids": ["studio"], "user_id": "lin"}
    assert client.post("/search", json=asked).status_code == 404
    foreign = {"target_user_id": "lin", "user_id": "lin"}
    assert client.post("/mem_cubes/studio/share", json=foreign).status_code == 404
    shared = client.post("/mem_cubes/studio/share", json={"target_user_id": "lin"})
    assert (shared.status_code, shared.json()["data"]) == (200, None)
    assert client.post("/search", json=asked).status_code == 200
    me = client.get("/users/me", params={"user_id": "lin"}).json()["data"]
    assert {cube["cube_id"] for cube in me["accessible_cubes"]} == {"lin", "studio"}
    assert client.delete("/mem_cubes/studio", params={"user_id": "lin"}).status_code == 403
    assert client.delete("/mem_cubes/studio", params={"user_id": "zoe"}).status_code == 200
    assert client.post("/search", json=asked).status_code == 404
    assert client.get("/memories/studio/x").status_code == 404
    assert client.delete("/memories/nowhere").status_code == 404
    ids = {user["user_id"] for user in client.get("/users").json()["data"]}
    assert ids == {"default", "zoe", "lin"}


def test_who_names_nobody_is_the_default_user(client: TestClient) -> None:
    client.post("/memories", json={"memory_content": "tea"})
    (part,) = client.get("/memories").json()["data"]["text_mem"]
    assert (part["cube_id"], part["memories"][0]["memory"]) == ("default", "tea")
    assert client.get("/users/me").json()["data"]["role"] == "ROOT"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/configure", {}, 501),
        ("POST", "/users", {"user_id": "x", "role": "king"}, 400),
        ("POST", "/users", {"user_id": "a/b"}, 400),
        ("POST", "/users", {}, 422),
        ("POST", "/mem_cubes", {"mem_cube_name_or_path": "/etc"}, 400),
        ("POST", "/memories", {"doc_path": "/etc/passwd"}, 400),
        ("POST", "/memories", {}, 400),
        ("PUT", "/memories/default/x", {}, 404),
        ("PUT", "/memories/default/x", {"metadata": 1}, 400),
        ("POST", "/search", {"query": " "}, 400),
        ("GET", "/memories/default", None, 405),
        ("POST", "/mem_cubes/nowhere/share", {"target_user_id": "zoe"}, 404),
    ],
)
def test_failures_have_the_envelope_and_a_status(
    client: TestClient, method: str, path: str, body: object, status: int
) -> None:
    answer = client.request(method, path, json=body)
    assert answer.status_code == status, answer.text
    assert (answer.json()["code"], answer.json()["data"]) == (status, None)
