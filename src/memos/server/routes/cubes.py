"""``/v1/cubes``: containers of memories, and who may use them."""

from __future__ import annotations

from typing import Final

from fastapi.responses import Response

from memos.server.account_schemas import (
    CubeIn,
    CubeOut,
    CubesOut,
    GrantOut,
    GrantsOut,
    RenameIn,
    ShareIn,
    TransferIn,
)
from memos.server.deps import Acting, IdempotencyKey, Visiting, native
from memos.server.job_schemas import JobOut
from memos.server.repeats import Making, once
from memos.server.replies import problems, reply

router: Final = native("cubes", "/v1/cubes")


@router.post("", status_code=201, response_model=CubeOut, responses=problems(409))
async def create(visit: Visiting, body: CubeIn, idempotency_key: IdempotencyKey = None) -> Response:
    """Create a cube that the acting user owns; a repeated key gives the cube that it made."""
    visit.caller.limits.check_write()
    owner, cubes = await visit.acting(body.user), visit.mos.cubes
    visit.trail.cubes = (body.id,)
    making = Making(
        make=lambda: cubes.create(body.id, name=body.name, owner=owner),
        find=lambda: cubes.get(body.id, user=owner),
    )
    asked = {**body.model_dump(), "user": owner}
    return reply(await once(visit, "create_cube", idempotency_key, asked, making), 201)


@router.get("", response_model=CubesOut, responses=problems())
async def listing(
    visit: Visiting,
    user: Acting = None,
    unregistered: bool = False,  # noqa: FBT001, FBT002 - a query parameter
) -> Response:
    """Return the cubes that the acting user may read, or those out of reach that it manages."""
    acting = await visit.acting(user)
    found = await visit.mos.cubes.list(user=acting, unregistered=unregistered)
    return reply({"cubes": found})


@router.get("/{id}", response_model=CubeOut, responses=problems())
async def get(visit: Visiting, id: str, user: Acting = None) -> Response:
    """Return a cube that the acting user may read."""
    return reply(await visit.mos.cubes.get(id, user=await visit.acting(user)))


@router.patch("/{id}", response_model=CubeOut, responses=problems(409))
async def rename(visit: Visiting, id: str, body: RenameIn) -> Response:
    """Give a cube another name."""
    user = await visit.acting(body.user)
    return reply(await visit.mos.cubes.rename(id, body.name, user=user))


@router.get("/{id}/grants", response_model=GrantsOut, responses=problems())
async def grants(visit: Visiting, id: str, user: Acting = None) -> Response:
    """Return who may read or write a cube."""
    found = await visit.mos.cubes.grants(id, user=await visit.acting(user))
    return reply({"grants": found})


@router.put("/{id}/grants/{to}", response_model=GrantOut, responses=problems(409))
async def share(visit: Visiting, id: str, to: str, body: ShareIn) -> Response:
    """Let another user read a cube, or read and write it."""
    user = await visit.acting(body.user)
    return reply(await visit.mos.cubes.share(id, to, body.access, user=user))


@router.delete("/{id}/grants/{of}", status_code=204, responses=problems(409))
async def revoke(visit: Visiting, id: str, of: str, user: Acting = None) -> Response:
    """Take back what was shared; it ends with the other's next call."""
    await visit.mos.cubes.revoke(id, of, user=await visit.acting(user))
    return Response(status_code=204)


@router.post("/{id}/transfer", response_model=CubeOut, responses=problems(409))
async def transfer(visit: Visiting, id: str, body: TransferIn) -> Response:
    """Give a cube to another user."""
    user = await visit.acting(body.user)
    return reply(await visit.mos.cubes.transfer(id, body.to, user=user))


@router.post("/{id}/reindex", status_code=202, response_model=JobOut, responses=problems())
async def reindex(visit: Visiting, id: str, user: Acting = None) -> Response:
    """Embed a cube anew, with the embedder of the server, in the background."""
    visit.caller.limits.check_write()
    acting = await visit.acting(user)
    return reply(await visit.mos.jobs.reindex(user=acting, cube=id), 202)


@router.post("/{id}/unregister", response_model=CubeOut, responses=problems(409))
async def unregister(visit: Visiting, id: str, user: Acting = None) -> Response:
    """Put a cube out of everybody's reach; its memories stay."""
    return reply(await visit.mos.cubes.unregister(id, user=await visit.acting(user)))


@router.post("/{id}/register", response_model=CubeOut, responses=problems(409))
async def register(visit: Visiting, id: str, user: Acting = None) -> Response:
    """Bring an unregistered cube back, with everybody's rights."""
    return reply(await visit.mos.cubes.register(id, user=await visit.acting(user)))
