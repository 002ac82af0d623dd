"""``/v1/audit``: who did what to which cube."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Query
from fastapi.responses import Response

from memos import options as opt
from memos.server.account_schemas import AuditOut
from memos.server.deps import Acting, Cube, Instant, Visiting, native
from memos.server.replies import problems, reply
from memos.server.schemas import User

router: Final = native("audit")


@router.get("/audit", response_model=AuditOut, responses=problems())
async def listing(
    visit: Visiting,
    *,
    user: Acting = None,
    of: Annotated[User | None, Query(description="Only what this user did.")] = None,
    cube: Cube = None,
    since: Instant = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[str | None, Query(min_length=1, max_length=200)] = None,
) -> Response:
    """Return what was done in the account, newest first: never contents. For ADMIN and ROOT."""
    visit.caller.limits.check_manage()
    by = await visit.acting(user)
    page = await visit.tenants.audit.entries(
        visit.gate, by, since=opt.moment(since, "since"), user=of, cube=cube, limit=limit,
        cursor=cursor,
    )  # fmt: skip
    return reply(page)
