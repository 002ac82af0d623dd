"""Answers of the native API: values as JSON, and the problems that any route may answer."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from fastapi.responses import Response

from memos.server.problems import CODES, MEDIA_TYPE

Described = dict[int | str, dict[str, Any]]
"""Status -> what a route's description says of it."""
_encoder: Final = msgspec.json.Encoder()
_PROBLEM: Final = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemOut"}}}
_EVERYWHERE: Final = (400, 401, 403, 404, 413, 422, 429, 500, 503)


def reply(value: object, status: int = 200, **headers: str) -> Response:
    """Return a value of this package as a JSON answer; header names have dashes for underscores."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Response(_encoder.encode(value), status, named, "application/json")


def problems(*statuses: int) -> Described:
    """Return what a route's description says of these failures, and those of all routes."""
    told = sorted({*_EVERYWHERE, *statuses})
    return {status: {"description": CODES[status], "content": _PROBLEM} for status in told}
