"""PersonaMem: chats with a persona in blocks, and multiple-choice questions about them.

The published files do not name the evidence, but say how many blocks back it lies. A block begins
with a system message and is a session here. A question that is asked inside a block which goes on
after it does not count that block; one that is asked at the very end does.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.cases import Conversation, DataError, Question, Turn

Row: TypeAlias = Mapping[str, str]
Messages: TypeAlias = list[dict[str, Any]]

_QUESTIONS = "questions_*.csv"
_CONTEXTS = "shared_contexts_*.jsonl"
_LABEL = re.compile(r"^(User|Assistant): ")


def load_personamem(path: Path) -> tuple[Conversation, ...]:
    """Read a folder with questions and contexts, or the questions of one size beside theirs."""
    if path.is_dir():
        files = sorted(path.glob(_QUESTIONS))
    else:
        files = [path.with_name(path.name.replace("shared_contexts_", "questions_"))]
        files = [file.with_suffix(".csv") for file in files]
    return tuple(found for file in files for found in _conversations(file))


def _conversations(questions: Path) -> Iterator[Conversation]:
    size = questions.stem.removeprefix("questions_")
    contexts = questions.with_name(_CONTEXTS.replace("*", size))
    if not contexts.is_file():
        raise DataError(f"{contexts} does not exist")
    rows: dict[str, list[Row]] = {}
    with questions.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            rows.setdefault(row["shared_context_id"], []).append(row)
    with contexts.open(encoding="utf-8") as lines:
        for line in filter(str.strip, lines):
            for name, messages in json.loads(line).items():
                if name in rows:
                    yield _conversation(name, messages, rows[name])


def _conversation(name: str, messages: Messages, rows: list[Row]) -> Conversation:
    blocks = list(_blocks(messages))
    turns: list[Turn] = []
    before: list[int] = []
    for index, (message, block) in enumerate(zip(messages, blocks, strict=True)):
        before.append(len(turns))
        if message["role"] != "system":
            text = _LABEL.sub("", message["content"])
            turns.append(Turn(str(index), f"block-{block}", text, message["role"]))
    before.append(len(turns))
    short = name[:12]
    asked = (_question(short, row, blocks, before) for row in rows)
    questions = (_unseen(question, turns) for question in asked if question is not None)
    return Conversation(short, tuple(turns), tuple(questions))


def _blocks(messages: Messages) -> Iterator[int]:
    """Yield the number of the block that each message belongs to."""
    block = 0
    for message in messages:
        block += message["role"] == "system"
        yield block


def _question(context: str, row: Row, blocks: list[int], before: list[int]) -> Question | None:
    end = min(int(row["end_index_in_shared_context"]), len(blocks))
    evidence = evidence_block(blocks, end, int(row["distance_to_ref_in_blocks"]))
    if evidence is None:
        return None
    return Question(
        id=f"{context}/{row['question_id']}",
        category=row["question_type"],
        text=row["user_question_or_message"],
        gold={"session": frozenset({f"block-{evidence}"})},
        cluster=f"persona-{row['persona_id']}",
        after=before[end],
    )


def _unseen(question: Question, turns: list[Turn]) -> Question:
    """Keep the question itself out of the memory when it is the last thing that was said."""
    last = (question.after or 0) - 1
    text = _LABEL.sub("", question.text)
    repeated = last >= 0 and turns[last].text.strip() == text.strip()
    return replace(question, text=text, after=last if repeated else question.after)


def evidence_block(blocks: list[int], end: int, distance: int) -> int | None:
    """Return the block that lies ``distance`` back from message ``end``, if there is one."""
    if not 0 < end <= len(blocks):
        return None
    inside = end < len(blocks) - 1
    block = blocks[end - 1] - distance + (0 if inside else 1)
    return block if block >= 1 else None
