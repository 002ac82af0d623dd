"""MemOS's scheduler routes under ``/product``: what is under way in the background.

What the dialects add is done when the call has returned; the jobs are those of the native API.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Annotated, Any, Final

import anyio
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse

from memos.errors import MemosError, NotFound
from memos.jobs.types import LABELS
from memos.options import ListOptions
from memos.ports.queue import Wanted
from memos.server.audited import Audited, reads
from memos.server.compat import callers
from memos.server.compat.callers import Product
from memos.server.compat.conversations import sent
from memos.server.compat.envelopes import done, written
from memos.server.deps import Visit, stopping_of
from memos.types import JobState, JobStatus, Scope

router: Final = APIRouter(prefix="/product/scheduler", include_in_schema=False, route_class=Audited)
UserId = Annotated[str, Query(min_length=1, max_length=512)]
TaskId = Annotated[str | None, Query(min_length=1, max_length=512)]
Seconds = Annotated[float, Query(ge=0, le=600)]
_STATES: Final = ("waiting", "in_progress", "pending", "completed", "failed", "cancelled", "total")
_THEIRS: Final[dict[JobState, str]] = {
    "waiting": "waiting", "running": "in_progress", "done": "completed", "failed": "failed",
}  # fmt: skip
"""Our states -> MemOS's."""
_UNDER_WAY: Final[tuple[JobState, ...]] = ("waiting", "running")
_MOST: Final = 10_000
_POLL_S: Final = 0.5


@router.get("/allstatus")
async def all_status(visit: Product) -> Response:
    """Return how many tasks there are in each state, of all cubes that the credentials reach."""
    scope, _ = await visit.gate.whole()
    counted = Counter(_THEIRS[job.state] for job in await _jobs(visit, scope))
    summary = {**dict.fromkeys(_STATES, 0), **counted, "total": counted.total()}
    data = {"scheduler_summary": summary, "all_tasks_summary": summary}
    return done("Memory get status successfully", data)


@router.get("/status")
async def status(visit: Product, user_id: UserId, task_id: TaskId = None) -> Response:
    """Return the tasks of an end user, or the named one: a job, or what an add called so."""
    user = await callers.subject(visit, user_id)
    tasks = [
        {"task_id": job.id, "status": _THEIRS[job.state]}
        for job in await _jobs(visit, await visit.gate.scope(user))
        if task_id in (None, job.id)
    ]
    if task_id is not None and not tasks:
        options: ListOptions = {"user": user, "where": {"info.task_id": task_id}, "limit": 1}
        if not (await visit.mos.get_all(**options)).items:
            raise NotFound(f"there is no task {task_id!r}", code="unknown_task")
        tasks = [{"task_id": task_id, "status": "completed"}]
    return done("Memory get status successfully", tasks)


@router.get("/task_queue_status")
async def queue_status(visit: Product, user_id: UserId) -> Response:
    """Return what waits for an end user, and what is under way."""
    user = await callers.subject(visit, user_id)
    jobs = await _jobs(visit, await visit.gate.scope(user), _UNDER_WAY)
    waiting = [job.id for job in jobs if job.state == "waiting"]
    running = [job.id for job in jobs if job.state == "running"]
    data: dict[str, Any] = {
        "user_id": user,
        "user_name": user_id,
        "mem_cube_id": None,
        "stream_keys": [],
        "users_count": int(bool(jobs)),
        "pending_tasks_count": len(running),
        "remaining_tasks_count": len(waiting),
        "pending_tasks_detail": running,
        "remaining_tasks_detail": waiting,
    }
    return done("Memory get status successfully", data)


@router.post("/wait")
@reads
async def wait(
    visit: Product, request: Request, user_name: UserId, timeout_seconds: Seconds = 120.0
) -> Response:
    """Return once nothing is under way, or the time is up; as in MemOS, without a code."""
    user = await callers.subject(visit, user_name)
    start = time.monotonic()
    async with aclosing(_running(visit, request, user, timeout_seconds)) as seen:
        *_, running = [count async for count in seen]
    data = {
        "running_tasks": running, "waited_seconds": round(time.monotonic() - start, 3),
        "timed_out": running > 0, "user_name": user,
    }  # fmt: skip
    return written({"message": "timeout" if running else "idle", "data": data})


@router.get("/wait/stream")
async def wait_stream(
    visit: Product, request: Request, user_name: UserId, timeout_seconds: Seconds = 120.0
) -> Response:
    """Tell how much is under way until nothing is, or the time is up."""
    user = await callers.subject(visit, user_name)
    events = _events(user, _running(visit, request, user, timeout_seconds))
    return StreamingResponse(events, media_type="text/event-stream")


async def _jobs(visit: Visit, scope: Scope, states: Sequence[JobState] = ()) -> list[JobStatus]:
    wanted = Wanted(tuple(scope.grants), LABELS, states, _MOST)
    return await visit.tenants.engine.queue.find(scope.account, wanted)


async def _running(
    visit: Visit, request: Request, user: str, timeout_s: float
) -> AsyncGenerator[int, None]:
    """Count what is under way for a user again and again, until nothing is or the time is up."""
    until, stopping, bell = time.monotonic() + timeout_s, stopping_of(request), visit.mos.jobs.bell
    while True:
        rung = bell.next()
        await visit.tenants.check(visit.caller, user, [])
        count = len(await _jobs(visit, await visit.gate.scope(user), _UNDER_WAY))
        yield count
        left = until - time.monotonic()
        if not count or left <= 0 or stopping.is_set():
            return
        with anyio.move_on_after(min(_POLL_S, left)):
            await rung.wait()


async def _events(user: str, seen: AsyncGenerator[int, None]) -> AsyncGenerator[str, None]:
    start, count = time.monotonic(), 0

    def event(status: str, **more: object) -> str:
        elapsed = round(time.monotonic() - start, 3)
        return sent(
            {"user_name": user, "active_tasks": count, "elapsed_seconds": elapsed,
             "status": status, "instance_id": "memos", **more}
        )  # fmt: skip

    async with aclosing(seen):
        try:
            async for count in seen:
                if count:
                    yield event("running")
        except MemosError as error:
            yield sent(
                {"status": "error", "detail": error.detail, "exception": type(error).__name__,
                 "user_name": user}
            )  # fmt: skip
            return
    yield event("timeout", timed_out=True) if count else event("idle")
