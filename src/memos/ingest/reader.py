"""From what a caller hands over to drafts of memories. No model is asked; nothing is left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePath
from typing import Final, cast

from msgspec import structs

from memos.errors import InvalidInput
from memos.ingest import chunk, items
from memos.ingest.messages import Turn, check_text, read_messages
from memos.kinds import FACT, KINDS, PASSAGE, TURN, Kind
from memos.types import Json, Memory, Place, Source, Tier

TEXT_SUFFIXES: Final = frozenset({".txt", ".text", ".md", ".markdown", ".rst", ".log"})
_MARKDOWN: Final = frozenset({".md", ".markdown"})


@dataclass(frozen=True, slots=True)
class Reading:
    """How to read, and what every memory read shares.

    Attributes:
        place: Where the memories go.
        chunk_tokens: Aim for the parts of long texts.
        max_characters: Largest message or file.
        shared: The values that the caller set for all of them.
    """

    place: Place
    chunk_tokens: int
    max_characters: int
    shared: Shared


@dataclass(frozen=True, slots=True)
class Shared:
    """What a caller may say about everything it adds in one call; None means: as it comes."""

    kind: str | None = None
    tier: Tier | None = None
    title: str | None = None
    confidence: float | None = None
    tags: tuple[str, ...] = ()
    info: Mapping[str, Json] = field(default_factory=dict[str, Json])
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """A file's text, its name, and the digest of its stored bytes."""

    name: str
    text: str
    blob: str | None = None


def read(content: object, reading: Reading) -> list[Memory]:
    """Return drafts: memories without ids and times, in order.

    ``content`` is a text, a ``Document``, a list of messages, or MemOS's textual memory items.

    Raises:
        InvalidInput: Nothing to remember, too large, or malformed; the message says where.
    """
    if isinstance(content, str):
        _check_size(content, reading, "text")
        drafts = list(_facts(check_text(content, "text"), reading))
    elif isinstance(content, Document):
        _check_size(content.text, reading, content.name)
        drafts = list(_passages(content, reading))
    elif isinstance(content, Mapping):
        drafts = [_item(cast("Mapping[str, object]", content), reading, "item")]
    elif isinstance(content, Sequence) and not isinstance(content, bytes | bytearray):
        drafts = _listed(cast("Sequence[object]", content), reading)
    else:
        raise InvalidInput(
            f"cannot remember a {type(content).__name__}; pass a text, messages or a file path"
        )
    if not drafts:
        raise InvalidInput("there is nothing to remember: no text in the content", code="empty")
    return drafts


def decode(name: str, content: bytes) -> str:
    """Return the text of a file.

    Raises:
        InvalidInput: It is not text that can be read here, or not UTF-8.
    """
    suffix = PurePath(name).suffix.lower()
    if suffix not in TEXT_SUFFIXES:
        raise InvalidInput(
            f"{name!r}: cannot read {suffix or 'files without a suffix'}; can read "
            f"{', '.join(sorted(TEXT_SUFFIXES))}",
            code="unsupported_file",
        )
    try:
        return check_text(content.decode("utf-8-sig"), repr(name))
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"{name!r} is not UTF-8 (byte {error.start}); convert it first", code="invalid_text"
        ) from None


def _listed(content: Sequence[object], reading: Reading) -> list[Memory]:
    if content and all(isinstance(entry, Mapping) and "memory" in entry for entry in content):
        entries = cast("Sequence[Mapping[str, object]]", content)
        return [_item(entry, reading, f"items[{index}]") for index, entry in enumerate(entries)]
    drafts: list[Memory] = []
    owner = _owner(reading.place)
    for index, turn in enumerate(read_messages(content)):
        _check_size(turn.text, reading, f"messages[{index}].content")
        drafts += _turns(turn, reading, owner)
    return drafts


def _check_size(text: str, reading: Reading, where: str) -> None:
    if len(text) > reading.max_characters:
        raise InvalidInput(
            f"{where} has {len(text)} characters, more than {reading.max_characters};"
            " split it, or raise ingest.max_characters",
            code="too_large",
        )


def _facts(text: str, reading: Reading) -> Iterator[Memory]:
    for start, end in chunk.split(text, reading.chunk_tokens):
        source = Source(type="text", start=start, end=end)
        yield _draft(reading, FACT, text[start:end], source)


def _turns(turn: Turn, reading: Reading, owner: str) -> Iterator[Memory]:
    tier: Tier = "user" if turn.role == "user" else TURN.tier
    for part, (start, end) in enumerate(chunk.split(turn.text, reading.chunk_tokens)):
        source = Source(
            type="chat", id=turn.id, role=turn.role, speaker=turn.speaker, at=turn.at, start=start,
            end=end, extra=turn.extra,
        )  # fmt: skip
        key = None if turn.id is None else message_key(owner, turn.id, part)
        yield _draft(
            reading, TURN, turn.text[start:end], source,
            tier=tier, speaker=turn.speaker or turn.role, key=key,
        )  # fmt: skip


def _passages(document: Document, reading: Reading) -> Iterator[Memory]:
    text = document.text
    markdown = PurePath(document.name).suffix.lower() in _MARKDOWN
    whole = chunk.Section(None, chunk.Span(0, len(text)))
    for title, span in chunk.sections(text) if markdown else [whole]:
        for low, high in chunk.split(text[span.start : span.end], reading.chunk_tokens):
            start, end = span.start + low, span.start + high
            source = Source(
                type="file", uri=document.name, blob=document.blob, start=start, end=end
            )
            yield _draft(reading, PASSAGE, text[start:end], source, title=title)


def _item(item: Mapping[str, object], reading: Reading, where: str) -> Memory:
    memory = items.from_item(item, reading.place, where)
    _check_size(memory.text, reading, where)
    shared = reading.shared
    return structs.replace(
        memory,
        tags=tuple(dict.fromkeys((*memory.tags, *shared.tags))),
        info={**shared.info, **memory.info},
        expires_at=memory.expires_at or shared.expires_at,
    )


def _draft(
    reading: Reading,
    kind: Kind,
    text: str,
    source: Source,
    *,
    tier: Tier | None = None,
    speaker: str | None = None,
    key: str | None = None,
    title: str | None = None,
) -> Memory:
    shared = reading.shared
    return Memory(
        id="",
        kind=shared.kind or kind.name,
        text=text,
        place=reading.place,
        tier=shared.tier or (KINDS[shared.kind].tier if shared.kind else tier or kind.tier),
        tags=shared.tags,
        title=shared.title or title,
        speaker=speaker,
        confidence=shared.confidence,
        sources=(source,),
        keys=() if key is None else (key,),
        valid_from=shared.valid_from or source.at,
        valid_to=shared.valid_to,
        expires_at=shared.expires_at,
        info=shared.info,
    )


def _owner(place: Place) -> str:
    """Return whose messages those of a session are, for their keys."""
    return repr((place.user, place.agent, place.app, place.session))


def message_key(owner: str, message: str, part: int) -> str:
    """Return the key by which a message with an id is known again, in its session."""
    return f"message {owner} {message!r} {part}"
