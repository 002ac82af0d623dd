"""``/docs``: the OpenAPI document as one page that needs nothing else, no script and no network."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from hashlib import sha256
from html import escape
from typing import Any, Final, cast

Object = Mapping[str, Any]
_STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem;
       color: #222; background: #fff; }
h2 { margin-top: 3rem; border-bottom: 1px solid #ccc; text-transform: capitalize; }
h3 { margin-top: 2rem; } code, h3 { font-family: ui-monospace, monospace; }
h3 b { display: inline-block; min-width: 4.5rem; color: #05a; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1rem; }
td { border-top: 1px solid #ddd; padding: .25rem .75rem .25rem 0; vertical-align: top; }
td:first-child { width: 30%; } .plain { color: #666; }
@media (prefers-color-scheme: dark) {
  body { color: #ddd; background: #181818; } h3 b { color: #6bf; } td, h2 { border-color: #444; } }
"""
_HASH: Final = base64.b64encode(sha256(_STYLE.encode()).digest()).decode()
POLICY: Final = f"default-src 'none'; style-src 'sha256-{_HASH}'; frame-ancestors 'none'"
"""Lets the page have its own style and nothing else."""


def page(document: Object) -> str:
    """Return the page of a document."""
    info = cast("Object", document["info"])
    title = f"{info['title']} {info['version']}"
    body = "".join(_resources(document))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
        f"<h1>{escape(title)}</h1><p>{escape(info.get('summary', ''))}. A key goes into the header "
        "<code>Authorization: Bearer</code>. This page as data: "
        '<a href="/openapi.json">openapi.json</a>.</p>'
        f"{body}</html>"
    )


def _resources(document: Object) -> Iterator[str]:
    by_tag: dict[str, list[str]] = {}
    for path, operations in cast("Mapping[str, Mapping[str, Object]]", document["paths"]).items():
        for method, operation in operations.items():
            told = _operation(document, method, path, operation)
            for tag in cast("list[str]", operation.get("tags", ["other"])):
                by_tag.setdefault(tag, []).append(told)
    for tag, told in by_tag.items():
        yield f"<h2>{escape(tag)}</h2>{''.join(told)}"


def _operation(document: Object, method: str, path: str, operation: Object) -> str:
    id = escape(str(operation.get("operationId", "")))
    parts = [
        f'<h3 id="{id}"><b>{escape(method.upper())}</b> {escape(path)}</h3>',
        f"<p>{escape(operation.get('description', ''))}</p>",
        _table(_parameters(operation)),
    ]
    body = cast("Object", operation.get("requestBody", {}))
    for kind, content in cast("Mapping[str, Object]", body.get("content", {})).items():
        parts.append(f'<p class="plain">Body: {escape(kind)}</p>')
        parts.append(_table(_fields(document, content.get("schema", {}))))
    answers = [
        (status, _answer(document, answer)) for status, answer in operation["responses"].items()
    ]
    return "".join(parts) + '<p class="plain">Answers</p>' + _table(iter(answers))


def _parameters(operation: Object) -> Iterator[tuple[str, str]]:
    for parameter in cast("list[Object]", operation.get("parameters", [])):
        told = _type(parameter.get("schema", {}))
        where = f"{parameter['in']}{', required' if parameter.get('required') else ''}"
        yield str(parameter["name"]), f"{told} ({where}) {parameter.get('description', '')}"


def _fields(document: Object, schema: Object) -> Iterator[tuple[str, str]]:
    found = _resolved(document, schema)
    required = cast("list[str]", found.get("required", []))
    for name, field in cast("Mapping[str, Object]", found.get("properties", {})).items():
        needed = ", required" if name in required else ""
        yield name, f"{_type(field)}{needed} {field.get('description', '')}"


def _answer(document: Object, answer: Object) -> str:
    found = _resolved(document, answer)
    schemas = [
        _type(content.get("schema", {}))
        for content in cast("Mapping[str, Object]", found.get("content", {})).values()
    ]
    return f"{found.get('description', '')} {' '.join(schemas)}"


def _type(schema: Object) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(_type(part) for part in cast("list[Object]", schema["anyOf"]))
    if "enum" in schema:
        return " | ".join(str(value) for value in cast("list[object]", schema["enum"]))
    kind = str(schema.get("type", "any"))
    return f"list of {_type(schema.get('items', {}))}" if kind == "array" else kind


def _resolved(document: Object, part: Object) -> Object:
    while "$ref" in part:
        found: Any = document
        for name in str(part["$ref"]).removeprefix("#/").split("/"):
            found = found[name]
        part = found
    return part


def _table(rows: Iterator[tuple[str, str]]) -> str:
    told = "".join(f"<tr><td><code>{escape(name)}</code><td>{escape(text)}" for name, text in rows)
    return f"<table>{told}</table>" if told else ""
