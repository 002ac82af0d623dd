"""``/v1/jobs``: how far work in the background is."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any, Final, Literal, cast

from fastapi import Header, Query, Request
from fastapi.responses import Response, StreamingResponse

from memos.errors import MemosError
from memos.jobs.service import looks
from memos.options import JobsOptions
from memos.server.deps import Acting, Cube, Cubes, Visit, Visiting, native, present, stopping_of
from memos.server.job_schemas import JobOut, JobsOut
from memos.server.problems import body_of, of_error
from memos.server.replies import problems, reply
from memos.server.streams import EVENT_HEADERS, sent
from memos.types import ENDED, JobState, JobStatus
from memos.wire import to_json

router: Final = native("jobs", "/v1/jobs")
_EVENT: Final = {
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "event": {"enum": ["progress", "done", "failed", "timeout", "error"]},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
}
"""What the document says of each event."""
_SILENT_S: Final = 15.0
"""After that a comment is sent, so that nobody between takes the stream for dead."""
Timeout = Annotated[float, Query(ge=0, le=300, description="Seconds to wait at most.")]
Limit = Annotated[int, Query(ge=1, le=1000)]
Cursor = Annotated[str | None, Query(min_length=1, max_length=200)]
Label = Annotated[Literal["add", "import", "reindex"] | None, Query(description="Of a kind.")]
State = Annotated[JobState | None, Query(description="In a state.")]


@router.get("", response_model=JobsOut, responses=problems())
async def listing(
    visit: Visiting,
    *,
    user: Acting = None,
    cube: Cube = None,
    cubes: Cubes = None,
    label: Label = None,
    state: State = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """Return jobs about the cubes that the acting user may read, the latest first."""
    given = present(
        user=user, cube=cube, cubes=cubes, label=label, state=state, limit=limit, cursor=cursor
    )
    options = await visit.options(given)
    return reply(await visit.mos.jobs.list(**cast("JobsOptions", options)))


@router.get("/{id}", response_model=JobOut, responses=problems())
async def get(visit: Visiting, id: str, user: Acting = None) -> Response:
    """Return how far a job is."""
    return reply(await visit.mos.jobs.get(id, user=await visit.acting(user)))


@router.get(
    "/{id}/wait",
    response_model=JobOut,
    responses=problems()
    | {
        200: {
            "content": {"text/event-stream": {"schema": _EVENT}},
            "description": "How it ended, or how far it is when the time is up.",
        }
    },
)
async def wait(
    visit: Visiting,
    request: Request,
    id: str,
    *,
    user: Acting = None,
    timeout_s: Timeout = 30.0,
    accept: Annotated[str | None, Header(max_length=1000)] = None,
) -> Response:
    """Wait for a job to end; as server-sent events when those are asked for.

    The events are ``progress`` whenever it moves, and at the end one of ``done``, ``failed``, and
    ``timeout`` when the time is up or the server stops: then ask again.
    """
    acting = await visit.acting(user)
    first = await visit.mos.jobs.get(id, user=acting)
    seen = _seen(visit, request, (id, acting), timeout_s)
    if "text/event-stream" in (accept or ""):
        return StreamingResponse(_lines(first, seen), 200, EVENT_HEADERS, "text/event-stream")
    latest = first
    async with aclosing(seen):
        async for status in seen:
            latest = status
    return reply(latest)


@router.post("/{id}/retry", response_model=JobOut, responses=problems())
async def retry(visit: Visiting, id: str, user: Acting = None) -> Response:
    """Begin a job anew that was given up."""
    visit.caller.limits.check_write()
    status = await visit.mos.jobs.retry(id, user=await visit.acting(user))
    visit.trail.cubes = (status.cube,)
    return reply(status)


async def _seen(
    visit: Visit, request: Request, of: tuple[str, str], timeout_s: float
) -> AsyncGenerator[JobStatus, None]:
    """Look at a job; who lost its key or its rights meanwhile sees nothing more."""
    id, user = of
    stopping = stopping_of(request)
    async with aclosing(looks(visit.mos.jobs, id, timeout_s=timeout_s, user=user)) as found:
        async for status in found:
            await visit.tenants.check(visit.caller, user, [status.cube])
            yield status
            if stopping.is_set():
                return


async def _lines(
    first: JobStatus, seen: AsyncGenerator[JobStatus, None]
) -> AsyncGenerator[str, None]:
    latest, told, at = first, cast("Any", None), time.monotonic()
    async with aclosing(seen):
        try:
            async for latest in seen:
                if latest.state in ENDED:
                    yield sent(latest.state, to_json(latest))
                    return
                if latest != told:
                    told, at = latest, time.monotonic()
                    yield sent("progress", to_json(latest))
                elif time.monotonic() - at > _SILENT_S:
                    at = time.monotonic()
                    yield ": still at it\n\n"
            yield sent("timeout", to_json(latest))
        except MemosError as error:
            yield sent("error", body_of(of_error(error)))
