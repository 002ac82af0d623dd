"""``/v1/users`` and ``/v1/keys``: whom an account consists of, and what opens it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from fastapi.responses import Response

from memos.errors import Forbidden, InvalidInput, NotFound
from memos.server.account_schemas import (
    KeyIn,
    KeyOut,
    KeysOut,
    NewKeyOut,
    UserChangeIn,
    UserIn,
    UserOut,
    UsersOut,
)
from memos.server.deps import Acting, IdempotencyKey, Visit, Visiting, native
from memos.server.repeats import Making, once
from memos.server.replies import problems, reply
from memos.types import ApiKey, User
from memos.users.keys import NewKey, covers, shown

router: Final = native("accounts")


@router.post("/users", status_code=201, response_model=UserOut, responses=problems(409))
async def create_user(
    visit: Visiting, body: UserIn, user: Acting = None, idempotency_key: IdempotencyKey = None
) -> Response:
    """Create a user and its private cube; a repeated key gives the user that it made."""
    by, users = await _manager(visit, user), visit.mos.users
    visit.trail.target = body.id
    making = Making(
        make=lambda: users.create(body.id, name=body.name, role=body.role, by=by),
        find=lambda: users.get(body.id),
    )
    asked = {**body.model_dump(), "by": by}
    return reply(await once(visit, "create_user", idempotency_key, asked, making), 201)


@router.get("/users", response_model=UsersOut, responses=problems())
async def list_users(visit: Visiting, user: Acting = None) -> Response:
    """Return the users of the account."""
    by = await _manager(visit, user)
    return reply({"users": await visit.mos.users.list(by=by)})


@router.get("/users/{id}", response_model=UserOut, responses=problems())
async def get_user(visit: Visiting, id: str, user: Acting = None) -> Response:
    """Return a user."""
    for found in await visit.mos.users.list(by=await _manager(visit, user)):
        if found.id == id:
            return reply(found)
    raise NotFound(f"user {id!r} does not exist", code="unknown_user")


@router.put("/users/{id}", response_model=UserOut, responses=problems(409))
async def ensure_user(visit: Visiting, id: str, user: Acting = None) -> Response:
    """Return a user, created when it does not exist."""
    await visit.gate.actor(await _manager(visit, user), "manage_users")
    return reply(await visit.mos.users.ensure(id))


@router.patch("/users/{id}", response_model=UserOut, responses=problems(409))
async def change_user(
    visit: Visiting, id: str, body: UserChangeIn, user: Acting = None
) -> Response:
    """Rename a user, give it another role, deactivate or activate it."""
    by = await _manager(visit, user)
    users = visit.mos.users
    changed: User | None = None
    if body.name is not None:
        changed = await users.rename(id, body.name, by=by)
    if body.role is not None:
        changed = await users.set_role(id, body.role, by=by)
    if body.active is not None:
        changed = await (users.activate if body.active else users.deactivate)(id, by=by)
    if changed is None:
        raise InvalidInput("nothing to change; name one of: name, role, active", code="empty")
    return reply(changed)


@router.post("/keys", status_code=201, response_model=NewKeyOut, responses=problems(409))
async def create_key(
    visit: Visiting, body: KeyIn, idempotency_key: IdempotencyKey = None
) -> Response:
    """Make an API key; its token is in this answer and nowhere else, ever.

    A repeated Idempotency-Key gives the same key again, until it is rotated or revoked.
    """
    visit.caller.limits.check_manage()
    wanted = ApiKey(
        "", "", visit.caller.account, body.name, "", tuple(body.scopes), datetime.now(UTC),
        user=body.user, cubes=None if body.cubes is None else tuple(body.cubes),
        expires_at=body.expires_at,
    )  # fmt: skip
    _check_covered(visit, wanted)
    made = await visit.tenants.keys.create(
        wanted.tenant, wanted.name, scopes=wanted.scopes, user=wanted.user, cubes=wanted.cubes,
        expires_at=wanted.expires_at, once=_once(visit, idempotency_key),
    )  # fmt: skip
    visit.trail.target = made.key.id
    return reply(_new(made), 201)


@router.get("/keys", response_model=KeysOut, responses=problems())
async def list_keys(visit: Visiting) -> Response:
    """Return the account's keys that one may manage, oldest first."""
    visit.caller.limits.check_manage()
    found = await visit.tenants.keys.list(visit.caller.account)
    return reply({"keys": [shown(key) for key in found if _covered(visit, key)]})


@router.post("/keys/{id}/rotate", response_model=NewKeyOut, responses=problems(409))
async def rotate_key(visit: Visiting, id: str) -> Response:
    """Give a key another secret; the former one is refused from now on."""
    visit.caller.limits.check_manage()
    keys, account = visit.tenants.keys, visit.caller.account
    _check_covered(visit, await keys.get(account, id))
    return reply(_new(await keys.rotate(account, id)))


@router.delete("/keys/{id}", response_model=KeyOut, responses=problems(409))
async def revoke_key(visit: Visiting, id: str) -> Response:
    """Refuse a key from now on."""
    visit.caller.limits.check_manage()
    keys, account = visit.tenants.keys, visit.caller.account
    _check_covered(visit, await keys.get(account, id))
    return reply(shown(await keys.revoke(account, id)))


async def _manager(visit: Visit, user: str | None) -> str:
    visit.caller.limits.check_manage()
    return await visit.acting(user)


def _once(visit: Visit, key: str | None) -> str | None:
    """Return what a caller's key stands for: nobody repeats another's call."""
    by = "" if visit.caller.key is None else visit.caller.key.id
    return None if key is None else f"{by}\x00{key}"


def _covered(visit: Visit, key: ApiKey) -> bool:
    return visit.caller.key is None or covers(visit.caller.key, key)


def _check_covered(visit: Visit, key: ApiKey) -> None:
    if not _covered(visit, key):
        raise Forbidden("the other API key may do more than this one", code="key_scope")


def _new(made: NewKey) -> dict[str, object]:
    return {"key": shown(made.key), "token": made.token}
