"""The calls about memories and talking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec

from memos.chat.accounting import UsageReport
from memos.chat.conversation import ChatResult
from memos.client import failures
from memos.client.calls import (
    Call,
    decoder,
    field_of,
    given,
    key_of,
    nothing,
    query,
    reading,
    segment,
    timed,
)
from memos.client.transfers import add_file
from memos.client.values import AddedOne
from memos.errors import InvalidInput
from memos.mos import AddResult, ForgetResult
from memos.retrieve.pipeline import SearchResult
from memos.types import Memory, MemoryPage


def add(content: object, options: Mapping[str, object]) -> Call[AddResult]:
    """Return the call of ``add``."""
    if isinstance(content, Path):
        return add_file(content, options)
    body = {**timed(options), **_content(content)}
    key = key_of(body)
    read = reading(AddResult)
    return Call("POST", "/v1/memories", read, body=body, headers=key, repeatable=True)


def add_many(contents: Sequence[object], options: Mapping[str, object]) -> Call[list[AddedOne]]:
    """Return the call of ``add_many``; who and where stand once, the rest with every add."""
    rest = timed(options)
    key = key_of(rest)
    shared = {name: rest.pop(name) for name in ("user", "cube") if name in rest}
    body = {**shared, "adds": [{**rest, **_content(content)} for content in contents]}
    return Call("POST", "/v1/memories/batch", _added, body=body, headers=key, repeatable=True)


def search(text: str, options: Mapping[str, object]) -> Call[SearchResult]:
    """Return the call of ``search``."""
    body = {**_cubes(options), "query": text}
    return Call("POST", "/v1/search", reading(SearchResult), body=body, repeatable=True)


def get(id: str, options: Mapping[str, object], *, resolve: bool) -> Call[Memory]:
    """Return the call of ``get``."""
    params = query(**options, resolve=resolve or None)
    return Call("GET", f"/v1/memories/{segment(id)}", reading(Memory), params, repeatable=True)


def get_all(options: Mapping[str, object]) -> Call[MemoryPage]:
    """Return the call of ``get_all``."""
    body = _cubes(options)
    return Call("POST", "/v1/memories/query", reading(MemoryPage), body=body, repeatable=True)


def history(id: str, options: Mapping[str, object]) -> Call[list[Memory]]:
    """Return the call of ``history``."""
    path = f"/v1/memories/{segment(id)}/history"
    read = field_of("versions", list[Memory])
    return Call("GET", path, read, query(**options), repeatable=True)


def update(id: str, changes: Mapping[str, object]) -> Call[Memory]:
    """Return the call of ``update``."""
    body = timed(changes)
    key = key_of(body)
    path, read = f"/v1/memories/{segment(id)}", reading(Memory)
    return Call("PATCH", path, read, body=body, headers=key, repeatable=True)


def forget(ids: str | Sequence[str] | None, options: Mapping[str, object]) -> Call[ForgetResult]:
    """Return the call of ``forget``; what is forgotten already stays so."""
    listed = [ids] if isinstance(ids, str) else ids
    body = {**_cubes(options), **given(ids=listed)}
    read = reading(ForgetResult)
    return Call("POST", "/v1/memories/forget", read, body=body, repeatable=True)


def chat(text: str, options: Mapping[str, object]) -> Call[ChatResult]:
    """Return the call of ``chat``; a second one would ask the model anew, so it is sent once."""
    body = {**timed(options), "query": text}
    key = key_of(body)
    return Call("POST", "/v1/chat", reading(ChatResult), body=body, headers=key)


def chat_stream(text: str, options: Mapping[str, object]) -> Call[None]:
    """Return the call of ``chat_stream``, whose answer is read as it comes."""
    body = {**timed(options), "query": text}
    key = key_of(body)
    headers = {**key, "Accept": "text/event-stream"}
    return Call("POST", "/v1/chat/stream", nothing, body=body, headers=headers)


def usage(options: Mapping[str, object]) -> Call[UsageReport]:
    """Return the call of ``usage``."""
    return Call("GET", "/v1/usage", reading(UsageReport), query(**timed(options)), repeatable=True)


def _content(content: object) -> dict[str, object]:
    """Return what is to be remembered under the name that the wire has for it."""
    if isinstance(content, str):
        return {"text": content}
    if isinstance(content, Path):
        raise InvalidInput("files are added one at a time, by add", code="no_content")
    if isinstance(content, Mapping):
        return {"items": [content]}
    if isinstance(content, Sequence) and not isinstance(content, bytes | bytearray):
        entries = cast("Sequence[object]", content)
        items = bool(entries) and all(isinstance(e, Mapping) and "memory" in e for e in entries)
        return {"items" if items else "messages": list(entries)}
    raise InvalidInput(
        f"cannot remember a {type(content).__name__}; pass a text, messages or items"
    )


def _cubes(options: Mapping[str, object]) -> dict[str, object]:
    """Return options with ``cube`` as the one of ``cubes``."""
    body = timed(options)
    cube = body.pop("cube", None)
    if cube is not None:
        if body.get("cubes") is not None:
            raise InvalidInput("name 'cube' or 'cubes', not both")
        body["cubes"] = [cube]
    return body


def _added(content: bytes) -> list[AddedOne]:
    results = decoder(dict[str, list[dict[str, Any]]]).decode(content)["results"]
    return [_one(result) for result in results]


def _one(result: Mapping[str, Any]) -> AddedOne:
    problem = result.get("problem")
    if problem is None:
        return msgspec.convert({"ids": result["ids"], "stored": result["stored"]}, AddedOne)
    return AddedOne(error=failures.of_problem(failures.problem_of(problem)))
