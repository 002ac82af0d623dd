"""The start dialect: what MemOS's first server spoke, at the root."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, cast

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel

from memos.errors import InvalidInput, NotFound
from memos.options import ChatOptions, UpdateOptions
from memos.server.audited import Audited, reads
from memos.server.compat import callers
from memos.server.compat.bodies import Maybe, Name, Names, Text, Tree
from memos.server.compat.callers import Start
from memos.server.compat.envelopes import done
from memos.server.compat.items import item
from memos.server.compat.people import about, enrolled, everybody
from memos.server.compat.recall import Wanted, listed, search
from memos.server.compat.remember import (
    DEFAULT_SESSION,
    Told,
    contents_of,
    erase_named,
    erase_selected,
    remember,
)
from memos.server.compat.unbuilt import add_unbuilt
from memos.server.deps import Visit
from memos.telemetry import span
from memos.types import Memory, Role

router: Final = APIRouter(include_in_schema=False, route_class=Audited)
add_unbuilt(router, "start")
UserQuery = Annotated[str | None, Query(min_length=1, max_length=512)]
CubeQuery = Annotated[str | None, Query(min_length=1, max_length=512)]
_TOP: Final = 5
_METADATA: Final = {"key": "title", "tags": "tags", "confidence": "confidence", "info": "info"}


class UserIn(BaseModel):
    """``/users``."""

    user_id: Name
    user_name: Name | None = None
    role: str = "user"


class MemCubeIn(BaseModel):
    """``/mem_cubes``."""

    mem_cube_name_or_path: Name
    mem_cube_id: Name | None = None
    user_id: Name | None = None


class ShareIn(BaseModel):
    """``/mem_cubes/{cube_id}/share``."""

    target_user_id: Name
    user_id: Name | None = None


class MemoriesIn(BaseModel):
    """``/memories``."""

    messages: list[Tree] | None = None
    memory_content: str | None = None
    doc_path: str | None = None
    mem_cube_id: Name | None = None
    user_id: Name | None = None
    session_id: Maybe = None


class SearchIn(BaseModel):
    """``/search``."""

    query: Text
    install_cube_ids: Names | None = None
    user_id: Name | None = None


class ChatIn(BaseModel):
    """``/chat``."""

    query: Text
    user_id: Name | None = None


@router.post("/users")
async def create_user(visit: Start, body: UserIn) -> Response:
    """Make sure that there is an end user; roles are spelt in any case."""
    role = body.role.upper()
    if role != "USER":
        visit.caller.limits.check_manage()
        name, given = body.user_name, cast("Role", role)
        user = (await visit.mos.users.create(body.user_id, name=name, role=given)).id
    else:
        user = await enrolled(visit, body.user_id, body.user_name)
    return done("User created successfully", {"user_id": user})


@router.get("/users")
async def list_users(visit: Start) -> Response:
    """Return the end users of the account."""
    return done("Users retrieved successfully", await everybody(visit))


@router.get("/users/me")
async def me(visit: Start, user_id: UserQuery = None) -> Response:
    """Return who acts, and the cubes that it may use."""
    return done("User info retrieved successfully", await about(visit, user_id))


@router.post("/mem_cubes")
async def register_cube(visit: Start, body: MemCubeIn) -> Response:
    """Make sure that an end user has a cube; nothing is read from a path."""
    user = await callers.subject(visit, body.user_id)
    await callers.reaching(visit, user, [body.mem_cube_id or body.mem_cube_name_or_path])
    return done("MemCube registered successfully")


@router.delete("/mem_cubes/{mem_cube_id}")
async def unregister_cube(visit: Start, mem_cube_id: str, user_id: UserQuery = None) -> Response:
    """Put a cube out of reach; its memories stay."""
    visit.caller.limits.check_write()
    user = await callers.owner(visit, user_id, mem_cube_id)
    await visit.mos.cubes.unregister(mem_cube_id, user=user)
    return done("MemCube unregistered successfully")


@router.post("/mem_cubes/{cube_id}/share")
async def share(visit: Start, cube_id: str, body: ShareIn) -> Response:
    """Let another end user read and write a cube."""
    user = await callers.owner(visit, body.user_id, cube_id)
    visit.trail.target = body.target_user_id
    await visit.mos.cubes.share(cube_id, body.target_user_id, "write", user=user)
    return done("Cube shared successfully")


@router.post("/memories")
async def add(visit: Start, body: MemoriesIn) -> Response:
    """Remember messages or a text."""
    contents = contents_of(body.messages, body.memory_content, body.doc_path)
    user = await callers.subject(visit, body.user_id)
    cubes = await callers.reaching(visit, user, [body.mem_cube_id or user])
    options = {"session": body.session_id or DEFAULT_SESSION}
    await remember(visit, Told(user, cubes, contents, options))
    return done("Memories added successfully")


@router.get("/memories")
async def get_all(
    visit: Start, mem_cube_id: CubeQuery = None, user_id: UserQuery = None
) -> Response:
    """Return all memories of a cube, or of all that an end user may read."""
    if mem_cube_id is None:
        user = await callers.subject(visit, user_id)
        cubes = [cube.id for cube in await visit.mos.cubes.list(user=user)]
    else:
        user = await callers.owner(visit, user_id, mem_cube_id, create=True)
        cubes = await callers.reaching(visit, user, [mem_cube_id])
    parts = {cube: await listed(visit, user, [cube]) for cube in cubes}
    return done("Memories retrieved successfully", _results(parts))


@router.get("/memories/{mem_cube_id}/{memory_id}")
async def get(
    visit: Start, mem_cube_id: str, memory_id: str, user_id: UserQuery = None
) -> Response:
    """Return a memory."""
    memory = await _held(visit, mem_cube_id, memory_id, user_id)
    return done("Memory retrieved successfully", item(memory))


@router.put("/memories/{mem_cube_id}/{memory_id}")
async def update(
    visit: Start, mem_cube_id: str, memory_id: str, body: Tree, user_id: UserQuery = None
) -> Response:
    """Change a memory: its ``memory``, or fields of its ``metadata``."""
    user = await callers.owner(visit, user_id, mem_cube_id)
    changes: dict[str, Any] = {"text": body["memory"]} if "memory" in body else {}
    metadata = body.get("metadata", {})
    if not isinstance(metadata, Mapping):
        raise InvalidInput("metadata: expected an object")
    named = cast("Mapping[str, object]", metadata)
    changes |= {ours: named[name] for name, ours in _METADATA.items() if name in named}
    options = cast("UpdateOptions", {**changes, "user": user, "cube": mem_cube_id})
    visit.trail.target = memory_id
    await visit.mos.update(memory_id, **options)
    return done("Memory updated successfully")


@router.delete("/memories/{mem_cube_id}/{memory_id}")
async def delete(
    visit: Start, mem_cube_id: str, memory_id: str, user_id: UserQuery = None
) -> Response:
    """Erase a memory."""
    user = await callers.owner(visit, user_id, mem_cube_id)
    await erase_named(visit, [memory_id], user, [mem_cube_id])
    return done("Memory deleted successfully")


@router.delete("/memories/{mem_cube_id}")
async def delete_all(visit: Start, mem_cube_id: str, user_id: UserQuery = None) -> Response:
    """Erase all memories of the cube that the path names."""
    user = await callers.owner(visit, user_id, mem_cube_id)
    await erase_selected(visit, {"cube": mem_cube_id}, user, [mem_cube_id])
    return done("All memories deleted successfully")


@router.post("/search")
@reads
async def find(visit: Start, body: SearchIn) -> Response:
    """Find what answers a question."""
    user = await callers.subject(visit, body.user_id)
    cubes = await callers.reaching(visit, user, body.install_cube_ids or ())
    found = await search(visit, Wanted(body.query, user, cubes, {"text_mem": _TOP}))
    parts: dict[str, list[Memory]] = {cube: [] for cube in cubes}
    for one in found["text_mem"]:
        parts[one.memory.place.cube].append(one.memory)
    return done("Search completed successfully", _results(parts))


@router.post("/chat")
async def chat(visit: Start, body: ChatIn) -> Response:
    """Answer from what is remembered, and remember the exchange."""
    visit.caller.limits.check_write()
    user = await callers.subject(visit, body.user_id)
    options: ChatOptions = {"user": user, "session": DEFAULT_SESSION}
    with span("chat_seconds"):
        result = await visit.mos.chat(body.query, **options)
    return done("Chat response generated", result.text)


async def _held(visit: Visit, cube: str, id: str, user_id: str | None) -> Memory:
    user = await callers.owner(visit, user_id, cube)
    memory = await visit.mos.get(id, user=user, cube=cube)
    if memory.retired_at is not None:
        raise NotFound(f"there is no memory {id!r}", code="unknown_memory")
    return memory


def _results(parts: Mapping[str, list[Memory]]) -> dict[str, Any]:
    text = [
        {"cube_id": cube, "memories": [item(memory) for memory in memories]}
        for cube, memories in parts.items()
    ]
    return {"text_mem": text, "act_mem": [], "para_mem": []}
