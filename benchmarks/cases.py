"""What a benchmark suite is made of, whatever the format its files have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeAlias

Level: TypeAlias = Literal["turn", "session", "pooled"]
"""What is ranked: turns, their sessions, or turns in the pool of all preferences (PrefEval)."""

Gold: TypeAlias = Mapping[Level, frozenset[str]]
"""The ids that answer a question, per level. A level without a gold id is not measured."""


class DataError(Exception):
    """A data file is missing, or does not have the format of its suite."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation; ``id`` is unique within the conversation.

    ``at`` is the session date as it will be handed over: ISO 8601 where the data set's own form is
    understood, otherwise its words.
    """

    id: str
    session: str
    text: str
    role: str = "user"
    speaker: str | None = None
    at: str | None = None

    def words(self) -> str:
        """Return what plain BM25 indexes: the text, said by whom."""
        return f"{self.speaker}: {self.text}" if self.speaker else self.text


@dataclass(frozen=True, slots=True)
class Question:
    """One question with its evidence.

    Attributes:
        id: Unique within the suite.
        category: What the results are broken down by.
        text: What is searched for.
        gold: Evidence as the data set states it.
        corrected: Evidence after errata; None when the suite has none.
        cluster: What the bootstrap draws: the conversation, persona or chat.
        headline: Whether the question counts in the overall figures.
        answerable: Whether the conversation answers it; those that it does not are asked to see
            whether a search can tell.
        stale: Turns whose statement another turn replaced, for questions about what changed.
        current: The turns that replaced it.
        at: The moment at which it is asked, where the data set states one.
        after: How many turns of the conversation precede it; None: all of them.
        own: Turns that only this question's pool has; they are forgotten again afterwards.
    """

    id: str
    category: str
    text: str
    gold: Gold
    cluster: str
    corrected: Gold | None = None
    headline: bool = True
    answerable: bool = True
    stale: frozenset[str] = frozenset()
    current: frozenset[str] = frozenset()
    at: datetime | None = None
    after: int | None = None
    own: tuple[Turn, ...] = ()


@dataclass(frozen=True, slots=True)
class Conversation:
    """The memory of one user and the questions about it."""

    id: str
    turns: tuple[Turn, ...]
    questions: tuple[Question, ...]

    def sessions(self) -> dict[str, str]:
        """Return the session of every turn, own turns of questions included."""
        found = {turn.id: turn.session for turn in self.turns}
        for question in self.questions:
            found.update((turn.id, turn.session) for turn in question.own)
        return found

    def stages(self) -> Iterator[tuple[tuple[Turn, ...], tuple[Question, ...]]]:
        """Yield the turns to add next and the questions to ask after them, in order of time."""
        by_end: dict[int, list[Question]] = {}
        for question in self.questions:
            end = len(self.turns) if question.after is None else question.after
            by_end.setdefault(end, []).append(question)
        start = 0
        for end in sorted(by_end):
            yield self.turns[start:end], tuple(by_end[end])
            start = end


@dataclass(frozen=True, slots=True)
class Suite:
    """All conversations of one data set, or of the part of it that was named."""

    name: str
    conversations: tuple[Conversation, ...]
    notes: tuple[str, ...] = field(default=())

    def first(self, conversations: int | None) -> Suite:
        """Return this suite, cut to its first conversations."""
        return Suite(self.name, self.conversations[:conversations], self.notes)
