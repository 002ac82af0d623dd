"""MemDaily: short Chinese trajectories of daily messages, one question each.

A trajectory alone is too short to search in: fifty of them, in order of file and ``tid``, make the
memory of one user.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from benchmarks.cases import Conversation, Question, Turn
from benchmarks.suites.files import Json, json_files, parse_date, read_json, stated_at

POOL = 50
_WRONG = re.compile(r"\[ERROR[QA]\]")
_NUMBER = re.compile(r"^\d+_")
_SUBJECT = re.compile(r"_(roles|items|places|events|hybrid)$")


def load_memdaily(path: Path) -> tuple[Conversation, ...]:
    """Read a file or every file of a folder, and pool what they hold."""
    found: list[tuple[str, str, Json]] = []
    for file in json_files(path):
        for name, items in _lists(read_json(file), file.stem):
            found.extend((name, f"{name}-{item['tid']}", item) for item in items)
    pools = (found[start : start + POOL] for start in range(0, len(found), POOL))
    return tuple(_pool(f"pool-{number}", pool) for number, pool in enumerate(pools))


def _lists(content: Json, name: str) -> Iterator[tuple[str, list[Json]]]:
    """Yield the trajectory lists of a file; the published one nests them by type and subject."""
    if isinstance(content, list):
        yield name, sorted(content, key=lambda item: item["tid"])
        return
    for key, part in content.items():
        yield from _lists(part, f"{name}_{key}" if _is_type(name) else key)


def _is_type(name: str) -> bool:
    return name in {
        "simple",
        "conditional",
        "comparative",
        "aggregative",
        "post_processing",
        "noisy",
    }


def _pool(name: str, pool: list[tuple[str, str, Json]]) -> Conversation:
    turns: list[Turn] = []
    questions: list[Question] = []
    for kind, trajectory, item in pool:
        turns.extend(
            Turn(
                id=f"{trajectory}:{message['mid']}",
                session=trajectory,
                text=message["message"],
                at=stated_at(message.get("time")),
            )
            for message in item["message_list"]
        )
        questions.extend(_questions(name, _category(kind), trajectory, item))
    return Conversation(name, tuple(turns), tuple(questions))


def _questions(pool: str, category: str, trajectory: str, item: Json) -> Iterator[Question]:
    for raw in item["question_list"]:
        cited = frozenset(f"{trajectory}:{number}" for number in raw["target_step_id"])
        if cited and not _is_wrong(raw):
            yield Question(
                id=f"{pool}/{trajectory}/{raw['qid']}",
                category=category,
                text=raw["question"],
                gold={"turn": cited},
                cluster=pool,
                at=parse_date(raw.get("time")),
            )


def _is_wrong(raw: Json) -> bool:
    return any(_WRONG.search(str(raw.get(key, ""))) for key in ("question", "answer"))


def _category(kind: str) -> str:
    return _SUBJECT.sub("", _NUMBER.sub("", kind))
