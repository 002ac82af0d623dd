"""``/v1/memories`` and ``/v1/search``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Final, cast

from fastapi import Header, Query
from fastapi.responses import Response
from starlette.convertors import PathConvertor, register_url_convertor

from memos.errors import Conflict, MemosError
from memos.options import AddOptions, ForgetOptions, ListOptions, SearchOptions, UpdateOptions, Who
from memos.remember import AddResult
from memos.server import etags
from memos.server.account_schemas import StatsOut
from memos.server.audited import reads
from memos.server.deps import (
    Acting,
    Cube,
    Cubes,
    IdempotencyKey,
    Instant,
    Visit,
    Visiting,
    native,
    present,
)
from memos.server.document import link
from memos.server.job_schemas import JobOut
from memos.server.problems import Problem, answer, body_of, of_error
from memos.server.replies import BEGUN, Described, outcome, problems, reply
from memos.server.schemas import (
    CONTENTS,
    AddedManyOut,
    AddedOut,
    AddIn,
    AddManyIn,
    ForgetIn,
    ForgottenOut,
    HistoryOut,
    ListIn,
    MemoryOut,
    PageOut,
    SearchIn,
    SearchOut,
    UpdateIn,
)
from memos.telemetry import span
from memos.types import JobStatus

_COLLECTION: Final = ("batch", "forget", "query")
"""What stands where an id would; memories that are called so are reached by a filter."""


class _MemoryId(PathConvertor):
    """Any id, slashes included, but for what names another route."""

    regex = rf"(?!(?:{'|'.join(_COLLECTION)})$)(?!.*/history$).+"


register_url_convertor("memory", _MemoryId())
router: Final = native("memories")
_ADDED: Final = {
    "id": "$response.body#/ids/0",
    "user": "$response.body#/user",
    "cube": "$response.body#/cube",
}
_TAGGED: Final = {"ETag": {"description": "The version.", "schema": {"type": "string"}}}
_LINKS: Final[Described] = {
    201: {
        "links": {
            operation: link(f"memories.{operation}", **_ADDED)
            for operation in ("get", "history", "delete")
        }
    }
}


@router.post(
    "/memories",
    status_code=201,
    response_model=AddedOut,
    responses=problems(409, 502) | _LINKS | {202: {"description": BEGUN, "model": JobOut}},
)
async def add(visit: Visiting, body: AddIn, idempotency_key: IdempotencyKey = None) -> Response:
    """Remember messages, a text, or MemOS's items; everything is found when this returns.

    With ``background`` it is found once the job is done that is returned with 202.
    """
    added = await _added(visit, body, {}, idempotency_key)
    if isinstance(added, JobStatus):
        return reply(added, 202)
    (cube,) = visit.trail.cubes
    where = {"user": visit.trail.user, "cube": cube}
    return reply({"ids": added.ids, "stored": added.stored, **where}, 201)


@router.post(
    "/memories/batch",
    status_code=201,
    response_model=AddedManyOut,
    responses=problems(409, 502)
    | {207: {"description": "Some adds failed.", "model": AddedManyOut}},
)
async def add_many(
    visit: Visiting, body: AddManyIn, idempotency_key: IdempotencyKey = None
) -> Response:
    """Do many adds, one after the other; what fails does so alone, and the answer is 207 then."""
    shared = body.model_dump(exclude_none=True, exclude={"adds"})
    results: list[dict[str, object]] = []
    for number, one in enumerate(body.adds):
        key = None if idempotency_key is None else f"{idempotency_key}/{number}"
        try:
            added = await _added(visit, one, shared, key)
        except MemosError as error:
            results.append({"problem": body_of(of_error(error))})
        else:
            results.append(outcome(added))
    fine = all("problem" not in result for result in results)
    return reply({"results": results}, 201 if fine else 207)


async def _added(
    visit: Visit, body: AddIn, shared: Mapping[str, Any], key: str | None
) -> AddResult | JobStatus:
    given = {**shared, **body.model_dump(exclude_none=True)}
    (content,) = [given[name] for name in CONTENTS if name in given]
    options = await visit.options(given, *CONTENTS, "background")
    if key is not None:
        options["batch_id"] = key
    if body.background:
        return await visit.mos.jobs.add(content, **cast("AddOptions", options))
    with span("add_seconds"):
        return await visit.mos.add(content, **cast("AddOptions", options))


@router.get("/memories", response_model=PageOut, responses=problems())
async def listing(
    visit: Visiting,
    user: Acting = None,
    cube: Cube = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[str | None, Query(min_length=1, max_length=200)] = None,
    as_of: Instant = None,
) -> Response:
    """Return memories in the order they were recorded; a filter goes to ``/memories/query``."""
    given = present(user=user, cube=cube, limit=limit, cursor=cursor, as_of=as_of)
    options = await visit.options(given)
    return reply(await visit.mos.get_all(**cast("ListOptions", options)))


@router.post("/memories/query", response_model=PageOut, responses=problems())
@reads
async def query(visit: Visiting, body: ListIn) -> Response:
    """Return the memories that a filter selects, in the order they were recorded."""
    options = await visit.options(body.model_dump(exclude_none=True))
    return reply(await visit.mos.get_all(**cast("ListOptions", options)))


@router.get("/memories/{id:path}/history", response_model=HistoryOut, responses=problems())
async def history(
    visit: Visiting, id: str, user: Acting = None, cube: Cube = None, cubes: Cubes = None
) -> Response:
    """Return every version of a memory, oldest first."""
    options = await visit.options(present(user=user, cube=cube, cubes=cubes))
    versions = await visit.mos.history(id, **cast("Any", options))
    return reply({"versions": versions})


@router.get(
    "/memories/{id:memory}",
    response_model=MemoryOut,
    responses=problems(409)
    | {200: {"headers": _TAGGED}, 304: {"description": "Not changed.", "headers": _TAGGED}},
)
async def get(
    visit: Visiting,
    id: str,
    *,
    user: Acting = None,
    cube: Cube = None,
    cubes: Cubes = None,
    resolve: bool = False,
    if_none_match: Annotated[str | None, Header(max_length=200)] = None,
) -> Response:
    """Return the latest version of a memory, also when it was retired or superseded."""
    options = await visit.options(present(user=user, cube=cube, cubes=cubes))
    memory = await visit.mos.get(id, resolve=resolve, **cast("Any", options))
    if memory.id != id:
        return reply(memory)  # the versions of another memory are no states of this one
    tag = etags.tag_of(memory)
    if etags.holds(if_none_match, tag):
        return Response(status_code=304, headers={"ETag": tag})
    return reply(memory, ETag=tag)


@router.patch(
    "/memories/{id:memory}",
    response_model=MemoryOut,
    responses=problems(409, 412, 502) | {200: {"headers": _TAGGED}},
)
async def update(
    visit: Visiting,
    id: str,
    body: UpdateIn,
    if_match: Annotated[str | None, Header(max_length=200)] = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Store a new version of a memory; a null clears what may be empty."""
    options = await visit.options(body.model_dump(exclude_unset=True))
    if idempotency_key is not None:
        options["batch_id"] = idempotency_key
    try:
        options |= await _version(visit, id, options, if_match)
        memory = await visit.mos.update(id, **cast("UpdateOptions", options))
    except Conflict as error:
        if if_match is None or error.code != "version_moved":
            raise
        return answer(Problem(412, error.code, error.detail))
    return reply(memory, ETag=etags.tag_of(memory))


async def _version(
    visit: Visit, id: str, options: Mapping[str, Any], if_match: str | None
) -> dict[str, int]:
    """Return the version that ``If-Match`` expects; the store compares it as it writes."""
    tags = etags.expected(if_match)
    if tags is None:
        return {}
    if len(tags) == 1 and tags[0].isascii() and tags[0].isdecimal():
        return {"expect": int(tags[0])}
    user = options["user"]
    memory = await visit.mos.get(id, user=user, cube=options.get("cube") or user)
    if etags.tag_of(memory).strip('"') in tags:
        return {"expect": memory.version}
    raise Conflict(f"memory {id!r} is in none of the states that If-Match names; read it again",
                   code="version_moved")  # fmt: skip


@router.delete("/memories/{id:memory}", response_model=ForgottenOut, responses=problems(409))
async def delete(
    visit: Visiting,
    id: str,
    user: Acting = None,
    cube: Cube = None,
    erase: bool = False,  # noqa: FBT001, FBT002 - a query parameter
) -> Response:
    """Retire a memory, or erase every trace of it."""
    options = await visit.options(present(user=user, cube=cube))
    mode = "erase" if erase else "retire"
    forgotten = await visit.mos.forget(id, **cast("ForgetOptions", {**options, "mode": mode}))
    return reply(forgotten)


@router.post("/memories/forget", response_model=ForgottenOut, responses=problems(409))
async def forget(visit: Visiting, body: ForgetIn) -> Response:
    """Retire or erase memories by ids or by a filter; an empty filter is an error."""
    options = await visit.options(body.model_dump(exclude_none=True), "ids")
    return reply(await visit.mos.forget(body.ids, **cast("ForgetOptions", options)))


@router.post("/search", response_model=SearchOut, responses=problems(409, 502))
@reads
async def search(visit: Visiting, body: SearchIn) -> Response:
    """Find the memories that answer a question, best first."""
    options = await visit.options(body.model_dump(exclude_none=True), "query")
    with span("search_seconds"):
        found = await visit.mos.search(body.query, **cast("SearchOptions", options))
    return reply(found)


@router.get("/stats", response_model=StatsOut, responses=problems())
async def stats(visit: Visiting, user: Acting = None, cube: Cube = None) -> Response:
    """Count what a cube holds; the acting user's own when none is named."""
    options = await visit.options(present(user=user, cube=cube))
    found = await visit.mos.stats(**cast("Who", options))
    return reply(replace(found, bytes=0))  # the store is shared with others, its size is too
