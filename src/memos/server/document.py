"""The OpenAPI document: what FastAPI finds out, and what it cannot know of our answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from fastapi import FastAPI

from memos.server.problems import MEDIA_TYPE
from memos.server.schemas import ProblemOut

_REF: Final = "#/components/schemas/{model}"
_SCHEME: Final = "key"
_OPEN: Final = frozenset({"/health", "/ready"})
"""Routes that ask for no key."""
_TRACE: Final = {"description": "Finds the request in the log.", "schema": {"type": "string"}}
_LATER: Final = {
    "description": "Seconds until another request may be served.",
    "schema": {"type": "integer", "minimum": 1},
}
_MORE: Final[Mapping[str, Mapping[str, object]]] = {
    "401": {"WWW-Authenticate": {"schema": {"type": "string"}}},
    "429": {"Retry-After": _LATER},
    "503": {"Retry-After": _LATER},
}
"""Headers that come with a status on every route."""


class Described(FastAPI):
    """An application whose document says all that its routes answer."""

    def openapi(self) -> dict[str, Any]:
        """Return the document; made with the first call."""
        if self.openapi_schema is None:
            self.openapi_schema = _completed(super().openapi())
        return self.openapi_schema


def link(operation: str, **parameters: str) -> dict[str, object]:
    """Return what leads from an answer to another operation (OpenAPI link).

    Args:
        operation: Its id.
        **parameters: Its parameters, as run-time expressions.
    """
    return {"operationId": operation, "parameters": parameters}


def _completed(document: dict[str, Any]) -> dict[str, Any]:
    parts = document.setdefault("components", {})
    schema = ProblemOut.model_json_schema(ref_template=_REF)
    parts.setdefault("schemas", {})["ProblemOut"] = schema
    parts["securitySchemes"] = {
        _SCHEME: {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key; 'memos key create' makes one.",
        }
    }
    for path, operation in _operations(document):
        if path not in _OPEN:
            operation["security"] = [{_SCHEME: []}]
        answers = cast("dict[str, dict[str, Any]]", operation["responses"])
        for status, answer in answers.items():
            headers = {"X-Trace-Id": _TRACE, **_MORE.get(status, {})}
            answer["headers"] = {**headers, **answer.get("headers", {})}
            if MEDIA_TYPE in answer.get("content", {}):  # the same on every route: said once
                name = f"Problem{status}"
                parts.setdefault("responses", {})[name] = answer
                answers[status] = {"$ref": f"#/components/responses/{name}"}
    return document


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    paths = cast("Mapping[str, Mapping[str, dict[str, Any]]]", document["paths"])
    for path, operations in paths.items():
        for operation in operations.values():
            yield path, operation
