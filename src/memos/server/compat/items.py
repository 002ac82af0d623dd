"""Memories in the forms that MemOS's clients read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, cast

from memos.ingest.items import to_item
from memos.kinds import memory_type
from memos.retrieve.pipeline import SearchResult
from memos.types import Json, Memory

_ROOT: Final = 0.25
"""Brings MemOS's default bound of 0.45 to where one memory in 25 is evidence."""
_FEW: Final = 20
"""So many candidates weigh as much as knowing nothing."""
_KEPT: Final = 0.6
"""What is said where nothing is known: above MemOS's default bound."""
_TITLE: Final = 60
_CJK: Final = re.compile(r"[\u3400-\u9fff]")
_HEADS: Final = {"explicit_preference": "Explicit Preference", "implicit_preference":
                 "Implicit Preference"}  # fmt: skip
_NOTES: Final = {
    "en": "Follow these preferences where they bear on the question; what is said explicitly wins "
    "over what was inferred, and what the user asks for now wins over both.",
    "zh": "回答时请遵循与问题相关的偏好；明确表达的偏好优先于推断的偏好，当前的要求优先于两者。",
}


def relativities(found: SearchResult) -> list[float]:
    """Return how well the hits of a search answer, from 0 to 1, falling with their rank.

    A hit's ``relativity`` is about how often one like it is evidence, seldom more than one half,
    and says little among few candidates. Clients sort by this number, so none is given less than
    those behind it.
    """
    count = found.trace.candidates
    scores: list[float] = []
    best = 0.0
    for hit in reversed(found.hits):
        held = (hit.relativity**_ROOT * count + _KEPT * _FEW) / (count + _FEW)
        best = max(best, held)
        scores.append(round(best, 4))
    return scores[::-1]


def item(memory: Memory, score: float | None = None) -> dict[str, Json]:
    """Return a memory as the product dialect shows it."""
    made = to_item(memory)
    ref = f"[{memory.id.rpartition('-')[2][:8]}]"
    metadata: dict[str, Json] = {
        **cast("Mapping[str, Json]", made["metadata"]),
        **({} if score is None else {"relativity": score}),
        "embedding": [], "usage": [], "ref_id": ref, "id": memory.id, "memory": memory.text,
        "mem_cube_id": memory.place.cube,
    }  # fmt: skip
    return {"id": memory.id, "memory": memory.text, "ref_id": ref, "metadata": metadata}


def detail(memory: Memory, score: float | None = None) -> dict[str, Json]:
    """Return a memory as the openmem dialect lists it."""
    return {
        "id": memory.id,
        "memory_key": memory.title or memory.text[:_TITLE],
        "memory_value": memory.text,
        "memory_type": memory_type(memory),
        "confidence": memory.confidence,
        "tags": list(memory.tags),
        "info": dict(memory.info),
        "agent_id": memory.place.agent,
        "app_id": memory.place.app,
        "user_id": memory.place.user,
        **_common(memory, score),
    }


def preference_detail(memory: Memory, score: float | None = None) -> dict[str, Json]:
    """Return a preference as the openmem dialect lists it."""
    held = _metadata(memory)
    return {
        "id": memory.id,
        "preference": held.get("preference") or memory.text,
        "preference_type": preference_type(memory),
        "reasoning": held.get("reasoning") or "",
        **_common(memory, score),
    }


def tool_detail(memory: Memory, score: float | None = None) -> dict[str, Json]:
    """Return a memory of a tool as the openmem dialect lists it."""
    held = _metadata(memory)
    return {
        "id": memory.id,
        "tool_type": memory_type(memory),
        "tool_value": memory.text,
        "tool_used_status": held.get("tool_used_status") or [],
        "experience": held.get("experience") or "",
        **_common(memory, score),
    }


def skill_detail(memory: Memory, score: float | None = None) -> dict[str, Json]:
    """Return a skill as the openmem dialect lists it."""
    held = _metadata(memory)
    value = {name: held.get(name) for name in ("procedure", "experience", "examples")}
    return {
        "id": memory.id,
        "skill_type": memory_type(memory),
        "skill_value": {"name": memory.title, "description": memory.text, **value},
        "skill_url": held.get("url"),
        **_common(memory, score),
    }


def messages(memories: Iterable[Memory]) -> list[dict[str, Json]]:
    """Return what was said, in order: the parts of a long message are one again."""
    said: list[dict[str, Json]] = []
    end = 0
    for memory in memories:
        source = memory.sources[0] if memory.sources else None
        start = (source and source.start) or 0
        shown = _message(memory)
        if said and 0 < end <= start and said[-1]["role"] == shown["role"]:
            gap = "\n" if end < start else ""
            said[-1]["content"] = f"{said[-1]['content']}{gap}{memory.text}"
        else:
            said.append(shown)
        end = (source and source.end) or 0
    return said


def preference_type(memory: Memory) -> str:
    """Return whether a preference was said or inferred."""
    named = _metadata(memory).get("preference_type")
    return "implicit_preference" if named == "implicit_preference" else "explicit_preference"


def preferences_text(memories: Sequence[Memory], query: str) -> tuple[str, str]:
    """Return preferences as a block of text for a prompt, and the note that ends it."""
    if not memories:
        return "", ""
    note = _NOTES["zh" if _CJK.search(query) else "en"]
    lines: list[str] = []
    for kind, head in _HEADS.items():
        texts = [memory.text for memory in memories if preference_type(memory) == kind]
        if texts:
            lines += [f"{head}:", *(f"{at}. {text}" for at, text in enumerate(texts, 1))]
    return "\n".join([*lines, note]), note


def _common(memory: Memory, score: float | None) -> dict[str, Json]:
    at = memory.sources[0].at if memory.sources else None
    return {
        "create_time": memory.created_at,
        "update_time": memory.recorded_at,
        "chat_time": at,
        "conversation_id": memory.place.session,
        "status": memory.status,
        **({} if score is None else {"relativity": score}),
    }


def _message(memory: Memory) -> dict[str, Json]:
    source = memory.sources[0] if memory.sources else None
    return {
        "id": source.id if source and source.id else memory.id,
        "role": (source and source.role) or memory.speaker or "user",
        "content": memory.text,
        "chat_time": source.at if source else None,
        "create_time": memory.created_at,
        "update_time": memory.recorded_at,
        "conversation_id": memory.place.session,
    }


def _metadata(memory: Memory) -> Mapping[str, Json]:
    kept = memory.data.get("metadata")
    extra = cast("Mapping[str, Json]", kept) if isinstance(kept, Mapping) else memory.info
    return {**memory.info, **extra}
