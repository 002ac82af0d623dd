"""The dialects under bad input: every route answers in its envelope, and the server lives."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator
from typing import Any

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from tests.dialects import OPENMEM, add, open_server, texts

from memos.server.compat import chat, openmem, people, product, scheduler, start

DEEP: Any = "x"
for _ in range(200):
    DEEP = {"and": [DEEP]}
ROUTES = [
    (method, f"{prefix}{route.path}")
    for prefix, routers in (
        ("", (product.router, people.router, scheduler.router, chat.product, start.router)),
        (OPENMEM[0], (openmem.router, chat.openmem)),
    )
    for router in routers
    for route in router.routes
    if isinstance(route, APIRoute)
    for method in sorted(route.methods)
]
ODD: list[Any] = [
    None, [], {}, "x", 7, True, [None], [{}], [[]], "a\ud800", float("nan"), -1, 10**30, DEEP,
    "../../etc/passwd", "'; DROP TABLE memories; --", '"* OR NEAR(', "\u0000", "x" * 600,
    {"$ne": None}, {"url": "http://169.254.169.254/"}, "file:///etc/passwd", "\r\nSet-Cookie: a=b",
]  # fmt: skip
FIELDS = (
    "user_id", "query", "messages", "memory_content", "mem_cube_id", "memory_ids", "memory_id",
    "filter", "top_k", "session_id", "conversation_id", "history", "info", "custom_tags", "tags",
    "agent_id", "page", "size", "relativity", "documents", "content", "metadata", "memory",
    "mem_cube_name_or_path", "task_id", "writable_cube_ids", "reference_time", "owner_id",
    "cube_name", "target_user_id", "user_name", "role", "memory_type", "search_memory_type",
)  # fmt: skip
GOOD: dict[str, Any] = {
    "user_id": "zoe", "query": "x", "conversation_id": "c", "cube_name": "c", "owner_id": "zoe",
    "mem_cube_name_or_path": "c", "target_user_id": "lin", "memory_type": "text_mem",
    "documents": ["x"], "task_id": "t",
}  # fmt: skip


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Generator[TestClient]:
    home = tmp_path_factory.mktemp("home")
    with open_server(home, requests_per_minute=10**7, burst=10**6) as client:
        yield client


def send(client: TestClient, method: str, path: str, body: object) -> None:
    content = json.dumps(body).encode("utf-8", "surrogatepass")
    headers = {"Content-Type": "application/json"}
    answer = client.request(method, path, content=content, headers=headers)
    assert answer.status_code < 500 or answer.status_code in (501, 503), (path, body, answer.text)
    if not answer.headers["content-type"].startswith("text/event-stream"):
        assert {"message", "data"} <= set(answer.json()), (path, body, answer.text)


def placed(path: str) -> str:
    for name in ("memory_id", "mem_cube_id", "user_id", "cube_id"):
        path = path.replace(f"{{{name}}}", "..%2F..%2Fetc%2Fpasswd")
    return path


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_odd_bodies_everywhere(client: TestClient, method: str, path: str) -> None:
    for body in ODD:
        send(client, method, placed(path), body)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "path"), [entry for entry in ROUTES if entry[0] != "GET"])
def test_odd_values_everywhere(client: TestClient, method: str, path: str) -> None:
    for field in FIELDS:
        for value in ODD:
            send(client, method, placed(path), {**GOOD, field: value})


@pytest.mark.parametrize("path", ["/product/search", f"{OPENMEM[0]}/search/memory", "/search"])
def test_what_is_no_json(client: TestClient, path: str) -> None:
    for content in (b"", b"{", b"\xff\xfe", b'{"query": "x"' * 1000, b"[" * 100_000, b"query=x"):
        answer = client.post(path, content=content, headers={"Content-Type": "application/json"})
        assert 400 <= answer.status_code < 500
        assert answer.json()["data"] is None


def test_many_first_calls_at_once(client: TestClient) -> None:
    failed: list[str] = []
    together = threading.Barrier(8)

    def first(number: int) -> None:
        together.wait()
        body = {"user_id": "crowd", "messages": f"fact {number}", "mem_cube_id": "square"}
        answer = client.post("/product/add", json=body)
        if answer.status_code != 200:
            failed.append(answer.text)

    threads = [threading.Thread(target=first, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    found = texts(client, "crowd", "fact", relativity=0, mem_cube_id="square")
    assert sorted(found) == [f"fact {number}" for number in range(8)]
    assert add(client, "crowd", "one more")
