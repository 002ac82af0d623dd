"""The product dialect: memories and cubes under ``/product``."""

from __future__ import annotations

from typing import Annotated, Any, Final

import uuid_utils
from fastapi import APIRouter, Body
from fastapi.responses import Response

from memos.errors import InvalidInput
from memos.kinds import memory_type
from memos.server.audited import Audited, reads
from memos.server.compat import bodies, callers
from memos.server.compat.callers import Product
from memos.server.compat.envelopes import done
from memos.server.compat.items import item, preferences_text
from memos.server.compat.recall import Scored, Wanted, listed, search
from memos.server.compat.remember import (
    DEFAULT_SESSION,
    Told,
    contents_of,
    erase_named,
    erase_selected,
    refuse_unbuilt,
    remember,
    selector,
)
from memos.server.compat.selectors import BUCKETS, both, of_bucket, of_type, where
from memos.server.compat.unbuilt import FEEDBACK, KNOWLEDGE, SKILLS, add_unbuilt
from memos.server.deps import Visit
from memos.types import Memory

router: Final = APIRouter(prefix="/product", include_in_schema=False, route_class=Audited)
add_unbuilt(router, "product")
_SHOWN: Final = 200
"""Memories of a cube that the playground shows."""
UserQuery = Annotated[str | None, bodies.Field(max_length=512)]


@router.post("/add")
async def add(visit: Product, body: bodies.AddIn) -> Response:
    """Remember; everything is found when this returns."""
    refuse_unbuilt(
        (body.is_feedback, "is_feedback", FEEDBACK),
        (body.is_upload_skill, "is_upload_skill", SKILLS),
    )
    contents = contents_of(body.messages, body.memory_content, body.doc_path)
    named = _named(body.writable_cube_ids, body.mem_cube_id)
    user = await (
        callers.owner(visit, body.user_id, named[0], create=True)
        if named
        else callers.subject(visit, body.user_id)
    )
    cubes = await callers.reaching(visit, user, named)
    options: dict[str, Any] = {
        "session": body.session_id or DEFAULT_SESSION,
        "info": _info(body),
        "tags": body.custom_tags or (),
    }
    held = await remember(visit, Told(user, cubes, contents, options))
    return done("Memory added successfully", [_added(memory) for memory in held])


@router.post("/search")
@reads
async def search_memories(visit: Product, body: bodies.SearchIn) -> Response:
    """Find what answers a question."""
    user = await callers.subject(visit, body.user_id)
    cubes = await callers.reaching(visit, user, _named(body.readable_cube_ids, body.mem_cube_id))
    limits = {
        "text_mem": body.top_k,
        "pref_mem": body.pref_top_k if body.include_preference else 0,
        "tool_mem": body.tool_mem_top_k if body.search_tool_memory else 0,
        "skill_mem": body.skill_mem_top_k if body.include_skill_memory else 0,
    }
    tree = where(body.filter, cubes)
    if body.search_memory_type != "All":
        bucket, typed = of_type(body.search_memory_type)
        limits, tree = {bucket: body.top_k}, both(typed, tree)
    options: dict[str, Any] = {"dedup": _dedup(body)}
    if not body.rerank:
        options["rerank"] = False
    if body.reference_time:
        options["at"] = body.reference_time
    wanted = Wanted(
        body.query, user, cubes, limits, tree, body.relativity, options, _of_texts(visit, body)
    )
    found = await search(visit, wanted)
    return done("Search completed successfully", _results(found, cubes, body.query))


@router.post("/get_all")
@reads
async def get_all(visit: Product, body: bodies.GetAllIn) -> Response:
    """Return a cube's memories as the playground draws them."""
    user = await callers.subject(visit, body.user_id)
    cubes = await callers.reaching(visit, user, body.mem_cube_ids or ())
    answer: list[dict[str, Any]] = []
    for cube in cubes:
        memories: list[Memory] = []
        if body.memory_type == "text_mem" and body.search_query:
            wanted = Wanted(body.search_query, user, [cube], {"text_mem": _SHOWN})
            memories = [hit.memory for hit in (await search(visit, wanted))["text_mem"]]
        elif body.memory_type == "text_mem":
            memories = await listed(visit, user, [cube])
        answer.append(_drawn(cube, memories))
    return done("Memories retrieved successfully", answer)


@router.post("/get_memory")
@reads
async def get_memory(visit: Product, body: bodies.ListIn) -> Response:
    """Return a cube's memories, kind by kind."""
    return done("Memories retrieved successfully", await _kinds(visit, body))


@router.post("/get_memory_dashboard")
@reads
async def dashboard(visit: Product, body: bodies.DashboardIn) -> Response:
    """Return memories kind by kind, and how many there are of each."""
    kinds = await _kinds(visit, body)
    names = {"text_mem": "text", "tool_mem": "tool", "skill_mem": "skill", "pref_mem": "preference"}
    statistics = {
        f"total_{name}_nodes": sum(part["total_nodes"] for part in kinds[bucket])
        for bucket, name in names.items()
    }
    return done("Memories retrieved successfully", {**kinds, "statistics": statistics})


@router.get("/get_memory/{memory_id}")
async def get_one(visit: Product, memory_id: str, user_id: UserQuery = None) -> Response:
    """Return a memory by its id."""
    found = await callers.found(visit, memory_id, user_id)
    return done("Memory retrieved successfully", item(found.memory))


@router.post("/get_memory_by_ids")
@reads
async def get_some(
    visit: Product, ids: Annotated[bodies.Ids, Body()], user_id: UserQuery = None
) -> Response:
    """Return those memories of a list of ids that are there."""
    held = await callers.locate(visit, ids, user_id)
    memories = [item(found.memory) for found in held]
    return done("Memories retrieved successfully", {"memories": memories})


@router.post("/delete_memory")
async def delete(visit: Product, body: bodies.DeleteIn) -> Response:
    """Erase memories by ids, or by a selector that is not empty."""
    refuse_unbuilt((body.file_ids is not None, "file_ids", KNOWLEDGE))
    session = body.session_id or body.conversation_id
    if None not in (body.session_id, body.conversation_id) and session != body.conversation_id:
        raise InvalidInput("session_id and conversation_id are one thing, and differ")
    if body.memory_ids is not None:
        if body.filter is not None or session is not None:
            raise InvalidInput("name memory_ids, or a selector, one of the two")
        await erase_named(visit, body.memory_ids, body.user_id, body.writable_cube_ids)
    else:
        tree = selector(body.filter, user=body.user_id, session=session)
        await erase_selected(visit, tree, body.user_id, body.writable_cube_ids)
    return done("Memories deleted successfully", {"status": "success"})


@router.post("/get_user_names_by_memory_ids")
@reads
async def user_names(visit: Product, body: bodies.IdsIn) -> Response:
    """Return whose memories ids are; null for unknown ones."""
    held = await callers.locate(visit, body.memory_ids)
    names = {found.memory.id: found.memory.place.user for found in held}
    return done("Successfully", {id: names.get(id) for id in body.memory_ids})


@router.post("/exist_mem_cube_id")
@reads
async def cube_exists(visit: Product, body: bodies.CubeIn) -> Response:
    """Return whether there is a cube."""
    found = await callers.exists(visit, body.mem_cube_id)
    return done("Successfully", {body.mem_cube_id: found})


@router.post("/create_cube")
async def create_cube(visit: Product, body: bodies.CreateCubeIn) -> Response:
    """Create a cube for an end user."""
    visit.caller.limits.check_write()
    if body.cube_path is not None:
        raise InvalidInput(
            "cube_path: the server's store is its own; load a directory with 'memos load'",
            code="no_server_files",
        )
    user = await callers.subject(visit, body.owner_id)
    id = body.cube_id or str(uuid_utils.uuid7())
    cube = await visit.mos.cubes.create(id, name=body.cube_name, owner=user)
    data = {"cube_id": cube.id, "cube_name": cube.name, "owner_id": cube.owner}
    return done("Cube created successfully", data)


@router.post("/register_cube")
async def register_cube(visit: Product, body: bodies.RegisterCubeIn) -> Response:
    """Make sure that an end user has a cube; nothing is read from a path."""
    user = await callers.subject(visit, body.user_id)
    (cube,) = await callers.reaching(visit, user, [body.mem_cube_id or body.mem_cube_name_or_path])
    data = {"cube_id": cube, "cube_name_or_path": body.mem_cube_name_or_path}
    return done("Cube registered successfully", data)


def _named(several: list[str] | None, one: str | None) -> list[str]:
    return several or ([] if one is None else [one])


def _dedup(body: bodies.SearchIn) -> str:
    """Return what counts as said before; MemOS's own default of "mmr" holds for who names it."""
    if "dedup" not in body.model_fields_set or body.dedup is None:
        return "exact"
    return "none" if body.dedup == "no" else body.dedup


def _of_texts(visit: Visit, body: bodies.SearchIn) -> dict[str, Any]:
    """Return what is asked of the texts alone: a model and the web are asked once a search.

    As with MemOS, a search for the internet without an engine is one without the internet.
    """
    asked: dict[str, Any] = {}
    if "mode" in body.model_fields_set:
        asked["recipe"] = body.mode
        asked["session"] = body.session_id or DEFAULT_SESSION
    if body.internet_search and visit.tenants.engine.models.web is not None:
        asked["internet"] = True
    if body.neighbor_discovery:
        asked["neighbours"] = 1
    return asked


def _info(body: bodies.AddIn) -> dict[str, Any]:
    own = {
        name: getattr(body, name)
        for name in ("source", "task_id", "manager_user_id", "project_id")
        if getattr(body, name) is not None
    }
    return {**(body.info or {}), **own}


def _added(memory: Memory) -> dict[str, Any]:
    return {
        "memory": memory.text,
        "memory_id": memory.id,
        "memory_type": memory_type(memory),
        "cube_id": memory.place.cube,
    }


def _results(found: dict[str, list[Scored]], cubes: list[str], query: str) -> dict[str, Any]:
    parts: dict[str, Any] = {"act_mem": [], "para_mem": []}
    for bucket, scored in found.items():
        parts[bucket] = []
        for cube in cubes:
            mine = {cube, ""} if cube == cubes[0] else {cube}  # pages of the web are in no cube
            held = [one for one in scored if one.memory.place.cube in mine]
            memories = [item(one.memory, one.relativity) for one in held]
            part = {"cube_id": cube, "memories": memories, "total_nodes": len(memories)}
            parts[bucket].append(part)
    text, note = preferences_text([one.memory for one in found["pref_mem"]], query)
    return {**parts, "pref_note": note, "pref_string": text}


async def _kinds(visit: Visit, body: bodies.DashboardIn) -> dict[str, list[dict[str, Any]]]:
    if body.mem_cube_id is None:
        user = await callers.subject(visit, body.user_id)
        cubes = [held.id for held in await visit.mos.cubes.list(user=user)]
    else:
        user = await callers.owner(visit, body.user_id, body.mem_cube_id, create=True)
        cubes = await callers.reaching(visit, user, [body.mem_cube_id])
    unwanted = {
        "pref_mem": not body.include_preference,
        "tool_mem": not body.include_tool_memory,
        "skill_mem": not body.include_skill_memory,
    }
    tree = where(body.filter, cubes)
    kinds: dict[str, list[dict[str, Any]]] = {bucket: [] for bucket in BUCKETS}
    for bucket in (bucket for bucket in BUCKETS if not unwanted.get(bucket)):
        for cube in cubes:
            memories = await listed(visit, user, [cube], both(of_bucket(bucket), tree))
            shown = [item(memory) for memory in _page(memories, body)]
            part = {"cube_id": cube, "memories": shown, "total_nodes": len(memories)}
            kinds[bucket].append(part)
    return kinds


def _page(memories: list[Memory], body: bodies.DashboardIn) -> list[Memory]:
    if body.page is None and body.page_size is None:
        return memories
    size = body.page_size or 10
    start = ((body.page or 1) - 1) * size
    return memories[start : start + size]


def _drawn(cube: str, memories: list[Memory]) -> dict[str, Any]:
    statistics: dict[str, int] = {}
    for memory in memories:
        statistics[memory_type(memory)] = statistics.get(memory_type(memory), 0) + 1
    nodes = [item(memory) for memory in memories[-_SHOWN:]]
    tree: dict[str, Any] = {
        "nodes": nodes,
        "edges": [],
        "total_nodes": len(memories),
        "tree_structure": {},
    }
    return {"cube_id": cube, "memories": [tree], "memory_statistics": statistics}
