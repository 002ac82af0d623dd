"""Nobody reads or writes another tenant's memory by any route of the document."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from tests.serving import in_process

from memos.testing.fakes import ScriptedChat

DOCUMENT = json.loads(
    (Path(__file__).parents[2] / "docs" / "openapi.json").read_text(encoding="utf-8")
)
CANARY = "zyx-canary-42"
OPEN = {"server.health", "server.ready"}


@dataclass(frozen=True)
class Theirs:
    """What another tenant has."""

    memory: str
    cube: str
    user: str
    key: str
    archive: bytes


def key_of(client: TestClient, account: str, **more: Any) -> dict[str, str]:
    """Return the header of a key for an account, with every scope."""
    app = client.app
    assert isinstance(app, FastAPI)
    assert client.portal is not None
    create = partial(
        app.state.tenants.keys.create, account, "k", scopes=["read", "write", "admin"], **more
    )
    return {"Authorization": f"Bearer {client.portal.call(create).token}"}


@pytest.fixture
def client(tmp_path: Path) -> Generator[TestClient]:
    with in_process(tmp_path, chat=ScriptedChat(*["Noted."] * 50), burst=100_000) as client:
        yield client


@pytest.fixture
def theirs(client: TestClient) -> Theirs:
    client.post("/v1/cubes", json={"id": f"{CANARY}-cube", "user": f"{CANARY}-user"})
    item = {"id": f"{CANARY}-memory", "memory": f"{CANARY} has a secret"}
    body = {"items": [item], "user": f"{CANARY}-user", "cube": f"{CANARY}-cube"}
    assert client.post("/v1/memories", json=body).status_code == 201
    key = client.post("/v1/keys", json={"name": f"{CANARY}-key"}).json()["key"]["id"]
    cube = f"/v1/cubes/{CANARY}-cube"
    archive = client.get(f"{cube}/export", params={"user": f"{CANARY}-user"}).content
    return Theirs(f"{CANARY}-memory", f"{CANARY}-cube", f"{CANARY}-user", key, archive)


def state(client: TestClient, theirs: Theirs) -> list[Any]:
    """Return all that a tenant can see of its own."""
    who = {"user": theirs.user}
    return [
        client.get("/v1/memories", params={**who, "limit": 1000}).json(),
        client.get(f"/v1/memories/{theirs.memory}/history", params=who).json(),
        client.get("/v1/cubes", params=who).json(),
        client.get("/v1/cubes", params={**who, "unregistered": True}).json(),
        client.get(f"/v1/cubes/{theirs.cube}/grants", params=who).json(),
        client.get("/v1/users").json(),
        [{**key, "last_used_at": None} for key in client.get("/v1/keys").json()["keys"]],
        client.get("/v1/audit").json(),
        client.get("/v1/stats", params={**who, "cube": theirs.cube}).json(),
    ]


Requests = dict[str, Callable[[Theirs], dict[str, Any]]]
PLAIN: Callable[[Theirs], dict[str, Any]] = lambda _: {}  # noqa: E731
REQUESTS: Requests = {
    "memories.add": lambda t: {"json": {"text": "mine", "cube": t.cube}},
    "memories.add_many": lambda t: {"json": {"adds": [{"text": "mine", "cube": t.cube}]}},
    "memories.listing": lambda t: {"params": {"cube": t.cube}},
    "memories.query": lambda t: {"json": {"cubes": [t.cube], "where": {"id": t.memory}}},
    "memories.history": lambda t: {"params": {"cube": t.cube}},
    "memories.get": PLAIN,
    "memories.update": lambda t: {"json": {"text": "mine", "cube": t.cube}},
    "memories.delete": lambda t: {"params": {"cube": t.cube, "erase": True}},
    "memories.forget": lambda t: {"json": {"ids": [t.memory], "mode": "erase"}},
    "memories.search": lambda t: {"json": {"query": CANARY, "cubes": [t.cube]}},
    "memories.stats": lambda t: {"params": {"cube": t.cube}},
    "chat.chat": lambda t: {"json": {"query": CANARY, "cubes": [t.cube]}},
    "chat.stream": lambda t: {"json": {"query": CANARY, "cube": t.cube}},
    "chat.usage": lambda t: {"params": {"cube": t.cube}},
    "feedback.give": lambda t: {"json": {"text": "x", "memories": [t.memory], "cube": t.cube}},
    "cubes.create": lambda t: {"json": {"id": "mine"}},
    "cubes.listing": lambda t: {"params": {"unregistered": True}},
    "cubes.get": PLAIN,
    "cubes.rename": lambda t: {"json": {"name": "mine"}},
    "cubes.grants": PLAIN,
    "cubes.share": lambda t: {"json": {"access": "write"}},
    "cubes.revoke": PLAIN,
    "cubes.transfer": lambda t: {"json": {"to": "default"}},
    "cubes.unregister": PLAIN,
    "cubes.register": PLAIN,
    "transfers.export": PLAIN,
    "transfers.import_into": lambda t: {"content": b"no archive"},
    "transfers.import_cube": lambda t: {"content": b"no archive"},
    "transfers.import_chats": lambda t: {
        "files": {"file": ("a.json", b'[{"role": "user", "content": "x"}]')},
        "params": {"cube": t.cube},
    },
    "transfers.import_files": lambda t: {
        "files": [("files", ("a.txt", b"x"))],
        "data": {"options": json.dumps({"cube": t.cube})},
    },
    "accounts.create_user": lambda t: {"json": {"id": "mine"}},
    "accounts.list_users": PLAIN,
    "accounts.get_user": PLAIN,
    "accounts.ensure_user": PLAIN,
    "accounts.change_user": lambda t: {"json": {"active": False}},
    "accounts.create_key": lambda t: {"json": {"name": "k", "cubes": [t.cube]}},
    "accounts.list_keys": PLAIN,
    "accounts.rotate_key": PLAIN,
    "accounts.revoke_key": PLAIN,
    "audit.listing": lambda t: {"params": {"cube": t.cube}},
    "server.metrics": PLAIN,
}
MINE = {
    # what makes or shows something of the caller's own account, whatever it is called
    "cubes.create", "cubes.listing", "accounts.create_user", "accounts.list_users",
    "accounts.ensure_user", "accounts.change_user", "accounts.create_key",
    "accounts.list_keys", "audit.listing",
}  # fmt: skip


def operations() -> Generator[tuple[str, str, str]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            if operation["operationId"] not in OPEN:
                yield operation["operationId"], method, path


def filled(path: str, operation: str, theirs: Theirs) -> str:
    resource = operation.partition(".")[0]
    ids = {"memories": theirs.memory, "cubes": theirs.cube, "transfers": theirs.cube}
    id = ids.get(resource) or (theirs.key if "key" in operation else theirs.user)
    return path.replace("{id}", id).replace("{to}", "default").replace("{of}", theirs.user)


def test_every_operation_is_tried() -> None:
    assert {operation for operation, _, _ in operations()} == set(REQUESTS)


def test_a_rival_gets_nothing_by_any_route(client: TestClient, theirs: Theirs) -> None:
    rival = key_of(client, "rival")
    before = state(client, theirs)
    for operation, method, path in operations():
        answer = client.request(
            method, filled(path, operation, theirs), headers=rival, **REQUESTS[operation](theirs)
        )
        shown = answer.text
        for known in (theirs.memory, theirs.cube, theirs.user, theirs.key):
            # Errors and entries of one's own may say what one asked for, and nothing else.
            shown = shown.replace(known, "")
        assert CANARY not in shown.replace(f'"{CANARY}"', ""), operation
        assert "secret" not in answer.text, operation
        if operation not in MINE:
            fine = answer.status_code in (403, 404, 422)
            assert (
                fine
                or (operation == "memories.add_many" and answer.status_code == 207)
                or (operation == "transfers.import_files" and answer.status_code == 207)
            ), (operation, answer.status_code, answer.text)
    assert state(client, theirs) == before


def test_the_same_names_are_others_in_another_account(client: TestClient, theirs: Theirs) -> None:
    rival = key_of(client, "rival")
    before = state(client, theirs)
    body = {"id": theirs.cube, "user": theirs.user}
    assert client.post("/v1/cubes", json=body, headers=rival).status_code == 201
    item = {"items": [{"id": theirs.memory, "memory": "mine"}], "user": theirs.user}
    assert client.post("/v1/memories", json=item, headers=rival).status_code == 201
    found = client.post(
        "/v1/search", json={"query": "secret mine", "user": theirs.user}, headers=rival
    )
    assert [hit["memory"]["text"] for hit in found.json()["hits"]] == ["mine"]
    loaded = client.post(
        f"/v1/cubes/{theirs.cube}/import",
        params={"user": theirs.user},
        content=theirs.archive,  # whoever holds an archive may load it, into a cube of its own
        headers=rival,
    )
    assert loaded.status_code == 200
    params = {"user": theirs.user, "cube": theirs.cube, "erase": True}
    erased = client.delete(f"/v1/memories/{theirs.memory}", params=params, headers=rival)
    assert erased.status_code == 200
    assert state(client, theirs) == before


def test_what_exists_elsewhere_is_told_like_what_does_not(
    client: TestClient, theirs: Theirs
) -> None:
    """The same status and words for another tenant's ids as for ids that nobody has."""
    rival = key_of(client, "rival")
    nobody = Theirs("none-memory", "none-cube", "none-user", "0123456789ab", b"")
    for operation, method, path in operations():
        if operation in MINE:
            continue
        answers = []
        for ids in (theirs, nobody):
            answer = client.request(
                method, filled(path, operation, ids), headers=rival, **REQUESTS[operation](ids)
            )
            text = answer.text
            for known, name in (
                (ids.memory, "M"), (ids.cube, "C"), (ids.user, "U"), (ids.key, "K"),
                (answer.headers["x-trace-id"], "T"),
            ):  # fmt: skip
                text = text.replace(known, name)
            answers.append((answer.status_code, text))
        assert answers[0] == answers[1], operation


@pytest.mark.slow
def test_random_calls_keep_within_the_grants(client: TestClient) -> None:
    """Three tenants, their users and cubes, grants that come and go; every hit is checked."""
    rng = random.Random(7)
    tenants, users = ["tenant0", "tenant1", "tenant2"], ["default", "ann", "bob"]
    cubes = ["one", "two"]
    keys = {tenant: key_of(client, tenant) for tenant in tenants}
    granted: dict[tuple[str, str, str], str] = {}
    for tenant in tenants:
        for user in users:
            client.get("/v1/cubes", params={"user": user}, headers=keys[tenant])
            granted[tenant, user, user] = "write"
        for cube in cubes:
            client.post("/v1/cubes", json={"id": cube, "user": "ann"}, headers=keys[tenant])
            granted[tenant, "ann", cube] = "write"
    hits = 0
    for _ in range(1500):
        tenant, user = rng.choice(tenants), rng.choice(users)
        cube = rng.choice([*cubes, *users])
        headers, held = keys[tenant], granted.get((tenant, user, cube))
        match rng.randrange(4):
            case 0:
                body = {"text": f"kiln of {tenant} in {cube}", "user": user, "cube": cube}
                answer = client.post("/v1/memories", json=body, headers=headers)
                wanted = {"write": 201, "read": 403, None: 404}[held]
                assert answer.status_code == wanted, (tenant, user, cube, answer.text)
            case 1:
                asked = {"query": "kiln", "user": user}
                found = client.post("/v1/search", json=asked, headers=headers).json()["hits"]
                for hit in found:
                    place = hit["memory"]["place"]
                    assert place["account"] == tenant
                    assert (tenant, user, place["cube"]) in granted
                    assert tenant in hit["memory"]["text"]
                hits += len(found)
            case 2 if user != "ann":
                shared = rng.choice(cubes)
                access = rng.choice(["read", "write"])
                path = f"/v1/cubes/{shared}/grants/{user}"
                answer = client.put(path, json={"access": access, "user": "ann"}, headers=headers)
                assert answer.status_code == 200
                granted[tenant, user, shared] = access
            case 3 if user != "ann":
                shared = rng.choice(cubes)
                path = f"/v1/cubes/{shared}/grants/{user}"
                answer = client.delete(path, params={"user": "ann"}, headers=headers)
                assert answer.status_code == 204
                granted.pop((tenant, user, shared), None)
            case _:
                pass
    assert hits > 500
