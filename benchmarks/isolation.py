"""Random calls of many tenants over every dialect, checked against who may do what.

Every memory carries a mark that names its account and cube. Users and cubes are called alike in
every account, so that whoever forgets the account finds somebody else's. After each call: no
answer holds a mark of a cube that the caller may not read, nothing succeeds that was not allowed,
nothing fails that was. In the end every cube holds what was written into it by those who might.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import httpx
from fastapi.testclient import TestClient

from benchmarks.corpus import HashEmbedder
from memos.server.app import create_app
from memos.settings import Settings
from memos.users.keys import new_token

Need = Literal["read", "write", "own"]
_MARK = re.compile(r"mark(\d+)q([a-z]+\d+)q(\d+)q")
_UNAUTHENTICATED = 401
_FAILED = 400
_BROKEN = 500
_OPENMEM = ("/api/openmem/v1", "/platform/api/openmem/v1", "/product")


class BrokenIsolation(AssertionError):
    """Somebody read or wrote what was not theirs, or could not do what they might."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to try."""

    calls: int
    accounts: int = 5
    users: int = 10
    cubes: int = 40
    seed: int = 1


class Held(NamedTuple):
    """A memory that somebody wrote: its mark says where."""

    account: int
    cube: str
    id: str


class Call(NamedTuple):
    """One request, what it is about, and what it takes."""

    name: str
    method: str
    path: str
    need: Need
    cubes: tuple[str, ...]
    body: Mapping[str, object] | None = None
    params: Mapping[str, str] | None = None
    held: Held | None = None
    wrote: str | None = None


@dataclass
class Tenant:
    """One account as it should be."""

    number: int
    root: str
    owners: dict[str, str] = field(default_factory=dict[str, str])
    grants: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    keys: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    revoked: list[str] = field(default_factory=list[str])

    def may(self, user: str, cube: str, need: Need) -> bool:
        """Whether a user may do what a call needs."""
        owner = self.owners.get(cube) == user
        held = "write" if owner else self.grants.get((user, cube))
        if need == "own":
            return owner
        return held == "write" or (need == "read" and held == "read")


@dataclass
class World:
    """Everything that should be true, and the server of which it should be."""

    plan: Plan
    client: TestClient
    dice: random.Random
    tenants: list[Tenant] = field(default_factory=list[Tenant])
    memories: list[Held] = field(default_factory=list[Held])
    jobs: list[Held] = field(default_factory=list[Held])
    written: set[str] = field(default_factory=set[str])
    counted: Counter[str] = field(default_factory=Counter[str])
    numbers: int = 0

    def mark(self, account: int, cube: str) -> str:
        """Return a text that says where it belongs."""
        self.numbers += 1
        return f"mark{account}q{cube}q{self.numbers}q is about tea, kites and harbours"


def run(plan: Plan, home: Path, advance: Callable[[], None] = lambda: None) -> Counter[str]:
    """Make the calls, and return how many of each kind were allowed and refused.

    Raises:
        BrokenIsolation: Naming the call.
    """
    with _served(plan, home) as world:
        for _ in range(plan.calls):
            _step(world)
            advance()
        for tenant in world.tenants:
            _await_jobs(world, tenant)
            _check_cubes(world, tenant)
        return world.counted


@contextmanager
def _served(plan: Plan, home: Path) -> Iterator[World]:
    server = {"open_loopback": False, "requests_per_minute": 10**6, "burst": 10**6}
    settings = Settings.model_validate({"home": home, "server": server})
    app = create_app(settings, embedder=HashEmbedder())
    with TestClient(app, raise_server_exceptions=False) as client:
        world = World(plan, client, random.Random(plan.seed))
        for number in range(plan.accounts):
            token = new_token()
            client.portal.call(app.state.tenants.keys.adopt, f"account-{number}", token, "root")
            world.tenants.append(_settled(world, Tenant(number, token)))
        yield world


def _settled(world: World, tenant: Tenant) -> Tenant:
    """Make the users, cubes, keys and first memories of an account."""
    users = [f"u{number}" for number in range(world.plan.users)]
    for user in users:
        _send(world, tenant.root, "POST", "/v1/users", {"id": user})
        _new_key(world, tenant, user)
        tenant.owners[user] = user
    for number in range(world.plan.cubes - len(users)):
        cube, owner = f"c{number}", world.dice.choice(users)
        _send(world, tenant.root, "POST", "/v1/cubes", {"id": cube, "user": owner})
        tenant.owners[cube] = owner
    for cube, owner in tenant.owners.items():
        text = world.mark(tenant.number, cube)
        body = {"text": text, "user": owner, "cube": cube}
        (id,) = _send(world, tenant.root, "POST", "/v1/memories", body).json()["ids"]
        world.memories.append(Held(tenant.number, cube, id))
        world.written.add(text.split()[0])
    return tenant


def _new_key(world: World, tenant: Tenant, user: str) -> None:
    body = {"name": user, "user": user, "scopes": ["read", "write", "admin"]}
    made = _send(world, tenant.root, "POST", "/v1/keys", body).json()
    tenant.keys[user] = (made["token"], made["key"]["id"])


def _send(
    world: World, token: str, method: str, path: str, body: Mapping[str, object] | None = None
) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"}
    answer = world.client.request(method, path, json=body, headers=headers)
    if answer.status_code >= _FAILED:
        raise BrokenIsolation(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
    return answer


def _step(world: World) -> None:
    dice = world.dice
    tenant = dice.choice(world.tenants)
    user = dice.choice(list(tenant.keys))
    chance = dice.random()
    if chance < 0.03:
        _revoke_key(world, tenant, user)
        return
    if chance < 0.06 and tenant.revoked:
        _try_revoked(world, tenant)
        return
    call = _call(world, tenant, user)
    own = dice.random() < 0.7
    token = tenant.keys[user][0] if own else tenant.root
    answer = world.client.request(
        call.method, call.path, json=call.body, params=call.params,
        headers={"Authorization": f"{dice.choice(('Bearer', 'Token'))} {token}"},
    )  # fmt: skip
    _judge(world, tenant, user, call, answer)


def _judge(world: World, tenant: Tenant, user: str, call: Call, answer: httpx.Response) -> None:
    told = f"{call} by {user} of account {tenant.number}: {answer.status_code} {answer.text[:500]}"
    for account, cube, _ in _MARK.findall(answer.text):
        if int(account) != tenant.number or not tenant.may(user, cube, "read"):
            raise BrokenIsolation(f"read {account}/{cube}: {told}")
    if answer.status_code >= _BROKEN or answer.status_code == _UNAUTHENTICATED:
        raise BrokenIsolation(told)
    foreign = call.held is not None and call.held.account != tenant.number
    allowed = not foreign and all(tenant.may(user, cube, call.need) for cube in call.cubes)
    done = answer.status_code < _FAILED
    gone = call.held is not None and call.held not in (*world.memories, *world.jobs)
    if done and not allowed:
        raise BrokenIsolation(f"was not allowed: {told}")
    if allowed and not done and not gone:
        raise BrokenIsolation(f"was allowed: {told}")
    world.counted[f"{call.name} {'done' if done else 'refused'}"] += 1
    if done:
        _follow(world, tenant, call, answer)


def _follow(world: World, tenant: Tenant, call: Call, answer: httpx.Response) -> None:
    """Let the world be as the call has left it."""
    if call.wrote is not None:
        world.written.add(call.wrote.split()[0])
        if call.name == "v1 add":
            world.memories.append(Held(tenant.number, call.cubes[0], answer.json()["ids"][0]))
    if call.name == "v1 add later":
        world.jobs.append(Held(tenant.number, call.cubes[0], answer.json()["id"]))
    if call.name.endswith("delete") and call.held in world.memories:
        world.memories.remove(call.held)
    if call.name == "v1 share" and call.body is not None:
        to = call.path.rsplit("/", 1)[1]
        tenant.grants[to, call.cubes[0]] = str(call.body["access"])
    if call.name == "v1 revoke":
        tenant.grants.pop((call.path.split("?")[0].rsplit("/", 1)[1], call.cubes[0]), None)


def _call(world: World, tenant: Tenant, user: str) -> Call:
    """Return a random call that names the user as the one who acts."""
    dice = world.dice
    cube = dice.choice(list(tenant.owners))
    if dice.random() < 0.5:  # else nearly everything would be refused
        cube = dice.choice([c for c in tenant.owners if tenant.may(user, c, "read")])
    maker = dice.choice(_SHAPES)
    return maker(world, tenant, user, cube)


def _search(world: World, tenant: Tenant, user: str, cube: str) -> Call:
    _, dice = tenant, world.dice
    query = dice.choice(("tea", "kites", "harbours", f"mark{dice.randrange(5)}q{cube}q1q"))
    return dice.choice(
        (
            Call("v1 search", "POST", "/v1/search", "read", (cube,),
                 {"query": query, "user": user, "cubes": [cube], "limit": 50}),
            Call("v1 search all", "POST", "/v1/search", "read", (),
                 {"query": query, "user": user, "limit": 100}),
            Call("product search", "POST", "/product/search", "read", (cube,),
                 {"query": query, "user_id": user, "readable_cube_ids": [cube], "relativity": 0}),
            Call("start search", "POST", "/search", "read", (cube,),
                 {"query": query, "user_id": user, "install_cube_ids": [cube]}),
            Call("openmem search", "POST", f"{dice.choice(_OPENMEM)}/search/memory", "read", (),
                 {"query": query, "user_id": user, "memory_limit_number": 25, "relativity": 0}),
        )
    )  # fmt: skip


def _list(world: World, tenant: Tenant, user: str, cube: str) -> Call:
    _ = tenant
    return world.dice.choice(
        (
            Call("v1 list", "GET", "/v1/memories", "read", (cube,),
                 params={"user": user, "cube": cube, "limit": "50"}),
            Call("v1 stats", "GET", "/v1/stats", "read", (cube,),
                 params={"user": user, "cube": cube}),
            Call("start list", "GET", "/memories", "read", (cube,),
                 params={"user_id": user, "mem_cube_id": cube}),
            Call("product list", "POST", "/product/get_memory", "read", (cube,),
                 {"user_id": user, "mem_cube_id": cube}),
            Call("openmem list", "POST", f"{world.dice.choice(_OPENMEM)}/get/memory", "read", (),
                 {"user_id": user}),
            Call("v1 cube", "GET", f"/v1/cubes/{cube}", "read", (cube,), params={"user": user}),
            Call("v1 export", "GET", f"/v1/cubes/{cube}/export", "read", (cube,),
                 params={"user": user}),
        )
    )  # fmt: skip


def _one(world: World, tenant: Tenant, user: str, cube: str) -> Call:
    """A memory by its id, anybody's; named with the cube that it is in."""
    dice = world.dice
    held = dice.choice(world.memories)
    if dice.random() < 0.6:
        held = dice.choice([m for m in world.memories if m.account == tenant.number])
    id, there = held.id, (held.cube,)
    _ = cube
    return dice.choice(
        (
            Call("v1 get", "GET", f"/v1/memories/{id}", "read", there,
                 params={"user": user, "cube": held.cube}, held=held),
            Call("v1 history", "GET", f"/v1/memories/{id}/history", "read", there,
                 params={"user": user, "cube": held.cube}, held=held),
            Call("v1 delete", "DELETE", f"/v1/memories/{id}", "write", there,
                 params={"user": user, "cube": held.cube, "mode": "erase"}, held=held),
            Call("v1 change", "PATCH", f"/v1/memories/{id}", "write", there,
                 {"title": "changed", "user": user, "cube": held.cube}, held=held),
            Call("product get", "GET", f"/product/get_memory/{id}", "read", there,
                 params={"user_id": user}, held=held),
            Call("product delete", "POST", "/product/delete_memory", "write", there,
                 {"memory_ids": [id], "user_id": user, "writable_cube_ids": [held.cube]},
                 held=held),
            Call("start get", "GET", f"/memories/{held.cube}/{id}", "read", there,
                 params={"user_id": user}, held=held),
            Call("start delete", "DELETE", f"/memories/{held.cube}/{id}", "write", there,
                 params={"user_id": user}, held=held),
        )
    )  # fmt: skip


def _write(world: World, tenant: Tenant, user: str, cube: str) -> Call:
    text = world.mark(tenant.number, cube)
    said = [{"role": "user", "content": text}]
    return world.dice.choice(
        (
            Call("v1 add", "POST", "/v1/memories", "write", (cube,),
                 {"text": text, "user": user, "cube": cube}, wrote=text),
            Call("v1 add later", "POST", "/v1/memories", "write", (cube,),
                 {"text": text, "user": user, "cube": cube, "background": True},
                 wrote=text),
            Call("product add", "POST", "/product/add", "write", (cube,),
                 {"messages": said, "user_id": user, "writable_cube_ids": [cube]}, wrote=text),
            Call("start add", "POST", "/memories", "write", (cube,),
                 {"messages": said, "user_id": user, "mem_cube_id": cube}, wrote=text),
        )
    )  # fmt: skip


def _job(world: World, tenant: Tenant, user: str, cube: str) -> Call:
    """A job by its id, anybody's, or those about a cube."""
    mine = [
        j for j in world.jobs if j.account == tenant.number and tenant.may(user, j.cube, "read")
    ]
    known = mine if mine and world.dice.random() < 0.5 else world.jobs
    if not known or world.dice.random() < 0.3:
        params = {"user": user, "cube": cube, "limit": "50"}
        return Call("v1 jobs", "GET", "/v1/jobs", "read", (cube,), params=params)
    held = world.dice.choice(known)
    path, params = f"/v1/jobs/{held.id}", {"user": user, "timeout_s": "0"}
    name, path = world.dice.choice((("v1 job", path), ("v1 job wait", f"{path}/wait")))
    return Call(name, "GET", path, "read", (held.cube,), params=params, held=held)


def _grant(world: World, tenant: Tenant, user: str, cube: str) -> Call:
    to = world.dice.choice([other for other in tenant.keys if other != user])
    path = f"/v1/cubes/{cube}/grants/{to}"
    if (to, cube) in tenant.grants:
        return Call("v1 revoke", "DELETE", path, "own", (cube,), params={"user": user})
    if tenant.owners[cube] == to:
        return _list(world, tenant, user, cube)
    access = world.dice.choice(("read", "write"))
    return Call("v1 share", "PUT", path, "own", (cube,), {"access": access, "user": user})


_SHAPES = (_search, _search, _list, _one, _one, _write, _grant, _job)


def _revoke_key(world: World, tenant: Tenant, user: str) -> None:
    token, id = tenant.keys[user]
    _send(world, tenant.root, "DELETE", f"/v1/keys/{id}")
    tenant.revoked.append(token)
    world.counted["key revoked"] += 1
    _new_key(world, tenant, user)


def _try_revoked(world: World, tenant: Tenant) -> None:
    headers = {"Authorization": f"Bearer {world.dice.choice(tenant.revoked)}"}
    path = world.dice.choice(("/v1/search", "/product/search", "/search"))
    answer = world.client.post(path, json={"query": "tea", "user_id": "u1"}, headers=headers)
    if answer.status_code != _UNAUTHENTICATED:
        raise BrokenIsolation(f"a revoked key opened {path}: {answer.status_code}")
    world.counted["revoked key refused"] += 1


def _await_jobs(world: World, tenant: Tenant) -> None:
    """Wait for what was put; whoever lost the right to write since gets nothing written."""
    for held in world.jobs:
        if held.account == tenant.number:
            path = f"/v1/jobs/{held.id}/wait?user={tenant.owners[held.cube]}&timeout_s=60"
            if _send(world, tenant.root, "GET", path).json()["state"] not in ("done", "failed"):
                raise BrokenIsolation(f"not ended: {held}")


def _check_cubes(world: World, tenant: Tenant) -> None:
    """Every cube holds what was written into it, and nothing else."""
    for cube, owner in tenant.owners.items():
        headers = {"Authorization": f"Bearer {tenant.root}"}
        params = {"user": owner, "cube": cube, "limit": "1000"}
        answer = world.client.get("/v1/memories", params=params, headers=headers)
        for account, of, number in _MARK.findall(answer.text):
            if (int(account), of) != (tenant.number, cube):
                raise BrokenIsolation(f"cube {cube} of {tenant.number} holds {account}/{of}")
            if f"mark{account}q{of}q{number}q" not in world.written:
                raise BrokenIsolation(f"cube {cube} of {tenant.number} holds {number}, refused")
