"""BEAM: long chats, each with probing questions about ten abilities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cases import Conversation, Question, Turn
from benchmarks.suites.files import Json, natural, read_json, stated_at

_PROBES = "probing_questions.json"
_CHAT = "chat.json"
_UNANSWERABLE = "abstention"


def load_beam(path: Path) -> tuple[Conversation, ...]:
    """Read every chat below ``path`` that has its probing questions beside it."""
    root = path.parent if path.is_file() else path
    probes = (f for f in sorted(root.rglob(_PROBES), key=natural) if f.with_name(_CHAT).is_file())
    return tuple(_conversation(file, root) for file in probes)


def _conversation(file: Path, root: Path) -> Conversation:
    name = file.parent.relative_to(root).as_posix()
    name = root.name if name == "." else name
    turns = tuple(_turns(read_json(file.with_name(_CHAT))))
    return Conversation(name, turns, tuple(_questions(read_json(file), name)))


def _questions(probes: Json, name: str) -> Iterator[Question]:
    for ability, items in probes.items():
        for index, item in enumerate(items):
            source = item.get("source_chat_ids")
            cited, answerable = _turn_ids(source), ability != _UNANSWERABLE
            if cited or not answerable:
                updated: Json = source if isinstance(source, Mapping) else {}
                yield Question(
                    id=f"{name}/{ability}/{index}",
                    category=ability,
                    text=item["question"],
                    gold={"turn": cited} if cited else {},
                    cluster=name,
                    headline=answerable,
                    answerable=answerable,
                    stale=_turn_ids(updated.get("original_info")),
                    current=_turn_ids(updated.get("updated_info")),
                )


def _turn_ids(cited: object) -> frozenset[str]:
    return frozenset(str(number) for number in _numbers(cited))


def _numbers(cited: object) -> Iterator[int]:
    """Yield the message ids of a number, a list, or a mapping of roles to these."""
    if isinstance(cited, Mapping):
        cited = list(cited.values())
    if isinstance(cited, list):
        for part in cited:
            yield from _numbers(part)
    elif isinstance(cited, int):
        yield cited


@dataclass
class _Session:
    """Where the walk through a chat is: a batch is a session, dated by its first anchor."""

    number: int = 0
    at: str | None = None


def _turns(chat: Json) -> Iterator[Turn]:
    yield from _walk(chat, _Session())


def _walk(node: Json, session: _Session) -> Iterator[Turn]:
    if isinstance(node, list):
        for part in node:
            yield from _walk(part, session)
    elif "content" in node and "role" in node:
        session.at = stated_at(node.get("time_anchor")) or session.at
        yield Turn(
            id=str(node["id"]),
            session=f"batch-{session.number}",
            text=node["content"],
            role=node["role"],
            at=session.at,
        )
    elif "turns" in node:
        session.number += 1
        session.at = stated_at(node.get("time_anchor")) or session.at
        yield from _walk(node["turns"], session)
    else:
        yield from _walk(list(node.values()), session)
