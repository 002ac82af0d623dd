"""End users in MemOS's first product API, under ``/product/users``."""

from __future__ import annotations

from typing import Any, Final

import uuid_utils
from fastapi import APIRouter
from fastapi.responses import Response

from memos.server.audited import Audited
from memos.server.compat import callers
from memos.server.compat.bodies import RegisterUserIn
from memos.server.compat.callers import Product
from memos.server.compat.envelopes import done
from memos.server.deps import Visit
from memos.types import User

router: Final = APIRouter(prefix="/product", include_in_schema=False, route_class=Audited)


@router.post("/users/register")
async def register(visit: Product, body: RegisterUserIn) -> Response:
    """Make sure that there is an end user with a cube."""
    user = await enrolled(visit, body.user_id or str(uuid_utils.uuid7()), body.user_name)
    (cube, *_) = await callers.reaching(visit, user, [body.mem_cube_id or user])
    return done("User registered successfully", {"user_id": user, "mem_cube_id": cube})


@router.get("/users")
async def users(visit: Product) -> Response:
    """Return the end users of the account; who may not manage them is refused."""
    return done("Users retrieved successfully", await everybody(visit))


@router.get("/users/{user_id}")
async def user_info(visit: Product, user_id: str) -> Response:
    """Return an end user, and the cubes that it may use."""
    return done("User info retrieved successfully", await about(visit, user_id))


@router.get("/instances/status")
async def instances(visit: Product) -> Response:
    """Return what is kept in the process for each end user, which is nothing."""
    del visit
    return done("Instance status retrieved successfully", {})


@router.get("/instances/count")
async def instance_count(visit: Product) -> Response:
    """Return for how many end users something is kept in the process."""
    del visit
    return done("Active user count retrieved successfully", 0)


async def enrolled(visit: Visit, user_id: str | None, name: str | None) -> str:
    """Return an end user, created on first use, under a name of its own if one is given.

    Raises:
        Forbidden: It has another name, and the credentials may not manage users.
    """
    user = await callers.subject(visit, user_id)
    called = (await visit.mos.users.get(user)).name
    if name is not None and called != name:
        if called != user:
            visit.caller.limits.check_manage()
        await visit.mos.users.rename(user, name, by=user)
    return user


async def everybody(visit: Visit) -> list[dict[str, Any]]:
    """Return the end users of the account."""
    visit.caller.limits.check_manage()
    return [_shown(user) for user in await visit.mos.users.list()]


async def about(visit: Visit, user_id: str | None) -> dict[str, Any]:
    """Return an end user, and the cubes that it may use."""
    user = await callers.subject(visit, user_id)
    cubes = [
        {"cube_id": cube.id, "cube_name": cube.name, "owner_id": cube.owner, "is_loaded": True}
        for cube in await visit.mos.cubes.list(user=user)
    ]
    return {**_shown(await visit.mos.users.get(user)), "accessible_cubes": cubes}


def _shown(user: User) -> dict[str, Any]:
    return {
        "user_id": user.id,
        "user_name": user.name,
        "role": user.role,
        "created_at": user.created_at,
        "is_active": user.active,
    }
