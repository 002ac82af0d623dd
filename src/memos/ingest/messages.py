"""Reading OpenAI-style messages, as agents send them, into turns. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, cast

from dateutil import parser as dates
from msgspec import Struct, field

from memos.errors import InvalidInput
from memos.types import Json

ROLES: Final = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
_UNSPOKEN: Final = frozenset({"system", "developer"})
"""Instructions to the model: not something that happened, and the same in every session."""
_KNOWN: Final = frozenset(
    {"role", "content", "name", "chat_time", "message_id", "tool_calls", "tool_call_id", "refusal"}
)
_ISO_LIKE: Final = re.compile(r"\d{3,}-\d+")
_CJK_DATE: Final = re.compile(r"[年月]")
_YEAR: Final = re.compile(r"\d{4}")
_NEW_YEAR: Final = datetime(2000, 1, 1)  # noqa: DTZ001 - fills what a date leaves out
_ASIDE: Final = re.compile(r"日|[周星][期]?[一二三四五六日天]|[（(].*?[)）]")


class Turn(Struct, frozen=True, gc=False):
    """One message: who said what, when, and how the caller names it."""

    role: str
    text: str
    speaker: str | None = None
    at: datetime | None = None
    id: str | None = None
    extra: Mapping[str, Json] = field(default_factory=dict[str, Json])


def read_messages(messages: Sequence[object]) -> list[Turn]:
    """Return the turns of a message list; system prompts and messages without any text are none.

    Raises:
        InvalidInput: Naming the message and what is wrong with it.
    """
    turns = [_turn(message, f"messages[{index}]") for index, message in enumerate(messages)]
    return [turn for turn in turns if turn is not None]


def check_text(text: str, where: str, name: str = "") -> str:
    """Return ``text`` if every store can hold it; ``name`` goes behind ``where`` in a message.

    Raises:
        InvalidInput: It has a null byte, or half of a surrogate pair.
    """
    if "\x00" in text:
        raise InvalidInput(
            f"{where}{name}: null byte at character {text.index(chr(0))}; remove it",
            code="invalid_text",
        )
    if text.isascii():
        return text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"{where}{name}: lone surrogate at character {error.start};"
            " the text was decoded wrongly",
            code="invalid_text",
        ) from None
    return text


def read_time(value: object, where: str) -> datetime | None:
    """Return the moment that ``value`` names; None for words that name none ("yesterday night").

    A time without a zone is taken as UTC.

    Raises:
        InvalidInput: It looks like a date and is none, or is of the wrong type.
    """
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value / 1000 if abs(value) > 1e11 else value, UTC)  # noqa: PLR2004
        if isinstance(value, str):
            parsed = _parse_time(check_text(value, where).strip())
            return parsed if parsed is None or parsed.tzinfo else parsed.replace(tzinfo=UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise InvalidInput(
            f"{where}: {value!r:.80} is not a date ({error})", code="invalid_date"
        ) from None
    raise InvalidInput(f"{where}: expected a date, got {type(value).__name__}", code="invalid_date")


def _parse_time(text: str) -> datetime | None:
    if not text:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        if _ISO_LIKE.match(text) and not _CJK_DATE.search(text):
            return dates.parse(text, default=_NEW_YEAR)
    plain = _ASIDE.sub(" ", _CJK_DATE.sub("-", text)).strip()
    if _CJK_DATE.search(text):
        return dates.parse(plain, default=_NEW_YEAR)
    try:
        return dates.parse(plain, default=_NEW_YEAR) if _YEAR.search(plain) else None
    except ValueError:
        return None


def _turn(message: object, where: str) -> Turn | None:
    if not isinstance(message, Mapping):
        raise InvalidInput(f"{where}: expected an object, got {type(message).__name__}")
    fields = cast("Mapping[str, object]", message)
    role = fields.get("role", "user")
    if role not in ROLES:
        raise InvalidInput(f"{where}.role: {role!r} is none of {', '.join(sorted(ROLES))}")
    text, attachments = _content(fields.get("content"), where)
    if (calls := fields.get("tool_calls")) is not None:
        text = "\n".join(part for part in (text, *_calls(calls, where)) if part)
    if role in _UNSPOKEN or not text.strip():
        return None
    extra: dict[str, Json] = (
        {} if _KNOWN.issuperset(fields) else {k: v for k, v in fields.items() if k not in _KNOWN}
    )
    if attachments:
        extra["attachments"] = attachments
    if "tool_call_id" in fields:
        extra["tool_call_id"] = fields["tool_call_id"]
    at = None
    if fields.get("chat_time") is not None:
        at = read_time(fields["chat_time"], f"{where}.chat_time")
        if at is None:
            extra["chat_time"] = fields["chat_time"]
    return Turn(
        role=str(role),
        text=check_text(text, where, ".content"),
        speaker=_string(fields.get("name"), where, ".name"),
        at=at,
        id=_string(fields.get("message_id"), where, ".message_id"),
        extra=extra,
    )


def _string(value: object, where: str, name: str) -> str | None:
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise InvalidInput(f"{where}{name}: expected a string, got {type(value).__name__}")
    return check_text(value, where, name) or None


def _content(content: object, where: str) -> tuple[str, list[Json]]:
    """Return the text of a message, and what else it carries, without the payloads."""
    if content is None or isinstance(content, str):
        return content or "", []
    if not isinstance(content, Sequence) or isinstance(content, bytes):
        raise InvalidInput(
            f"{where}.content: expected a string or a list of parts, got {type(content).__name__}"
        )
    texts: list[str] = []
    attachments: list[Json] = []
    for index, part in enumerate(cast("Sequence[object]", content)):
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, Mapping):
            text, attachment = _part(
                cast("Mapping[str, object]", part), f"{where}.content[{index}]"
            )
            texts.append(text)
            attachments += [] if attachment is None else [attachment]
        else:
            raise InvalidInput(
                f"{where}.content[{index}]: expected a part, got {type(part).__name__}"
            )
    return "\n".join(text for text in texts if text), attachments


def _part(part: Mapping[str, object], where: str) -> tuple[str, Json]:
    type_ = part.get("type", "text")
    if type_ in ("text", "input_text", "output_text", "refusal"):
        text = part.get("text", part.get("refusal", ""))
        if not isinstance(text, str):
            raise InvalidInput(f"{where}.text: expected a string, got {type(text).__name__}")
        return text, None
    if type_ in ("tool_description", "tool_input", "tool_output"):
        value = part.get(str(type_), part.get("content", part.get("text", "")))
        return value if isinstance(value, str) else str(value), None
    if type_ not in ("image_url", "file", "input_audio"):
        raise InvalidInput(f"{where}.type: unknown part {type_!r}")
    body = part.get(str(type_))
    described: dict[str, object] = {"type": type_}
    if isinstance(body, Mapping):
        described |= {
            key: value
            for key, value in cast("Mapping[str, object]", body).items()
            if key not in ("file_data", "data") and not str(value).startswith("data:")
        }
    name = described.get("filename") or described.get("file_id") or described.get("image_id")
    label = {"image_url": "image", "input_audio": "audio"}.get(str(type_), "file")
    return f"[{label}: {name}]" if name else f"[{label}]", described


def _calls(calls: object, where: str) -> Iterator[str]:
    if not isinstance(calls, Sequence) or isinstance(calls, str | bytes):
        raise InvalidInput(f"{where}.tool_calls: expected a list")
    for call in cast("Sequence[object]", calls):
        function = (
            cast("Mapping[str, object]", call).get("function")
            if isinstance(call, Mapping)
            else None
        )
        if not isinstance(function, Mapping):
            raise InvalidInput(f"{where}.tool_calls: expected objects with a function")
        named = cast("Mapping[str, object]", function)
        yield f"{named.get('name', '')}({named.get('arguments', '')})"
