"""Batches, filters, repeated calls and entity tags over HTTP."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from tests.serving import in_process

from memos.errors import StoreError
from memos.server.problems import of_error
from memos.server.schemas import AddedManyOut, PageOut


@pytest.fixture
def client(tmp_path: Path) -> Generator[TestClient]:
    with in_process(tmp_path) as client:
        yield client


def test_many_adds_in_one_call(client: TestClient) -> None:
    body = {
        "user": "zoe",
        "adds": [
            {"text": "The kiln is hot."},
            {"text": " "},
            {"messages": [{"role": "user", "content": "窑在周五到。"}], "session": "s"},
            {"text": "x", "cube": "somebody else's"},
        ],
    }
    answer = client.post("/v1/memories/batch", json=body, headers={"Idempotency-Key": "b1"})
    assert answer.status_code == 207
    results = AddedManyOut.model_validate(answer.json()).results
    assert [result.problem and result.problem.code for result in results] == [
        None, "empty", None, "unknown_cube",
    ]  # fmt: skip
    assert results[0].stored == [True]
    again = client.post("/v1/memories/batch", json=body, headers={"Idempotency-Key": "b1"})
    assert again.json()["results"][0] == {"ids": results[0].ids, "stored": [False]}
    assert len(client.get("/v1/memories", params={"user": "zoe"}).json()["items"]) == 2
    fine = client.post("/v1/memories/batch", json={"adds": [{"text": "a"}, {"text": "b"}]})
    assert fine.status_code == 201


def test_a_filter_selects_what_is_listed(client: TestClient) -> None:
    for number in range(5):
        text = {"text": f"note {number}", "tags": ["even" if number % 2 == 0 else "odd"]}
        assert client.post("/v1/memories", json=text).status_code == 201
    asked = {"where": {"tags": {"contains": "even"}}, "limit": 2}
    first = PageOut.model_validate(client.post("/v1/memories/query", json=asked).json())
    assert [memory.text for memory in first.items] == ["note 0", "note 2"]
    rest = client.post("/v1/memories/query", json={**asked, "cursor": first.next}).json()
    assert ([memory["text"] for memory in rest["items"]], rest["next"]) == (["note 4"], None)
    past = client.post("/v1/memories/query", json={"as_of": "2001-01-01T00:00:00Z"}).json()
    assert past["items"] == []


def test_an_update_that_is_repeated_happens_once(client: TestClient) -> None:
    (id,) = client.post("/v1/memories", json={"text": "one"}).json()["ids"]
    path, key = f"/v1/memories/{id}", {"Idempotency-Key": "u1", "If-Match": '"1"'}
    changed = client.patch(path, json={"text": "two"}, headers=key)
    again = client.patch(path, json={"text": "two"}, headers=key)
    assert (changed.status_code, again.status_code) == (200, 200)
    assert changed.json() == again.json()
    other = client.patch(path, json={"text": "three"}, headers={**key, "Idempotency-Key": "u2"})
    assert (other.status_code, other.json()["code"]) == (412, "version_moved")
    by_body = client.patch(path, json={"text": "three", "expect": 1})
    assert (by_body.status_code, by_body.json()["code"]) == (409, "version_moved")


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ('"1"', 200),
        ("*", 200),
        ('"7", "1"', 200),
        ('"7", W/"1"', 412),
        ('W/"1"', 412),
        ('"7"', 412),
        ('"none"', 412),
        ("1", 422),
        ("", 422),
    ],
)
def test_if_match(client: TestClient, header: str, status: int) -> None:
    (id,) = client.post("/v1/memories", json={"text": "one"}).json()["ids"]
    answer = client.patch(f"/v1/memories/{id}", json={"text": "two"}, headers={"If-Match": header})
    assert answer.status_code == status


def test_if_none_match_and_retiring(client: TestClient) -> None:
    (id,) = client.post("/v1/memories", json={"text": "one"}).json()["ids"]
    path = f"/v1/memories/{id}"
    tag = client.get(path).headers["etag"]
    for header, status in ((tag, 304), (f'"9", W/{tag}', 304), ("*", 304), ('"9"', 200)):
        assert client.get(path, headers={"If-None-Match": header}).status_code == status
    client.delete(path)
    retired = client.get(path, headers={"If-None-Match": tag})
    assert (retired.status_code, retired.json()["status"]) == (200, "archived")


def test_ids_with_slashes_are_reached(client: TestClient) -> None:
    items = [{"id": "2026/11/25", "memory": "the kiln"}]
    assert client.post("/v1/memories", json={"items": items}).json()["ids"] == ["2026/11/25"]
    for path in ("/v1/memories/2026/11/25", "/v1/memories/2026%2F11%2F25"):
        assert client.get(path).json()["text"] == "the kiln"
        assert len(client.get(f"{path}/history").json()["versions"]) == 1
    assert client.delete("/v1/memories/2026%2F11%2F25").json()["ids"] == ["2026/11/25"]


def test_feedback_is_stored_and_goes_with_its_memory(client: TestClient) -> None:
    (id,) = client.post("/v1/memories", json={"text": "The kiln is hot."}).json()["ids"]
    body = {"text": "It is cold by now.", "memories": [id], "session": "s"}
    first = client.post("/v1/feedback", json=body, headers={"Idempotency-Key": "f"})
    assert (first.status_code, first.json()["status"]) == (202, "stored")
    again = client.post("/v1/feedback", json=body, headers={"Idempotency-Key": "f"})
    assert again.json() == first.json()
    other = client.post("/v1/feedback", json=body)
    assert other.json()["id"] != first.json()["id"]
    assert 'memos_queue_jobs{label="feedback",state="waiting"} 2.0' in client.get("/metrics").text
    for bad, status, code in (
        ({"text": " "}, 422, "empty"),
        ({"text": "x", "memories": ["none"]}, 404, "unknown_memory"),
        ({"text": "x", "cube": "other"}, 404, "unknown_cube"),
        ({"text": "x", "user": "zoe", "memories": [id]}, 404, "unknown_memory"),
    ):
        answer = client.post("/v1/feedback", json=bad)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    client.delete(f"/v1/memories/{id}", params={"erase": True})
    assert 'memos_queue_jobs{state="waiting"} 0.0' in client.get("/metrics").text


def test_making_users_cubes_and_keys_again_is_harmless(client: TestClient) -> None:
    for path, body, other in (
        ("/v1/users", {"id": "ann", "name": "Ann"}, {"id": "ann", "name": "Anna"}),
        ("/v1/cubes", {"id": "studio", "user": "zoe"}, {"id": "studio", "user": "lin"}),
        ("/v1/keys", {"name": "k", "scopes": ["read"]}, {"name": "k", "scopes": ["write"]}),
    ):
        headers = {"Idempotency-Key": "one"}
        first = client.post(path, json=body, headers=headers)
        again = client.post(path, json=body, headers=headers)
        assert (first.status_code, again.status_code) == (201, 201), again.text
        assert again.json() == first.json()
        changed = client.post(path, json=other, headers=headers)
        assert (changed.status_code, changed.json()["code"]) == (409, "idempotency_key"), path
        if path != "/v1/keys":
            for fresh in ({}, {"Idempotency-Key": "two"}):
                assert client.post(path, json=body, headers=fresh).status_code == 409
    keys = client.get("/v1/keys").json()["keys"]
    assert [key["name"] for key in keys].count("k") == 1


def test_a_call_that_failed_is_not_remembered(client: TestClient) -> None:
    client.put("/v1/users/ann")
    headers = {"Idempotency-Key": "one"}
    body = {"id": "studio", "user": "ann"}
    assert client.post("/v1/cubes", json={"id": "studio"}).status_code == 201
    for _ in range(2):
        assert client.post("/v1/cubes", json=body, headers=headers).status_code == 409
    assert client.post("/v1/cubes", json={**body, "id": "x"}, headers=headers).status_code == 201


def test_nobody_repeats_the_call_of_another_key(client: TestClient) -> None:
    body = {"name": "k", "scopes": ["read", "admin"]}
    mine = client.post("/v1/keys", json=body, headers={"Idempotency-Key": "one"}).json()
    other = {"Authorization": f"Bearer {mine['token']}", "Idempotency-Key": "one"}
    theirs = client.post("/v1/keys", json=body, headers=other).json()
    assert theirs["key"]["id"] != mine["key"]["id"]
    assert theirs["token"] != mine["token"]
    client.delete(f"/v1/keys/{mine['key']['id']}")
    late = client.post("/v1/keys", json=body, headers={"Idempotency-Key": "one"})
    assert (late.status_code, late.json()["code"]) == (409, "idempotency_key")


def test_who_is_refused_for_now_is_told_when_to_come_back(tmp_path: Path) -> None:
    with in_process(tmp_path, requests_per_minute=1, burst=2) as client:
        answers = [client.get("/v1/cubes") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert 1 <= int(answers[-1].headers["Retry-After"]) <= 60
        dialect = client.post("/product/search", json={"user_id": "zoe", "query": "x"})
        assert dialect.status_code == 429
        assert int(dialect.headers["Retry-After"]) >= 1
    busy = StoreError("held by another", service="sqlite", retryable=True, code="busy")
    assert of_error(busy).headers["Retry-After"] == "1"
    full = StoreError("no such directory", service="sqlite", code="cannot_open")
    assert "Retry-After" not in of_error(full).headers
