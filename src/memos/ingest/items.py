"""MemOS's ``TextualMemoryItem``: reading one into a memory, and writing a memory as one.

An item is ``{id, memory, metadata}``. What our record has a field for goes there; everything else
of the metadata is kept under ``data["metadata"]``, so that nothing is lost on the way and back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, cast, get_args

from msgspec import structs

from memos.errors import InvalidInput
from memos.ingest.messages import check_text, read_time
from memos.kinds import FACT, from_memory_type, memory_type
from memos.types import Json, Memory, Place, Source, Status, Tier

_SOURCE_FIELDS: Final = frozenset(
    {"type", "role", "chat_time", "message_id", "content", "doc_path"}
)
_PLAIN: Final = frozenset(
    {"user_id", "session_id", "status", "key", "confidence", "tags", "info", "memory_type",
     "sources", "created_at", "updated_at", "embedding", "version"}
)  # fmt: skip
"""Metadata that a field of the record stands for; ``embedding`` is ours to make."""


def from_item(item: Mapping[str, object], place: Place, where: str) -> Memory:
    """Return the memory that an item describes.

    Raises:
        InvalidInput: The item is malformed; the message says where.
    """
    text = item.get("memory")
    if not isinstance(text, str) or not text.strip():
        raise InvalidInput(f"{where}.memory: expected a non-empty string", code="empty")
    metadata = _mapping(item.get("metadata", {}), f"{where}.metadata")
    kind, tier = _type(metadata.get("memory_type"), where)
    user, session = metadata.get("user_id"), metadata.get("session_id")
    return Memory(
        id=_id(item.get("id"), where),
        kind=kind,
        text=check_text(text, f"{where}.memory"),
        place=structs.replace(place, user=str(user) if user else place.user,
                      session=str(session) if session else place.session),
        tier=tier,
        status=_status(metadata.get("status", "activated"), where),
        tags=_tags(metadata.get("tags"), where),
        title=None if metadata.get("key") is None else str(metadata["key"]),
        confidence=_confidence(metadata.get("confidence"), where),
        sources=tuple(_sources(metadata.get("sources"), where)),
        created_at=_time(metadata, "created_at", where),
        recorded_at=_time(metadata, "updated_at", where),
        info=_mapping(metadata.get("info") or {}, f"{where}.metadata.info"),
        data=_rest(metadata),
    )  # fmt: skip


def to_item(memory: Memory) -> dict[str, object]:
    """Return a memory as MemOS's item: ``{id, memory, metadata}``, ready for JSON."""
    kept = memory.data.get("metadata")
    metadata: dict[str, object] = (
        dict(cast("Mapping[str, object]", kept)) if isinstance(kept, Mapping) else {}
    )
    metadata |= {
        "user_id": memory.place.user,
        "session_id": memory.place.session,
        "status": memory.status,
        "key": memory.title,
        "confidence": memory.confidence,
        "tags": list(memory.tags),
        "info": dict(memory.info),
        "memory_type": memory_type(memory),
        "sources": [_source_item(source) for source in memory.sources],
        "created_at": None if memory.created_at is None else memory.created_at.isoformat(),
        "updated_at": None if memory.recorded_at is None else memory.recorded_at.isoformat(),
        "version": memory.version,
    }
    return {"id": memory.id, "memory": memory.text, "metadata": metadata}


def _rest(metadata: Mapping[str, object]) -> Mapping[str, Json]:
    rest = {name: value for name, value in metadata.items() if name not in _PLAIN}
    return {"metadata": rest} if rest else {}


def _mapping(value: object, where: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise InvalidInput(f"{where}: expected an object, got {type(value).__name__}")
    return cast("Mapping[str, object]", value)


def _id(value: object, where: str) -> str:
    if value is not None and not isinstance(value, str):
        raise InvalidInput(f"{where}.id: expected a string, got {type(value).__name__}")
    return value or ""


def _type(value: object, where: str) -> tuple[str, Tier]:
    if value is None:
        return FACT.name, FACT.tier
    found = from_memory_type(str(value))
    if found is None:
        raise InvalidInput(f"{where}.metadata.memory_type: unknown type {value!r}")
    return found[0].name, found[1]


def _status(value: object, where: str) -> Status:
    if value not in get_args(Status):
        raise InvalidInput(
            f"{where}.metadata.status: {value!r} is none of {', '.join(get_args(Status))}"
        )
    return cast("Status", value)


def _tags(value: object, where: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise InvalidInput(f"{where}.metadata.tags: expected a list")
    return tuple(
        check_text(str(tag), f"{where}.metadata.tags") for tag in cast("Sequence[object]", value)
    )


def _confidence(value: object, where: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInput(f"{where}.metadata.confidence: expected a number")
    return float(value)


def _time(metadata: Mapping[str, object], name: str, where: str) -> datetime | None:
    value = metadata.get(name)
    return None if value is None else read_time(value, f"{where}.metadata.{name}")


def _sources(value: object, where: str) -> list[Source]:
    if value is None:
        return []
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise InvalidInput(f"{where}.metadata.sources: expected a list")
    return [
        _source(entry, f"{where}.metadata.sources") for entry in cast("Sequence[object]", value)
    ]


def _source(entry: object, where: str) -> Source:
    if isinstance(entry, str):  # MemOS's tree dumps hold sources as JSON inside strings
        try:
            entry = json.loads(entry)
        except json.JSONDecodeError:
            entry = {"content": entry}
    fields = _mapping(entry, where)
    at = (
        None
        if fields.get("chat_time") is None
        else read_time(fields["chat_time"], f"{where}.chat_time")
    )
    # The words of a time that names no moment stay with the rest; nothing is dropped.
    known = _SOURCE_FIELDS if at is not None else _SOURCE_FIELDS - {"chat_time"}
    extra = {name: value for name, value in fields.items() if name not in known}
    if fields.get("content") is not None:
        extra["content"] = fields["content"]
    if at is not None:
        extra["chat_time"] = fields["chat_time"]
    return Source(
        type=str(fields.get("type") or "chat"),
        id=None if fields.get("message_id") is None else str(fields["message_id"]),
        role=None if fields.get("role") is None else str(fields["role"]),
        at=at,
        uri=None if fields.get("doc_path") is None else str(fields["doc_path"]),
        extra=extra,
    )


def _source_item(source: Source) -> dict[str, object]:
    item: dict[str, object] = {"type": source.type, **source.extra}
    named = {"role": source.role, "message_id": source.id, "doc_path": source.uri}
    item |= {name: value for name, value in named.items() if value is not None}
    if source.at is not None:
        item.setdefault("chat_time", source.at.isoformat())
    return item
