"""The turns of a session as a model is to see them again. Pure.

A session's history is append-only in a prompt: the oldest turns are dropped several at a time, at
turn numbers that do not depend on how long the session is, so that consecutive prompts begin with
the same bytes and a provider's prompt cache hits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from memos.analysis import tokens
from memos.ports.models import ChatMessage, ChatRole
from memos.types import Memory

TURN_NUMBER: Final = "turn"
"""Name in a source's ``extra`` under which the number of a turn is kept."""
MESSAGE_TOKENS: Final = 4
"""What the frame of a message takes, about."""
_UNANSWERED: Final = "(no answer)"
_CITATION: Final = re.compile(r"[ \t]*[\[【]\s*\d+(?:\s*[,，、]\s*\d+)*\s*[\]】]")


@dataclass(frozen=True, slots=True)
class Said:
    """One message of a session.

    Attributes:
        role: Who spoke.
        text: What was said.
        turn: The number of the exchange that it belongs to.
        ids: The memories that it is made of.
    """

    role: ChatRole
    text: str
    turn: int
    ids: tuple[str, ...]


def said(memories: Sequence[Memory]) -> list[Said]:
    """Return the messages that memories of a session, in order, are parts of.

    Other kinds of memory and tools' outputs are none. A message whose beginning is missing is left
    out.
    """
    found: list[Said] = []
    end = 0
    for memory in memories:
        source = memory.sources[0] if memory.sources else None
        role = source.role if source else None
        if source is None or memory.kind != "turn" or role not in ("user", "assistant"):
            continue
        start = source.start or 0
        if start > 0:
            if found and found[-1].role == role and start >= end:
                before = found[-1]
                joined = f"{before.text}{_gap(start - end)}{memory.text}"
                found[-1] = replace(before, text=joined, ids=(*before.ids, memory.id))
        else:
            number = source.extra.get(TURN_NUMBER)
            last = found[-1].turn if found else 0
            turn = number if isinstance(number, int) else last + (role == "user")
            found.append(Said(role, memory.text, turn, (memory.id,)))
        end = source.end or start + len(memory.text)
    return found


def window(messages: Sequence[Said], turns: int, room: int) -> list[Said]:
    """Return the end of a session: at most ``turns`` turns and about ``room`` tokens.

    The cut is at a multiple of a third of ``turns``, if that leaves anything.
    """
    if not messages or turns == 0:
        return []
    step = max(1, turns // 3)
    following = messages[-1].turn + 1
    first = max(0, -(-(following - turns) // step) * step)
    kept = _from(messages, first)
    while kept and cost(rendered(kept)) > room:
        block = (kept[0].turn // step + 1) * step
        shorter = _from(kept, block)
        kept = shorter or _from(kept, kept[0].turn + 1)
    return kept


def rendered(messages: Sequence[Said]) -> list[ChatMessage]:
    """Return messages as they stand in a prompt: user and assistant in turn, no citations.

    The numbers of citations belong to the prompt that they answered, and would mislead now.
    """
    shown: list[ChatMessage] = []
    for message in messages:
        text = message.text
        if message.role == "assistant":
            text = _CITATION.sub("", text).strip() or _UNANSWERED
        if message.role == "user" and shown and shown[-1].role == "user":
            shown.append(ChatMessage("assistant", _UNANSWERED))
        if message.role == "assistant" and not shown:
            continue  # providers want the user to begin
        if message.role == "assistant" and shown[-1].role == "assistant":
            shown[-1] = replace(shown[-1], text=f"{shown[-1].text}\n{text}")
        else:
            shown.append(ChatMessage(message.role, text))
    if shown and shown[-1].role == "user":
        shown.append(ChatMessage("assistant", _UNANSWERED))
    return shown


def cost(messages: Sequence[ChatMessage]) -> int:
    """Return about how many tokens messages take in a prompt."""
    return sum(tokens(message.text) + MESSAGE_TOKENS for message in messages)


def cited_numbers(text: str) -> Iterator[int]:
    """Yield the numbers that ``text`` cites, each as often as it does."""
    for match in _CITATION.finditer(text):
        yield from map(int, re.findall(r"\d+", match.group()))


def _from(messages: Sequence[Said], turn: int) -> list[Said]:
    return [message for message in messages if message.turn >= turn]


def _gap(characters: int) -> str:
    return "" if characters <= 0 else " " if characters == 1 else "\n\n"
