"""PrefEval: one stated preference among unrelated chat; the question must bring it back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.cases import Conversation, DataError, Gold, Question, Turn
from benchmarks.suites.files import read_json

_FILLERS = "filtered_inter_turns.json"
_PREFERENCES = "explicit_preference"


def load_prefeval(path: Path) -> tuple[Conversation, ...]:
    """Read a folder: every preference alone among all fillers, then all of them together."""
    fillers = tuple(_fillers(path / _FILLERS))
    pairs = [pair for file in _preference_files(path) for pair in _pairs(file)]
    alone = tuple(
        Question(
            id=f"turn/{preference.id}",
            category=preference.session,
            text=question,
            gold={"turn": frozenset({preference.id})},
            cluster=preference.id,
            own=(preference,),
        )
        for preference, question in pairs
    )
    pooled = tuple(
        Question(
            id=f"pooled/{preference.id}",
            category=preference.session,
            text=question,
            gold=_pooled(preference.id),
            cluster=preference.id,
        )
        for preference, question in pairs
    )
    preferences = tuple(preference for preference, _ in pairs)
    return Conversation("turn", fillers, alone), Conversation("pooled", preferences, pooled)


def _pooled(preference: str) -> Gold:
    return {"pooled": frozenset({preference})}


def _preference_files(path: Path) -> list[Path]:
    if path.is_file():
        raise DataError(f"{path}: prefeval needs the folder with {_FILLERS} and {_PREFERENCES}/")
    return sorted((path / _PREFERENCES).glob("*.json"))


def _fillers(file: Path) -> Iterator[Turn]:
    if not file.is_file():
        raise DataError(f"{file} does not exist; prefeval needs its filler turns")
    conversations: Any = read_json(file)
    for number, item in enumerate(conversations):
        session = f"filler-{number}"
        for index, message in enumerate(item["conversation"]):
            yield Turn(f"{session}:{index}", session, message["content"], message["role"])


def _pairs(file: Path) -> Iterator[tuple[Turn, str]]:
    items: Any = read_json(file)
    for number, item in enumerate(items):
        turn = Turn(f"{file.stem}:{number}", file.stem, item["preference"])
        yield turn, item["question"]
