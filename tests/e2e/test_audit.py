"""The audit log: who did what to which cube, and never what was said."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Generator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from fastapi import Response
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from tests.serving import MEMOS, in_process

from memos.errors import Forbidden
from memos.ports.backend import Opened
from memos.ports.stores import AccountStore
from memos.server.audited import Audited, reads
from memos.server.compat.routers import DIALECT_ROUTERS
from memos.server.deps import Visiting, native
from memos.server.routes import ROUTERS
from memos.testing.fakes import ManualClock
from memos.types import AuditEntry, User
from memos.users.access import Gate, Limits
from memos.users.audit import Audit, Deed

START = datetime(2026, 5, 20, 23, 59, 58, tzinfo=UTC)
SECRET = "zyx-canary-42"


@pytest.fixture
def client(tmp_path: Path) -> Generator[TestClient]:
    with in_process(tmp_path / "home") as client:
        yield client


def deeds(client: TestClient, **params: Any) -> list[tuple[str, str | None, list[str], int]]:
    answer = client.get("/v1/audit", params=params)
    assert answer.status_code == 200, answer.text
    assert SECRET not in answer.text
    return [
        (entry["action"], entry["user"], entry["cubes"], entry["status"])
        for entry in answer.json()["items"]
    ]


def key_for(client: TestClient, **body: object) -> tuple[str, dict[str, str]]:
    made = client.post("/v1/keys", json={"name": "k", **body}).json()
    return made["key"]["id"], {"Authorization": f"Bearer {made['token']}"}


def test_what_changes_something_is_noted(client: TestClient) -> None:
    body = {"text": SECRET, "user": "zoe", "session": SECRET}
    (id,) = client.post("/v1/memories", json=body).json()["ids"]
    client.post("/v1/search", json={"query": SECRET, "user": "zoe"})
    client.get(f"/v1/memories/{id}", params={"user": "zoe"})
    client.patch(f"/v1/memories/{id}", json={"text": SECRET + "2", "user": "zoe"})
    client.post("/v1/cubes", json={"id": "studio", "user": "zoe"})
    client.get("/v1/cubes", params={"user": "lin"})
    client.put("/v1/cubes/studio/grants/lin", json={"user": "zoe"})
    client.get("/v1/cubes/studio/export", params={"user": "lin"})
    refused = client.post("/v1/memories", json={**body, "user": "lin", "cube": "studio"})
    assert refused.status_code == 403
    client.post("/v1/memories", json={"wrong": SECRET})
    client.delete(f"/v1/memories/{id}", params={"user": "zoe", "erase": "true"})
    assert deeds(client) == [
        ("memories.delete", "zoe", ["zoe"], 200),
        ("memories.add", "lin", ["studio"], 403),
        ("transfers.export", "lin", ["studio"], 200),
        ("cubes.share", "zoe", ["studio"], 200),
        ("cubes.create", "zoe", ["studio"], 201),
        ("memories.update", "zoe", ["zoe"], 200),
        ("memories.add", "zoe", ["zoe"], 201),
    ]
    assert {action for action, *_ in deeds(client, of="zoe", cube="studio")} == {
        "cubes.share", "cubes.create",
    }  # fmt: skip
    first = client.get("/v1/audit", params={"limit": 2}).json()
    assert first["items"][0]["target"] == id
    rest = deeds(client, limit=100, cursor=first["next"])
    assert len(rest) == 5
    assert deeds(client, since="2999-01-01") == []


def test_who_may_read_it(client: TestClient) -> None:
    client.post("/v1/memories", json={"text": "x", "user": "zoe"})
    client.post("/v1/cubes", json={"id": "one"})
    id, one = key_for(client, scopes=["read", "write", "admin"], cubes=["one"])
    client.post("/v1/memories", json={"text": "x", "cube": "one"}, headers=one)
    seen = client.get("/v1/audit", headers=one).json()["items"]
    assert [(entry["action"], entry["key"]) for entry in seen if entry["cubes"]] == [
        ("memories.add", id), ("cubes.create", seen[-1]["key"]),
    ]  # fmt: skip
    _, writer = key_for(client)
    assert client.get("/v1/audit", headers=writer).json()["code"] == "key_scope"
    _, zoe = key_for(client, scopes=["read", "admin"], user="zoe")
    assert client.get("/v1/audit", headers=zoe).json()["code"] == "role"
    assert client.get("/v1/audit", headers={"Authorization": "Bearer x"}).status_code == 401


def test_the_operator_reads_it_too(client: TestClient, tmp_path: Path) -> None:
    client.post("/v1/memories", json={"text": SECRET, "user": "zoe"})
    command = [MEMOS, "audit", "--of", "zoe", "--days", "1", "--home", str(tmp_path / "home")]
    told = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    assert [entry["action"] for entry in json.loads(told.stdout)["items"]] == ["memories.add"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "memories.add" in shown
    assert SECRET not in shown


async def noted(store: AccountStore, account: str) -> list[AuditEntry]:
    return await store.list_entries(AuditEntry, account)


@pytest.mark.anyio
async def test_pages_days_accounts_and_an_end(opened: Opened) -> None:
    store, clock, numbers = opened.accounts, ManualClock(START), itertools.count()
    assert store is not None
    audit = Audit(store, clock, lambda: f"{next(numbers):06}", keep_days=10)
    for account in ("acme", "rival"):
        await store.put_entry(User("ann", account, "Ann", START, role="ROOT"), expect=0)
        await store.put_entry(User("bob", account, "Bob", START), expect=0)
    for number in range(10):
        clock.time = START + timedelta(days=number // 4, seconds=number)
        cubes = ("a",) if number % 2 else ()
        await audit.note("acme", Deed(f"do.{number}", "ann", None, cubes, None, 200))
    await audit.note("rival", Deed("do.other", "ann", None, (), None, 200))
    gate = Gate(store, "acme")
    told: list[str] = []
    cursor = None
    while True:
        page = await audit.entries(gate, "ann", limit=3, cursor=cursor)
        told += [entry.action for entry in page.items]
        cursor = page.next
        if cursor is None:
            break
    assert told == [f"do.{number}" for number in reversed(range(10))]
    limited = Gate(store, "acme", Limits(cubes=frozenset({"b"})))
    assert len((await audit.entries(limited, "ann")).items) == 5
    recent = await audit.entries(gate, "ann", since=START + timedelta(days=2))
    assert [entry.action for entry in recent.items] == ["do.9", "do.8"]
    with pytest.raises(Forbidden):
        await audit.entries(gate, "bob")
    clock.time = START + timedelta(days=12)
    await audit.note("acme", Deed("do.late", "ann", None, (), None, 200))
    assert [entry.action for entry in await noted(store, "acme")] == [
        "do.4", "do.5", "do.6", "do.7", "do.8", "do.9", "do.late",
    ]  # fmt: skip
    assert len(await noted(store, "rival")) == 1


def test_the_dialects_are_followed_too(client: TestClient) -> None:
    message = {"role": "user", "content": SECRET}
    added = client.post(
        "/product/add", json={"user_id": "zoe", "messages": [message], "async_mode": "sync"}
    )
    assert added.status_code == 200, added.text
    id = client.get("/v1/memories", params={"user": "zoe"}).json()["items"][0]["id"]
    client.post("/product/search", json={"user_id": "zoe", "query": SECRET})
    client.post("/product/get_all", json={"user_id": "zoe", "memory_type": "text_mem"})
    client.get(f"/product/get_memory/{id}")
    body = {"user_id": "zoe", "conversation_id": "c", "messages": [message]}
    assert client.post("/api/openmem/v1/add/message", json=body).status_code == 200
    client.post("/product/delete_memory", json={"memory_ids": [id]})
    client.post("/memories", json={"user_id": "zoe", "memory_content": SECRET})
    client.post("/search", json={"user_id": "zoe", "query": SECRET})
    assert deeds(client) == [
        ("start.add", "zoe", ["zoe"], 200),
        ("product.delete", "zoe", ["zoe"], 200),
        ("openmem.add_message", "zoe", ["zoe"], 200),
        ("product.add", "zoe", ["zoe"], 200),
    ]


ASKING = {
    "/v1/search", "/v1/memories/query", "/search", "/product/search", "/product/get_all",
    "/product/get_memory", "/product/get_memory_dashboard", "/product/get_memory_by_ids",
    "/product/get_user_names_by_memory_ids", "/product/exist_mem_cube_id",
    "/product/scheduler/wait", "/search/memory", "/get/memory", "/get/message", "/get/status",
    "/rerank",
}  # fmt: skip
"""What asks by POST and changes nothing. Whatever is not here has to be noted."""


def routes_of(router: Any) -> Iterator[APIRoute]:
    for route in router.routes:
        if isinstance(route, APIRoute):
            yield route
        else:
            yield from routes_of(route.original_router)


def test_every_route_that_may_change_something_is_noted() -> None:
    routes = [route for router in (*ROUTERS, *DIALECT_ROUTERS) for route in routes_of(router)]
    assert len(routes) > 80
    for route in routes:
        if route.methods == {"GET"}:
            taken_out = route.path == "/v1/cubes/{id}/export"
            assert not isinstance(route, Audited) or route.is_noted == taken_out
        else:
            assert isinstance(route, Audited), route.path
    asking = {r.path for r in routes if r.methods != {"GET"} and not cast("Audited", r).is_noted}
    assert asking == ASKING


def test_a_route_that_nobody_marked_is_noted(client: TestClient) -> None:
    """Whatever it is called: the mark is at the route, not in a list of names."""
    router = native("late")

    @router.post("/search-and-change")
    async def search(visit: Visiting) -> Response:
        await visit.acting("zoe")
        return Response(status_code=204)

    @router.post("/only-ask")
    @reads
    async def add(visit: Visiting) -> Response:
        await visit.acting("zoe")
        return Response(status_code=204)

    client.app.include_router(router)  # type: ignore[attr-defined]
    for path in ("/v1/search-and-change", "/v1/only-ask"):
        assert client.post(path).status_code == 204
    assert deeds(client) == [("late.search", "zoe", [], 204)]
