"""What surrounds every request: its ids, its log line, its size, and the headers of its answer."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping
from typing import Final, cast

import uuid_utils
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from memos.server.compat.envelopes import spoken
from memos.server.problems import Problem, formed
from memos.server.uploads import LARGE
from memos.telemetry import bind, observe

_logger: Final = logging.getLogger(__name__)
_TRACE_HEADERS: Final = ("g-trace-id", "x-trace-id", "trace-id")
_TRACE_ID: Final = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
SECURITY_HEADERS: Final[Mapping[str, str]] = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
_SERVER_ERROR: Final = 500


def trace_id(headers: Headers) -> str:
    """Return the caller's trace id: the first of the known headers that is one, or a new one."""
    for name in _TRACE_HEADERS:
        value = headers.get(name, "")
        if _TRACE_ID.fullmatch(value):
            return value
    parent = _TRACEPARENT.fullmatch(headers.get("traceparent", ""))
    return parent[1] if parent else uuid_utils.uuid7().hex


class RequestContext:
    """Gives every request a trace id, a log line, metrics, and its answer safe headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        trace, request = trace_id(Headers(scope=scope)), str(uuid_utils.uuid7())
        start, status = time.perf_counter(), _SERVER_ERROR

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = cast("int", message["status"])
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                headers["X-Trace-Id"], headers["X-Request-Id"] = trace, request
            await send(message)

        with bind(trace_id=trace, request_id=request):
            try:
                await self._app(scope, receive, sending)
            finally:
                self._note(scope, status, time.perf_counter() - start)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path_format", "unknown")
        method = str(scope["method"])
        dialect = spoken(scope) or "native"
        labels = {"method": method, "route": route, "status": str(status), "dialect": dialect}
        observe("http_request_seconds", seconds, **labels)
        facts = {"method": method, "route": route, "status": status, "dialect": dialect}
        _logger.info("request", extra={**facts, "ms": round(seconds * 1000, 1)})


class BodyLimit:
    """Refuses bodies that are too large; those that carry files may be larger."""

    def __init__(self, app: ASGIApp, most_bytes: int, most_file_bytes: int) -> None:
        self._app = app
        self._most = most_bytes
        self._most_file = most_file_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        large = LARGE.fullmatch(str(scope["path"])) is not None
        most = self._most_file if large else self._most
        declared = Headers(scope=scope).get("content-length", "0")
        if not declared.isdecimal() or int(declared) > most:
            await _too_large(scope, most)(scope, receive, send)
            return
        received, refused = 0, False

        async def receiving() -> Message:
            nonlocal received, refused
            message = await receive()
            received += len(message.get("body", b""))
            if received > most:
                refused = True
                return {"type": "http.disconnect"}
            return message

        async def sending(message: Message) -> None:
            if not refused:  # what the application says of a body that ended is not the reason
                await send(message)

        await self._app(scope, receiving, sending)
        if refused:
            await _too_large(scope, most)(scope, receive, send)


def _too_large(scope: Scope, most: int) -> Response:
    return formed(scope, Problem(413, "too_large", f"the body may have at most {most} bytes"))
