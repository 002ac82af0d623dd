"""Errors as answers: problem details (RFC 9457) with the stable codes of ``memos.errors``.

Whatever goes wrong, the status says so: nothing answers 200 for a failure.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, TypeAlias, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match, Route
from starlette.types import Scope

from memos.errors import MemosError, RateLimited, Unauthenticated, UpstreamError
from memos.telemetry import bound

_logger: Final = logging.getLogger(__name__)
_SOON_S: Final = 1.0
"""When to come back after a failure that may pass, where nobody says."""
_FOR_NOW: Final = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
MEDIA_TYPE: Final = "application/problem+json"
CODES: Final[Mapping[int, str]] = {
    400: "bad_request", 401: "unauthenticated", 403: "forbidden", 404: "not_found",
    405: "method_not_allowed", 406: "not_acceptable", 409: "conflict", 411: "length_required",
    412: "precondition_failed", 413: "too_large", 415: "unsupported_media_type",
    422: "invalid_input", 429: "too_many_requests", 500: "internal",
    501: "not_built_yet", 502: "upstream", 503: "unavailable",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Problem:
    """What went wrong, before it has a form.

    Attributes:
        status: The HTTP status.
        code: The stable word of the error.
        detail: One sentence for a person.
        error: The class of ``memos.errors`` that it is, when it is one.
        errors: Where the request is malformed: places and messages, never its values.
        context: Further named facts.
        headers: What the status asks for.
    """

    status: int
    code: str
    detail: str
    error: str | None = None
    errors: Sequence[Mapping[str, object]] = ()
    context: Mapping[str, object] = field(default_factory=dict[str, object])
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


Form: TypeAlias = Callable[[Scope, Problem], Response]
"""Gives a problem the form of the API that a request belongs to."""


def install(app: FastAPI, form: Form) -> None:
    """Let every error of ``app`` end in an answer of ``form``."""
    app.state.form = form
    app.add_exception_handler(MemosError, _memos)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _unexpected)


def of_error(error: MemosError) -> Problem:
    """Return the problem that an error of this package is."""
    headers: dict[str, str] = {}
    context = {name: value for name, value in error.context.items() if _is_plain(value)}
    status = error.status
    if isinstance(error, RateLimited) and error.service == "memos":
        status = HTTPStatus.TOO_MANY_REQUESTS  # it is we who refuse, not a service behind us
    if error.code in ("no_reranker", "no_web"):
        status = HTTPStatus.UNPROCESSABLE_ENTITY  # who asks for none is served
    if error.code == "no_chat_model":
        status = HTTPStatus.SERVICE_UNAVAILABLE
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, UpstreamError):
        context |= {"service": error.service, "retryable": error.retryable}
    wait = error.retry_after if isinstance(error, RateLimited) else None
    if wait is None and isinstance(error, UpstreamError) and error.retryable:
        wait = _SOON_S
    if wait is not None and status in _FOR_NOW:
        headers["Retry-After"] = str(max(1, round(wait)))
    kind = type(error).__name__
    return Problem(status, error.code, error.detail, kind, context=context, headers=headers)


def answer(problem: Problem) -> Response:
    """Return problem details."""
    return JSONResponse(body_of(problem), problem.status, dict(problem.headers), MEDIA_TYPE)


def body_of(problem: Problem) -> dict[str, object]:
    """Return problem details as JSON-ready data."""
    return {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "code": problem.code,
        "detail": problem.detail,
        **({"error": problem.error} if problem.error else {}),
        **({"errors": list(problem.errors)} if problem.errors else {}),
        **({"context": dict(problem.context)} if problem.context else {}),
        **{name: value for name, value in bound().items() if name == "trace_id"},
    }


def formed(scope: Scope, problem: Problem) -> Response:
    """Return a problem in the form that its request asks for."""
    return cast("Form", scope["app"].state.form)(scope, problem)


async def _memos(request: Request, error: Exception) -> Response:
    problem = of_error(cast("MemosError", error))
    if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _logger.warning("failed", extra={"code": problem.code, "status": problem.status})
    return formed(request.scope, problem)


async def _validation(request: Request, error: Exception) -> Response:
    found = cast("Sequence[Mapping[str, Any]]", cast("RequestValidationError", error).errors())
    errors = [
        {"loc": [str(part) for part in item["loc"]], "msg": item["msg"], "type": item["type"]}
        for item in found
    ]
    told = "; ".join(f"{'.'.join(item['loc'])}: {item['msg']}" for item in errors[:5])
    return formed(request.scope, Problem(422, "invalid_input", told, errors=errors))


async def _http(request: Request, error: Exception) -> Response:
    raised = cast("HTTPException", error)
    code = CODES.get(raised.status_code, "error")
    headers = dict(raised.headers or {})
    if raised.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(sorted(_methods(request)))
    return formed(request.scope, Problem(raised.status_code, code, raised.detail, headers=headers))


async def _gone(_request: Request, _error: Exception) -> Response:
    return answer(Problem(400, "bad_request", "the body ended before it was whole"))


def _methods(request: Request) -> set[str]:
    """Return what the path allows; the framework names the methods of its first route alone."""
    app = cast("FastAPI", request.app)
    found: set[str] = set()
    for route in app.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            found |= route.methods or set()
    return found


async def _unexpected(request: Request, error: Exception) -> Response:
    _logger.error("failed unexpectedly", exc_info=error)
    detail = "something failed that should not; the log knows it by the trace id"
    return formed(request.scope, Problem(500, "internal", detail))


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float | str | list | tuple)
