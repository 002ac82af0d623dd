"""``/v1/memories`` and ``/v1/search``."""

from __future__ import annotations

from typing import Annotated, Any, Final, cast

from fastapi import APIRouter, Header, Query
from fastapi.responses import Response

from memos.errors import InvalidInput
from memos.options import AddOptions, ForgetOptions, ListOptions, SearchOptions, UpdateOptions
from memos.server.deps import Acting, Visit, Visiting
from memos.server.replies import problems, reply
from memos.server.schemas import (
    AddedOut,
    AddIn,
    ForgetIn,
    ForgottenOut,
    HistoryOut,
    MemoryOut,
    PageOut,
    SearchIn,
    SearchOut,
    UpdateIn,
)
from memos.telemetry import span

router: Final = APIRouter(prefix="/v1", tags=["memories"])
_CONTENTS: Final = frozenset({"messages", "text", "items"})
IdempotencyKey = Annotated[
    str | None,
    Header(max_length=200, description="Makes a repeated call harmless."),
]
Cube = Annotated[str | None, Query(max_length=512, description="The cube.")]


@router.post("/memories", status_code=201, response_model=AddedOut, responses=problems(404, 409))
async def add(visit: Visiting, body: AddIn, idempotency_key: IdempotencyKey = None) -> Response:
    """Remember messages, a text, or MemOS's items; everything is found when this returns."""
    named = [name for name in _CONTENTS if getattr(body, name) is not None]
    if len(named) != 1:
        raise InvalidInput("give messages, text or items, one of the three", code="no_content")
    options = await _options(visit, body.model_dump(exclude_none=True), drop=_CONTENTS)
    if idempotency_key is not None:
        options["batch_id"] = idempotency_key
    with span("add_seconds"):
        added = await visit.mos.add(getattr(body, named[0]), **cast("AddOptions", options))
    return reply(added, 201)


@router.get("/memories", response_model=PageOut, responses=problems(404))
async def listing(
    visit: Visiting,
    user: Acting = None,
    cube: Cube = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    as_of: Annotated[str | None, Query(max_length=64, description="ISO 8601.")] = None,
) -> Response:
    """Return memories in the order they were recorded; a filter goes to ``POST``."""
    given = {"user": user, "cube": cube, "limit": limit, "cursor": cursor, "as_of": as_of}
    options = await _options(visit, _present(given))
    return reply(await visit.mos.get_all(**cast("ListOptions", options)))


@router.get("/memories/{id}", response_model=MemoryOut, responses=problems(404, 409))
async def get(
    visit: Visiting,
    id: str,
    user: Acting = None,
    cube: Cube = None,
    resolve: bool = False,  # noqa: FBT001, FBT002 - a query parameter
    if_none_match: Annotated[str | None, Header(max_length=200)] = None,
) -> Response:
    """Return the latest version of a memory, also when it was retired or superseded."""
    options = await _options(visit, _present({"user": user, "cube": cube}))
    memory = await visit.mos.get(id, resolve=resolve, **cast("Any", options))
    tag = f'"{memory.version}"'
    if if_none_match == tag:
        return Response(status_code=304, headers={"ETag": tag})
    return reply(memory, ETag=tag)


@router.get("/memories/{id}/history", response_model=HistoryOut, responses=problems(404))
async def history(visit: Visiting, id: str, user: Acting = None, cube: Cube = None) -> Response:
    """Return every version of a memory, oldest first."""
    options = await _options(visit, _present({"user": user, "cube": cube}))
    versions = await visit.mos.history(id, **cast("Any", options))
    return reply({"versions": versions})


@router.patch("/memories/{id}", response_model=MemoryOut, responses=problems(404, 409, 412))
async def update(
    visit: Visiting,
    id: str,
    body: UpdateIn,
    if_match: Annotated[str | None, Header(max_length=200)] = None,
) -> Response:
    """Store a new version of a memory; a null clears what may be empty."""
    given = body.model_dump(exclude_unset=True)
    if if_match is not None:
        version = if_match.strip('"')
        if not version.isdecimal():
            raise InvalidInput("If-Match: expected a version in quotes, as ETag gives it")
        given["expect"] = int(version)
    options = await _options(visit, given)
    memory = await visit.mos.update(id, **cast("UpdateOptions", options))
    return reply(memory, ETag=f'"{memory.version}"')


@router.delete("/memories/{id}", response_model=ForgottenOut, responses=problems(404, 409))
async def delete(
    visit: Visiting,
    id: str,
    user: Acting = None,
    cube: Cube = None,
    erase: bool = False,  # noqa: FBT001, FBT002 - a query parameter
) -> Response:
    """Retire a memory, or erase every trace of it."""
    options = await _options(visit, _present({"user": user, "cube": cube}))
    mode = "erase" if erase else "retire"
    forgotten = await visit.mos.forget(id, **cast("ForgetOptions", {**options, "mode": mode}))
    return reply(forgotten)


@router.post("/memories/forget", response_model=ForgottenOut, responses=problems(404, 409))
async def forget(visit: Visiting, body: ForgetIn) -> Response:
    """Retire or erase memories by ids or by a filter; an empty filter is an error."""
    options = await _options(visit, body.model_dump(exclude_none=True), drop=frozenset({"ids"}))
    return reply(await visit.mos.forget(body.ids, **cast("ForgetOptions", options)))


@router.post("/search", response_model=SearchOut, responses=problems(404, 409))
async def search(visit: Visiting, body: SearchIn) -> Response:
    """Find the memories that answer a question, best first."""
    drop = frozenset({"query"})
    options = await _options(visit, body.model_dump(exclude_none=True), drop=drop)
    with span("search_seconds"):
        found = await visit.mos.search(body.query, **cast("SearchOptions", options))
    return reply(found)


async def _options(
    visit: Visit, given: dict[str, Any], *, drop: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """Return the options of a call, for the end user who acts."""
    user = await visit.acting(given.pop("user", None))
    return {"user": user, **{name: value for name, value in given.items() if name not in drop}}


def _present(given: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}
