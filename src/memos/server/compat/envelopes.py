"""What answers of the dialects are wrapped in, failures included.

``product`` and ``start`` answer ``{code, message, data}`` with the HTTP status as code; ``openmem``
has codes of its own for failures. MemOS answers some failures with status 200; here none does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final, Literal, TypeAlias, cast

import msgspec
from fastapi.responses import Response
from starlette.types import Scope

from memos.server.problems import Problem, answer

Dialect: TypeAlias = Literal["product", "openmem", "start"]
PRODUCT: Final = "/product"
OPENMEM: Final = ("/api/openmem/v1", "/platform/api/openmem/v1")
START: Final = frozenset({"configure", "users", "mem_cubes", "memories", "search", "chat"})
SHARED: Final = frozenset(
    {"add", "search", "get", "delete", "update", "extract", "rerank", "create", "bind", "edit"}
)
"""First parts of openmem's paths; under ``/product``, with a second part, they are openmem's."""
_ALONE: Final = frozenset({"rerank"})
_CLOUD: Final[Mapping[str, int]] = {
    "unauthenticated": 40100, "invalid_key": 40130, "invalid_id": 40010, "unknown_task": 50131,
    "unknown_memory": 40001, "erased": 40001,
}  # fmt: skip
_CLOUD_BY_STATUS: Final[Mapping[int, int]] = {
    401: 40100, 403: 40300, 404: 40001, 429: 40300,
}  # fmt: skip
_SERVER_ERROR: Final = 500
_encoder: Final = msgspec.json.Encoder()


def done(message: str, data: object = None) -> Response:
    """Return a success of the dialects product and start."""
    return written({"code": 200, "message": message, "data": data})


def ok(data: object) -> Response:
    """Return a success of the dialect openmem."""
    return done("ok", data)


def written(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON answer."""
    return Response(_encoder.encode(body), status, headers, "application/json")


def dialect_of(path: str) -> Dialect | None:
    """Return the dialect that a path belongs to, None for the native API."""
    if any(path.startswith(f"{prefix}/") for prefix in OPENMEM):
        return "openmem"
    first, *rest = path.strip("/").split("/")
    if first == PRODUCT.strip("/"):
        own = rest and (rest[0] in _ALONE or (rest[0] in SHARED and len(rest) > 1))
        return "openmem" if own else "product"
    return "start" if first in START else None


def spoken(scope: Scope) -> Dialect | None:
    """Return the dialect that a request is made in, None for the native API."""
    state = cast("Mapping[str, Dialect]", scope.get("state", {}))
    return state.get("dialect") or dialect_of(str(scope["path"]))


def formed(scope: Scope, problem: Problem) -> Response:
    """Return a failure in the form of whom it is for."""
    dialect = spoken(scope)
    if dialect is None:
        return answer(problem)
    if dialect == "openmem":
        return _cloud(problem)
    message, status = problem.detail, problem.status
    body: dict[str, object] = {}
    if problem.errors:
        places = "; ".join(_place(error) for error in problem.errors)
        message = f"Parameter validation error on {scope['method']} {scope['path']}: {places}"
        body["detail"] = list(problem.errors)
    elif status == HTTPStatus.UNPROCESSABLE_ENTITY:
        status = HTTPStatus.BAD_REQUEST  # 422 is for bodies that are not read at all
    body = {"code": int(status), "message": message, **body, "data": None}
    return written(body, status, problem.headers)


def _cloud(problem: Problem) -> Response:
    status, code = problem.status, _CLOUD.get(problem.code)
    if code is None:
        code = _CLOUD_BY_STATUS.get(status, 50000 if status >= _SERVER_ERROR else 40000)
    if status == HTTPStatus.UNPROCESSABLE_ENTITY:
        status = HTTPStatus.BAD_REQUEST
    body = {"code": code, "message": problem.detail, "data": None}
    return written(body, status, problem.headers)


def _place(error: Mapping[str, object]) -> str:
    parts = " -> ".join(cast("Sequence[str]", error.get("loc", ())))
    return f"[{parts}] {error.get('msg')} (type: {error.get('type')})"
