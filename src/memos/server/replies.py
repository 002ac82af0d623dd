"""Answers of the native API: values as JSON, and the problems that any route may answer."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from fastapi.responses import Response

from memos.remember import AddResult
from memos.server.problems import CODES, MEDIA_TYPE
from memos.types import JobStatus

Described = dict[int | str, dict[str, Any]]
"""Status -> what a route's description says of it."""
BEGUN: Final = "It is put, and not done yet: a job does it."
_encoder: Final = msgspec.json.Encoder()
_PROBLEM: Final = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemOut"}}}
_EVERYWHERE: Final = (400, 401, 403, 404, 413, 422, 429, 500, 503)


def reply(value: object, status: int = 200, **headers: str) -> Response:
    """Return a value of this package as a JSON answer; header names have dashes for underscores."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Response(_encoder.encode(value), status, named, "application/json")


def outcome(added: AddResult | JobStatus) -> dict[str, object]:
    """Return what became of one of many adds: what it stored, or the job that will."""
    if isinstance(added, JobStatus):
        return {"job": added}
    return {"ids": added.ids, "stored": added.stored}


def problems(*statuses: int) -> Described:
    """Return what a route's description says of these failures, and those of all routes."""
    told = sorted({*_EVERYWHERE, *statuses})
    return {status: {"description": CODES[status], "content": _PROBLEM} for status in told}
