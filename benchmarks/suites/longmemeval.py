"""LongMemEval: one haystack of chat sessions per question.

Reads the published lists of questions with their ``haystack_sessions``, and folders where the
haystacks are to be composed from evidence, fillers and a recipe.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.cases import Conversation, Gold, Level, Question, Turn
from benchmarks.suites.files import json_files, parse_date, read_json, stated_at

Item: TypeAlias = Mapping[str, Any]

_EVIDENCE = "oracle.json"
_UPDATE = "knowledge-update"


def load_longmemeval(path: Path) -> tuple[Conversation, ...]:
    """Read one file, or a folder; questions without an answer in the haystack are left out."""
    items = _composed(path) if path.is_dir() else None
    if items is None:
        items = (item for file in json_files(path) for item in _listed(read_json(file)))
    return tuple(
        _conversation(item) for item in items if not str(item["question_id"]).endswith("_abs")
    )


def _listed(content: object) -> list[Item]:
    items: list[Any] = content if isinstance(content, list) else []
    return [i for i in items if isinstance(i, Mapping) and "haystack_sessions" in i]


def _composed(folder: Path) -> Iterator[Item] | None:
    """Compose the haystacks of a folder that holds a recipe for them."""
    recipes = sorted(folder.glob("haystack_recipe_*.json"))
    if not recipes or not (folder / _EVIDENCE).is_file():
        return None
    evidence = {item["question_id"]: item for item in _listed(read_json(folder / _EVIDENCE))}
    fillers: dict[str, Item] = {}
    for file in sorted(folder.glob("filler_sessions_*.json")):
        content: Any = read_json(file)
        fillers.update(content)
    rows: dict[str, list[tuple[str, str]]] = {}
    for file in recipes:
        recipe: Any = read_json(file)
        rows.update(recipe)
    return (_compose(evidence[name], recipe, fillers) for name, recipe in rows.items())


def _compose(item: Item, recipe: list[tuple[str, str]], fillers: Mapping[str, Item]) -> Item:
    own = dict(zip(item["haystack_session_ids"], item["haystack_sessions"], strict=True))
    return {
        **item,
        "haystack_session_ids": [session for session, _ in recipe],
        "haystack_dates": [date for _, date in recipe],
        "haystack_sessions": [
            own[session] if session in own else fillers[session]["session"] for session, _ in recipe
        ],
    }


def _conversation(item: Item) -> Conversation:
    name = str(item["question_id"])
    turns: list[Turn] = []
    answers: list[Turn] = []
    sessions = zip(
        item["haystack_session_ids"], item["haystack_dates"], item["haystack_sessions"], strict=True
    )
    for session, date, messages in sessions:
        at = stated_at(date)
        for index, message in enumerate(messages):
            turn = Turn(f"{session}:{index}", session, message["content"], message["role"], at=at)
            turns.append(turn)
            if message.get("has_answer"):
                answers.append(turn)
    stale, current = _updated(answers) if item["question_type"] == _UPDATE else ((), ())
    question = Question(
        id=name,
        category=item["question_type"],
        text=item["question"],
        gold=_gold({turn.id for turn in answers}, frozenset(item["answer_session_ids"])),
        cluster=name,
        stale=frozenset(stale),
        current=frozenset(current),
        at=parse_date(item.get("question_date")),
    )
    return Conversation(name, tuple(turns), (question,))


def _updated(answers: list[Turn]) -> tuple[list[str], list[str]]:
    """Return the evidence of former sessions, and that of the last one."""
    last = max((turn.at or "" for turn in answers), default="")
    current = [turn.id for turn in answers if (turn.at or "") == last]
    return [turn.id for turn in answers if turn.id not in current], current


def _gold(turns: set[str], sessions: frozenset[str]) -> Gold:
    gold: dict[Level, frozenset[str]] = {"session": sessions}
    if turns:
        gold["turn"] = frozenset(turns)
    return gold
