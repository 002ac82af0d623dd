"""``/v1/users`` and ``/v1/keys``: whom an account consists of, and what opens it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from fastapi.responses import Response

from memos.errors import Forbidden, InvalidInput
from memos.server.deps import Visit, Visiting, native
from memos.server.replies import problems, reply
from memos.server.schemas import (
    KeyIn,
    KeyOut,
    KeysOut,
    NewKeyOut,
    UserChangeIn,
    UserIn,
    UserOut,
    UsersOut,
)
from memos.types import ApiKey
from memos.users.keys import NewKey, covers, shown

router: Final = native("accounts")


@router.post("/users", status_code=201, response_model=UserOut, responses=problems(409))
async def create_user(visit: Visiting, body: UserIn) -> Response:
    """Create a user and its private cube."""
    visit.caller.limits.check_manage()
    return reply(await visit.mos.users.create(body.id, name=body.name, role=body.role), 201)


@router.get("/users", response_model=UsersOut, responses=problems())
async def list_users(visit: Visiting) -> Response:
    """Return the users of the account."""
    visit.caller.limits.check_manage()
    return reply({"users": await visit.mos.users.list()})


@router.patch("/users/{id}", response_model=UserOut, responses=problems(404, 409))
async def change_user(visit: Visiting, id: str, body: UserChangeIn) -> Response:
    """Rename a user, give it another role, deactivate or activate it."""
    visit.caller.limits.check_manage()
    users = visit.mos.users
    if not body.model_fields_set:
        raise InvalidInput("nothing to change; name one of: name, role, active", code="empty")
    changed = await users.get(id)
    if body.name is not None:
        changed = await users.rename(id, body.name)
    if body.role is not None:
        changed = await users.set_role(id, body.role)
    if body.active is not None:
        changed = await (users.activate(id) if body.active else users.deactivate(id))
    return reply(changed)


@router.post("/keys", status_code=201, response_model=NewKeyOut, responses=problems())
async def create_key(visit: Visiting, body: KeyIn) -> Response:
    """Make an API key; its token is in this answer and nowhere else, ever."""
    visit.caller.limits.check_manage()
    wanted = ApiKey(
        "", "", visit.caller.account, body.name, "", tuple(body.scopes), datetime.now(UTC),
        user=body.user, cubes=None if body.cubes is None else tuple(body.cubes),
        expires_at=body.expires_at,
    )  # fmt: skip
    _check_covered(visit, wanted)
    made = await visit.tenants.keys.create(
        wanted.tenant, wanted.name, scopes=wanted.scopes, user=wanted.user, cubes=wanted.cubes,
        expires_at=wanted.expires_at,
    )  # fmt: skip
    return reply(_new(made), 201)


@router.get("/keys", response_model=KeysOut, responses=problems())
async def list_keys(visit: Visiting) -> Response:
    """Return the account's keys that one may manage, oldest first."""
    visit.caller.limits.check_manage()
    found = await visit.tenants.keys.list(visit.caller.account)
    return reply({"keys": [shown(key) for key in found if _covered(visit, key)]})


@router.post("/keys/{id}/rotate", response_model=NewKeyOut, responses=problems(404, 409))
async def rotate_key(visit: Visiting, id: str) -> Response:
    """Give a key another secret; the former one is refused from now on."""
    visit.caller.limits.check_manage()
    keys, account = visit.tenants.keys, visit.caller.account
    _check_covered(visit, await keys.get(account, id))
    return reply(_new(await keys.rotate(account, id)))


@router.delete("/keys/{id}", response_model=KeyOut, responses=problems(404, 409))
async def revoke_key(visit: Visiting, id: str) -> Response:
    """Refuse a key from now on."""
    visit.caller.limits.check_manage()
    keys, account = visit.tenants.keys, visit.caller.account
    _check_covered(visit, await keys.get(account, id))
    return reply(shown(await keys.revoke(account, id)))


def _covered(visit: Visit, key: ApiKey) -> bool:
    return visit.caller.key is None or covers(visit.caller.key, key)


def _check_covered(visit: Visit, key: ApiKey) -> None:
    if not _covered(visit, key):
        raise Forbidden("the other API key may do more than this one", code="key_scope")


def _new(made: NewKey) -> dict[str, object]:
    return {"key": shown(made.key), "token": made.token}
