"""Batches, filters, repeated calls and entity tags over HTTP."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from tests.serving import in_process

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
    assert 'memos_queue_jobs{state="waiting"} 2.0' in client.get("/metrics").text
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
