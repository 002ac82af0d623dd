"""Answers of the native API: values as JSON, and the problems that any route may answer."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from fastapi.responses import Response

from memos.server.schemas import ProblemOut

_encoder: Final = msgspec.json.Encoder()


def reply(value: object, status: int = 200, **headers: str) -> Response:
    """Return a value of this package as a JSON answer; header names have dashes for underscores."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Response(_encoder.encode(value), status, named, "application/json")


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what a route's description says of these failures, and those of all routes."""
    told: dict[str, Any] = {"model": ProblemOut, "content": {"application/problem+json": {}}}
    return dict.fromkeys(sorted({400, 401, 403, 413, 422, 429, 500, 503, *statuses}), told)
