"""LoCoMo: conversations of two people over many sessions, questions citing their turns."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.cases import Conversation, Gold, Question, Turn
from benchmarks.suites.files import json_files, read_json, stated_at

Item: TypeAlias = Mapping[str, Any]

CATEGORIES: Mapping[int, str] = {
    1: "multi-hop",
    2: "temporal",
    3: "open-domain",
    4: "single-hop",
    5: "adversarial",
}
_SESSION = re.compile(r"session_(\d+)")
_TURN = re.compile(r"D:?(\d+):(\d+)")
_ERRATA = "errata.json"


def load_locomo(path: Path) -> tuple[Conversation, ...]:
    """Read one file, or every LoCoMo file of a folder, with the errata beside them."""
    found: list[Conversation] = []
    for file in json_files(path):
        if file.name == _ERRATA:
            continue
        errata = _read_errata(file.with_name(_ERRATA))
        for item in _conversations(read_json(file)):
            found.append(_conversation(item, str(item.get("sample_id", len(found))), errata))
    return tuple(found)


def _conversations(content: object) -> list[Item]:
    items: list[Any] = content if isinstance(content, list) else [content]
    return [item for item in items if isinstance(item, Mapping) and "conversation" in item]


def _read_errata(path: Path) -> dict[tuple[str, str], Item] | None:
    """Map conversation and question to the erratum, if there is a file of them."""
    if not path.is_file():
        return None
    items: Any = read_json(path)
    return {(str(item.get("sample_id", "")), item["question"]): item for item in items}


def _conversation(
    item: Item, name: str, errata: Mapping[tuple[str, str], Item] | None
) -> Conversation:
    turns = tuple(_turns(item["conversation"]))
    questions: list[Question] = []
    for index, raw in enumerate(item["qa"]):
        gold = _gold(raw.get("evidence") or ())
        corrected = _corrected(name, raw, errata)
        if not gold and not corrected:
            continue
        category = int(raw["category"])
        questions.append(
            Question(
                id=f"{name}/{index}",
                category=CATEGORIES[category],
                text=raw["question"],
                gold=gold,
                corrected=None if errata is None else corrected or gold,
                cluster=name,
                headline=CATEGORIES[category] != "adversarial",
                answerable=CATEGORIES[category] != "adversarial",
            )
        )
    return Conversation(name, turns, tuple(questions))


def _turns(conversation: Item) -> Iterator[Turn]:
    numbers = (int(m[1]) for key in conversation if (m := _SESSION.fullmatch(key)))
    for number in sorted(numbers):
        at = stated_at(conversation.get(f"session_{number}_date_time"))
        for raw in conversation[f"session_{number}"]:
            yield Turn(
                id=_turn_id(raw["dia_id"]),
                session=f"D{number}",
                text=_said(raw),
                role="user" if raw["speaker"] == conversation.get("speaker_a") else "assistant",
                speaker=raw["speaker"],
                at=at,
            )


def _said(raw: Item) -> str:
    """Return the words of a turn; a shared image speaks through its caption."""
    text, caption = raw.get("text") or "", raw.get("blip_caption")
    return f"{text} [shares an image: {caption}]".strip() if caption else text


def _turn_id(label: str) -> str:
    found = _TURN.search(label)
    return f"D{int(found[1])}:{int(found[2])}" if found else label


def _gold(evidence: Sequence[str]) -> Gold:
    cited = [m for label in evidence for m in _TURN.finditer(str(label))]
    if not cited:
        return {}
    return {
        "turn": frozenset(f"D{int(m[1])}:{int(m[2])}" for m in cited),
        "session": frozenset(f"D{int(m[1])}" for m in cited),
    }


def _corrected(name: str, raw: Item, errata: Mapping[tuple[str, str], Item] | None) -> Gold:
    if errata is None:
        return {}
    question = raw["question"]
    erratum = errata.get((name, question)) or errata.get(("", question))
    return _gold(erratum.get("correct_evidence") or ()) if erratum else {}
