"""``/health``, ``/ready`` and ``/metrics``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, cast

from fastapi import Request
from fastapi.responses import HTMLResponse, Response

from memos import __version__, feedback
from memos.errors import Forbidden, MemosError
from memos.jobs.types import LABELS
from memos.server.deps import Visiting, native, tenants_of
from memos.server.docs_page import POLICY, page
from memos.server.metrics import Metrics
from memos.server.replies import problems, reply
from memos.server.schemas import HealthOut, ReadyOut

router: Final = native("server", "")


@router.get("/health", response_model=HealthOut)
async def health() -> Response:
    """Say that the process lives."""
    return reply({"status": "healthy", "service": "memos", "version": __version__})


@router.get("/ready", response_model=ReadyOut, responses={503: {"model": ReadyOut}})
async def ready(request: Request) -> Response:
    """Say whether the store answers."""
    tenants = tenants_of(request)
    checks = {"store": "ok"}
    try:
        await tenants.engine.accounts.standing(tenants.engine.settings.account, "")
    except MemosError as error:
        checks["store"] = error.code
    fine = all(state == "ok" for state in checks.values())
    if fine:
        return reply({"ready": True, "checks": checks})
    return reply({"ready": False, "checks": checks}, 503, Retry_After="1")


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> Response:
    """Show the document to people."""
    return HTMLResponse(page(request.app.openapi()), headers={"Content-Security-Policy": POLICY})


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **problems()},
)
async def metrics(request: Request, visit: Visiting) -> Response:
    """Return what was measured, for Prometheus; over all accounts, so for the operator's alone."""
    limits = visit.caller.limits
    limits.check_manage()
    own = visit.caller.account == visit.tenants.engine.settings.account
    if not own or limits.user is not None or limits.cubes is not None:
        raise Forbidden("what was measured is for keys of the operator's account", code="key_scope")
    measured = cast("Metrics", request.app.state.metrics)
    queue = visit.tenants.engine.store.jobs
    if queue is not None:
        for label in (*LABELS, feedback.LABEL):
            measured.queue(label, await queue.stats([label]), datetime.now(UTC))
    store = visit.tenants.engine.store
    if store.pulse is not None:
        measured.store(str(visit.tenants.engine.settings.store["kind"]), await store.pulse())
    return Response(measured.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
