"""The openmem dialect: what MemOS's published client and its plugins speak."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import uuid_utils
from fastapi import APIRouter, Response

from memos.errors import InvalidInput, NotFound
from memos.options import UpdateOptions
from memos.retrieve.rerank import CosineReranker
from memos.server.audited import Audited, reads
from memos.server.compat import callers
from memos.server.compat.bodies import Name
from memos.server.compat.callers import Openmem
from memos.server.compat.cloudbodies import (
    AddMessageIn,
    DeleteMemoryIn,
    GetMemoryIn,
    GetMessageIn,
    RerankIn,
    SearchMemoryIn,
    SubjectIn,
    TaskIn,
    UpdateMemoryIn,
)
from memos.server.compat.envelopes import ok
from memos.server.compat.items import (
    detail,
    messages,
    preference_detail,
    preferences_text,
    skill_detail,
    tool_detail,
)
from memos.server.compat.recall import Scored, Wanted, listed, search
from memos.server.compat.remember import (
    DEFAULT_SESSION,
    Told,
    contents_of,
    erase_named,
    erase_selected,
    remember,
    selector,
)
from memos.server.compat.selectors import BUCKETS, both, of_bucket, of_type, where
from memos.server.compat.unbuilt import NotBuilt, add_unbuilt
from memos.server.deps import Visit
from memos.types import Json, Memory

router: Final = APIRouter(include_in_schema=False, route_class=Audited)
add_unbuilt(router, "openmem")
_Detail = Callable[[Memory, float | None], dict[str, Json]]
_LISTS: Final[Mapping[str, tuple[str, _Detail]]] = {
    "text_mem": ("memory_detail_list", detail),
    "pref_mem": ("preference_detail_list", preference_detail),
    "tool_mem": ("tool_memory_detail_list", tool_detail),
    "skill_mem": ("skill_detail_list", skill_detail),
}
_MESSAGES: Final = 20
_CONVERSATIONS: Final = 5


@router.post("/add/message")
async def add_message(visit: Openmem, body: AddMessageIn) -> Response:
    """Remember messages; they are found when this returns, whatever ``async_mode`` says."""
    users, agents = _several(body.user_id), _several(body.agent_id)
    if not users and not agents:
        raise InvalidInput("name a user_id or an agent_id", code="no_subject")
    contents = contents_of(body.messages, None, None)
    info = dict(body.info or {})
    if body.source:
        info.setdefault("source", body.source)
    if users and len(agents) > 1:
        info["agent_ids"] = agents
    options: dict[str, Any] = {
        "session": body.conversation_id or DEFAULT_SESSION, "info": info, "tags": body.tags or (),
    }  # fmt: skip
    if body.app_id:
        options["app"] = body.app_id
    subjects = [await callers.subject(visit, user) for user in users] or [
        await callers.subject(visit, None, agent) for agent in agents
    ]
    held: list[Memory] = []
    for at, user in enumerate(subjects):
        agent = agents[0] if users and len(agents) == 1 else None if users else agents[at]
        placed = options if agent is None else {**options, "agent": agent}
        held += await remember(visit, Told(user, [user], contents, placed))
    return ok({"success": True, "task_id": held[0].id, "status": "completed"})


@router.post("/search/memory")
@reads
async def search_memory(visit: Openmem, body: SearchMemoryIn) -> Response:
    """Find what answers a question."""
    user = await _one(visit, body)
    limits = {
        "text_mem": body.memory_limit_number,
        "pref_mem": body.preference_limit_number if body.include_preference else 0,
        "tool_mem": body.tool_memory_limit_number if body.include_tool_memory else 0,
        "skill_mem": body.skill_limit_number if body.include_skill else 0,
    }
    wanted = Wanted(body.query, user, [user], limits, where(body.filter), body.relativity or 0)
    found = await search(visit, wanted)
    _, note = preferences_text([one.memory for one in found["pref_mem"]], body.query)
    return ok({**_details(found), "message_detail_list": None, "preference_note": note})


@router.post("/get/memory")
@reads
async def get_memory(visit: Openmem, body: GetMemoryIn) -> Response:
    """Return a page of memories; the newest come first."""
    user = await _one(visit, body)
    wanted = {"text_mem", "skill_mem"}
    wanted |= {"pref_mem"} if body.include_preference else set()
    wanted |= {"tool_mem"} if body.include_tool_memory else set()
    kinds = [kind for bucket in wanted for kind in BUCKETS[bucket]]
    tree = both({"kind": {"in": kinds}}, where(body.filter))
    memories = (await listed(visit, user, [user], tree))[::-1]
    start = (body.page - 1) * body.size
    shown: dict[str, list[Scored]] = {bucket: [] for bucket in BUCKETS}
    for memory in memories[start : start + body.size]:
        bucket = next(name for name, kinds in BUCKETS.items() if memory.kind in kinds)
        shown[bucket].append(Scored(memory, None))
    pages = -(-len(memories) // body.size)
    counts = {"total": len(memories), "size": body.size, "current": body.page, "pages": pages}
    return ok({**_details(shown), **counts})


@router.get("/get/memory/{memory_id}")
async def get_memory_by_id(visit: Openmem, memory_id: str) -> Response:
    """Return a memory by its id."""
    return ok(detail((await callers.found(visit, memory_id)).memory))


@router.post("/get/message")
@reads
async def get_message(visit: Openmem, body: GetMessageIn) -> Response:
    """Return the last messages of a conversation, or of the last conversations."""
    user = await callers.subject(visit, body.user_id)
    tree = both({"kind": "turn"}, _session(body.conversation_id))
    said: dict[str | None, list[Memory]] = {}
    for memory in await listed(visit, user, [user], tree):
        conversation = said.pop(memory.place.session, [])
        conversation.append(memory)
        said[memory.place.session] = conversation  # who spoke last comes last
    last = list(said.values())[-(body.conversation_limit_number or _CONVERSATIONS) :]
    most = body.message_limit_number or _MESSAGES
    shown = [
        message
        for conversation in last
        for message in messages(sorted(conversation, key=lambda one: one.position or 0))[-most:]
    ]
    return ok({"message_detail_list": shown})


@router.post("/delete/memory")
async def delete_memory(visit: Openmem, body: DeleteMemoryIn) -> Response:
    """Erase memories: by ids, of a user, of an agent, or by a filter; one of these."""
    modes = [body.memory_ids, body.user_id, body.agent_id, body.filter]
    if sum(mode is not None for mode in modes) != 1:
        raise InvalidInput(
            "name memory_ids, user_id, agent_id or filter, one of them", code="no_selector"
        )
    if body.memory_ids is not None:
        await erase_named(visit, body.memory_ids, None, None)
        return ok({"success": True})
    typed = None if body.memory_type is None else _typed(body.memory_type)
    user = None
    if body.filter is None:
        user = await callers.subject(visit, body.user_id, body.agent_id)
    tree = selector(body.filter, cube=user)
    await erase_selected(visit, both(typed, tree), None, None if user is None else [user])
    return ok({"success": True})


@router.post("/update/memory")
async def update_memory(visit: Openmem, body: UpdateMemoryIn) -> Response:
    """Change a memory's words or title, or erase it."""
    found = await callers.found(visit, body.memory_id)
    visit.trail.target = found.memory.id
    if body.status not in (None, "activated", "deleted"):
        raise NotBuilt("status: memories are activated or deleted; no other status is built yet")
    if body.status == "deleted":
        await erase_named(visit, [found.memory.id], None, None)
        return ok({"success": True})
    changes = {"text": body.content, "title": body.title}
    given = {name: value for name, value in changes.items() if value is not None}
    if given:
        await visit.mos.update(found.memory.id, **cast("UpdateOptions", {**given, **found.who}))
    elif body.status is None:
        raise InvalidInput("name content, title or status", code="empty")
    return ok({"success": True})


@router.post("/get/status")
@reads
async def get_status(visit: Openmem, body: TaskIn) -> Response:
    """Return that a task is done: everything is, when the call that began it has returned.

    A task is called like the first memory that it stored.
    """
    if not await callers.locate(visit, [body.task_id]):
        raise NotFound(f"there is no task {body.task_id!r}", code="unknown_task")
    return ok({"task_id": body.task_id, "status": "completed", "memory_views": None})


@router.post("/rerank")
@reads
async def rerank(visit: Openmem, body: RerankIn) -> Response:
    """Return documents in the order in which they answer a question."""
    models = visit.tenants.engine.models
    reranker = models.reranker or CosineReranker(models.embedder)
    scores = [float(score) for score in await reranker.score(body.query, body.documents)]
    order = sorted(range(len(scores)), key=lambda at: -scores[at])[: body.top_n]
    results = [{"index": at, "relevance_score": scores[at]} for at in order]
    return ok({"id": str(uuid_utils.uuid7()), "results": results})


def _details(found: Mapping[str, list[Scored]]) -> dict[str, Any]:
    return {
        name: [shape(one.memory, one.relativity) for one in found[bucket]]
        for bucket, (name, shape) in _LISTS.items()
    }


async def _one(visit: Visit, body: SubjectIn) -> str:
    """Return the end user whose memories are asked for."""
    if (body.user_id is None) == (body.agent_id is None):
        raise InvalidInput("name user_id or agent_id, one of the two", code="no_subject")
    return await callers.subject(visit, body.user_id, body.agent_id)


def _several(named: Name | list[str] | None) -> list[str]:
    return list(dict.fromkeys([named] if isinstance(named, str) else named or []))


def _session(conversation: str | None) -> dict[str, object] | None:
    return {"session": conversation} if conversation else None


def _typed(name: str) -> Mapping[str, object]:
    """Return the filter of a memory type, in MemOS's words or as its lists are called."""
    lists = {
        "memory": "text_mem",
        "preference": "pref_mem",
        "tool": "tool_mem",
        "skill": "skill_mem",
    }
    named = name.removesuffix("_memory")
    if named in lists:
        return of_bucket(lists[named])
    return of_type(name)[1] or {}
