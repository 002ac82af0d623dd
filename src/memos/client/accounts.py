"""The calls about users, cubes and keys."""

from __future__ import annotations

from collections.abc import Mapping

from memos.client.calls import (
    Call,
    field_of,
    given,
    key_of,
    nothing,
    query,
    reading,
    segment,
    timed,
)
from memos.client.values import Key, NewKey
from memos.ports.transfer import CubeStats
from memos.types import Access, Cube, Grant, User
from memos.users.audit import AuditPage


def make_user(body: Mapping[str, object], by: str | None) -> Call[User]:
    """Return the call that creates a user."""
    read, key = reading(User), key_of({})
    return Call("POST", "/v1/users", read, query(user=by), body, headers=key, repeatable=True)


def user(method: str, id: str) -> Call[User]:
    """Return the call that reads a user (GET), or creates it where it is missing (PUT)."""
    return Call(method, f"/v1/users/{segment(id)}", reading(User), repeatable=True)


def users(by: str | None) -> Call[list[User]]:
    """Return the call that lists users."""
    read = field_of("users", list[User])
    return Call("GET", "/v1/users", read, query(user=by), repeatable=True)


def change_user(id: str, by: str | None, **change: object) -> Call[User]:
    """Return the call that changes a user; again it changes nothing more."""
    path = f"/v1/users/{segment(id)}"
    return Call("PATCH", path, reading(User), query(user=by), change, repeatable=True)


def make_cube(id: str, name: str | None, owner: str | None) -> Call[Cube]:
    """Return the call that creates a cube."""
    body = given(id=id, name=name, user=owner)
    key = key_of({})
    return Call("POST", "/v1/cubes", reading(Cube), body=body, headers=key, repeatable=True)


def cube(id: str, acting: str | None) -> Call[Cube]:
    """Return the call that reads a cube."""
    return Call("GET", _cube(id), reading(Cube), query(user=acting), repeatable=True)


def cubes(acting: str | None, *, unregistered: bool) -> Call[list[Cube]]:
    """Return the call that lists cubes."""
    params = query(user=acting, unregistered=unregistered or None)
    return Call("GET", "/v1/cubes", field_of("cubes", list[Cube]), params, repeatable=True)


def grants(id: str, acting: str | None) -> Call[list[Grant]]:
    """Return the call that lists who may use a cube."""
    read = field_of("grants", list[Grant])
    return Call("GET", f"{_cube(id)}/grants", read, query(user=acting), repeatable=True)


def rename_cube(id: str, name: str, acting: str | None) -> Call[Cube]:
    """Return the call that renames a cube."""
    body = given(name=name, user=acting)
    return Call("PATCH", _cube(id), reading(Cube), body=body, repeatable=True)


def share(id: str, to: str, access: Access, acting: str | None) -> Call[Grant]:
    """Return the call that shares a cube."""
    path, body = f"{_cube(id)}/grants/{segment(to)}", given(access=access, user=acting)
    return Call("PUT", path, reading(Grant), body=body, repeatable=True)


def revoke(id: str, of: str, acting: str | None) -> Call[None]:
    """Return the call that takes back what was shared."""
    path = f"{_cube(id)}/grants/{segment(of)}"
    return Call("DELETE", path, nothing, query(user=acting), repeatable=True)


def give(id: str, to: str, acting: str | None) -> Call[Cube]:
    """Return the call that gives a cube to another user."""
    body = given(to=to, user=acting)
    return Call("POST", f"{_cube(id)}/transfer", reading(Cube), body=body)


def register(id: str, step: str, acting: str | None) -> Call[Cube]:
    """Return the call that registers or unregisters a cube."""
    path, params = f"{_cube(id)}/{step}", query(user=acting)
    return Call("POST", path, reading(Cube), params, repeatable=True)


def stats(who: Mapping[str, object]) -> Call[CubeStats]:
    """Return the call that counts what a cube holds."""
    return Call("GET", "/v1/stats", reading(CubeStats), query(**who), repeatable=True)


def make_key(body: Mapping[str, object]) -> Call[NewKey]:
    """Return the call that makes a key."""
    key = key_of({})
    return Call("POST", "/v1/keys", reading(NewKey), body=body, headers=key, repeatable=True)


def keys() -> Call[list[Key]]:
    """Return the call that lists keys."""
    return Call("GET", "/v1/keys", field_of("keys", list[Key]), repeatable=True)


def rotate(id: str) -> Call[NewKey]:
    """Return the call that gives a key another secret."""
    return Call("POST", f"/v1/keys/{segment(id)}/rotate", reading(NewKey))


def refuse(id: str) -> Call[Key]:
    """Return the call that revokes a key."""
    return Call("DELETE", f"/v1/keys/{segment(id)}", reading(Key), repeatable=True)


def audit(filters: Mapping[str, object]) -> Call[AuditPage]:
    """Return the call that reads the audit log."""
    return Call("GET", "/v1/audit", reading(AuditPage), query(**timed(filters)), repeatable=True)


def feedback(text: str, options: Mapping[str, object]) -> Call[str]:
    """Return the call that stores feedback."""
    body = {**options, "text": text}
    key = key_of(body)
    read = field_of("id", str)
    return Call("POST", "/v1/feedback", read, body=body, headers=key, repeatable=True)


def _cube(id: str) -> str:
    return f"/v1/cubes/{segment(id)}"
