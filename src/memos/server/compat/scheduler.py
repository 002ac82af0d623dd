"""MemOS's scheduler routes under ``/product``, answered truthfully: nothing is ever pending.

Everything is done when the call that began it has returned, so counts are 0 and waiting is over.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from fastapi.responses import Response, StreamingResponse

from memos.errors import NotFound
from memos.options import ListOptions
from memos.server.audited import Audited, reads
from memos.server.compat import callers
from memos.server.compat.callers import Product
from memos.server.compat.conversations import sent
from memos.server.compat.envelopes import done, written

router: Final = APIRouter(prefix="/product/scheduler", include_in_schema=False, route_class=Audited)
UserId = Annotated[str, Query(min_length=1, max_length=512)]
TaskId = Annotated[str | None, Query(min_length=1, max_length=512)]
_STATES: Final = ("waiting", "in_progress", "pending", "completed", "failed", "cancelled", "total")


@router.get("/allstatus")
async def all_status(visit: Product) -> Response:
    """Return how many tasks there are in each state."""
    del visit
    none = dict.fromkeys(_STATES, 0)
    data = {"scheduler_summary": none, "all_tasks_summary": none}
    return done("Memory get status successfully", data)


@router.get("/status")
async def status(visit: Product, user_id: UserId, task_id: TaskId = None) -> Response:
    """Return the tasks under way, which are none; or that a named one is completed."""
    user = await callers.subject(visit, user_id)
    tasks: list[dict[str, str]] = []
    if task_id is not None:
        options: ListOptions = {"user": user, "where": {"info.task_id": task_id}, "limit": 1}
        if not (await visit.mos.get_all(**options)).items:
            raise NotFound(f"there is no task {task_id!r}", code="unknown_task")
        tasks = [{"task_id": task_id, "status": "completed"}]
    return done("Memory get status successfully", tasks)


@router.get("/task_queue_status")
async def queue_status(visit: Product, user_id: UserId) -> Response:
    """Return what waits for an end user, which is nothing."""
    data: dict[str, Any] = {
        "user_id": await callers.subject(visit, user_id),
        "user_name": user_id,
        "mem_cube_id": None,
        "stream_keys": [],
        "users_count": 0,
        "pending_tasks_count": 0,
        "remaining_tasks_count": 0,
        "pending_tasks_detail": [],
        "remaining_tasks_detail": [],
    }
    return done("Memory get status successfully", data)


@router.post("/wait")
@reads
async def wait(visit: Product, user_name: UserId) -> Response:
    """Return at once; as in MemOS, this envelope has no code."""
    user = await callers.subject(visit, user_name)
    data = {"running_tasks": 0, "waited_seconds": 0.0, "timed_out": False, "user_name": user}
    return written({"message": "idle", "data": data})


@router.get("/wait/stream")
async def wait_stream(visit: Product, user_name: UserId) -> Response:
    """Return the one event that nothing is under way."""
    user = await callers.subject(visit, user_name)
    event = {
        "user_name": user, "active_tasks": 0, "elapsed_seconds": 0.0, "status": "idle",
        "instance_id": "memos",
    }  # fmt: skip
    return StreamingResponse(iter([sent(event)]), media_type="text/event-stream")
