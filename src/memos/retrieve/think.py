"""What a chat model does for a search: it asks further questions and says whether that suffices.

It gets texts and gives texts: no tools, a form for its reply, two calls at most. Memories reach it
as quotations inside of JSON, and all that its reply can do is to have more memories looked for, in
the same cubes and under the same filter. So what stands in a memory can steer nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Final

import msgspec

from memos.errors import ModelError
from memos.ports.models import ChatMessage, ChatModel, Generation
from memos.types import JsonObject, Memory

MOST_QUERIES: Final = 3
_MOST_CHARS: Final = 300
_MOST_TOKENS: Final = 600
_JUDGED: Final = 20
_SHOWN_CHARS: Final = 600
_QUERIES: Final[JsonObject] = {
    "type": "array", "items": {"type": "string"}, "maxItems": MOST_QUERIES,
}  # fmt: skip
_PLAN: Final[JsonObject] = {
    "type": "object",
    "properties": {"queries": _QUERIES},
    "required": ["queries"],
    "additionalProperties": False,
}
_JUDGEMENT: Final[JsonObject] = {
    "type": "object",
    "properties": {"sufficient": {"type": "boolean"}, "queries": _QUERIES},
    "required": ["sufficient", "queries"],
    "additionalProperties": False,
}


class _Reply(msgspec.Struct):
    queries: list[str]
    sufficient: bool = False


async def plan(model: ChatModel, question: str, at: datetime) -> tuple[str, ...]:
    """Return what else to search for; nothing where the question is plain.

    Raises:
        UpstreamError: The model failed, or its reply has not the form.
    """
    asked = {"question": question, "date": at.date().isoformat()}
    reply = await _asked(model, "plan", asked, _PLAN)
    return _queries(reply.queries, [question])


async def missing(
    model: ChatModel,
    question: str,
    at: datetime,
    found: Iterable[Memory],
    known: Sequence[str],
) -> tuple[str, ...]:
    """Return what to search for beside what was found; nothing where that suffices.

    Args:
        model: Who judges.
        question: The question.
        at: When it is asked.
        found: The memories, best first.
        known: What was searched for already.

    Raises:
        UpstreamError: The model failed, or its reply has not the form.
    """
    shown = [_shown(memory) for memory, _ in zip(found, range(_JUDGED), strict=False)]
    asked = {"question": question, "date": at.date().isoformat(), "memories": shown}
    reply = await _asked(model, "judge", asked, _JUDGEMENT)
    return () if reply.sufficient else _queries(reply.queries, known)


async def _asked(model: ChatModel, name: str, asked: JsonObject, form: JsonObject) -> _Reply:
    content = msgspec.json.encode(asked).decode("utf-8")
    messages = [ChatMessage("system", _prompt(name)), ChatMessage("user", content)]
    reply = await model.reply(messages, Generation(schema=form, max_tokens=_MOST_TOKENS))
    text = reply.text[reply.text.find("{") : reply.text.rfind("}") + 1]  # some wrap it in a fence
    try:
        return msgspec.json.decode(text, type=_Reply)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise ModelError(
            f"chat model {model.name!r} did not reply in the form that was asked for",
            service=model.name,
            code="model_malformed",
        ) from None


def _queries(given: Iterable[str], known: Sequence[str]) -> tuple[str, ...]:
    seen = {" ".join(text.casefold().split()) for text in known}
    fresh: list[str] = []
    for text in given:
        one = " ".join(text.encode("utf-8", "replace").decode("utf-8").replace("\0", " ").split())
        one = one[:_MOST_CHARS].strip()
        if one and one.casefold() not in seen:
            seen.add(one.casefold())
            fresh.append(one)
    return tuple(fresh[:MOST_QUERIES])


def _shown(memory: Memory) -> JsonObject:
    at = (memory.sources[0].at if memory.sources else None) or memory.created_at
    facts = {"speaker": memory.speaker, "date": at and at.date().isoformat()}
    known = {name: value for name, value in facts.items() if value}
    return {**known, "text": memory.text[:_SHOWN_CHARS]}


@cache
def _prompt(name: str) -> str:
    return (files("memos.retrieve") / "prompts" / f"{name}.md").read_text(encoding="utf-8")
