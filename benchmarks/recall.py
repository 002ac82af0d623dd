"""Ask every question of a suite, and measure what came back; plain BM25 beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from benchmarks.bm25 import Bm25
from benchmarks.cases import Conversation, Gold, Question, Suite, Turn
from benchmarks.metrics import Score, freshness, measure, recall
from benchmarks.ranking import Ranking, rank_units
from benchmarks.subject import Found, Latencies, Subject
from benchmarks.vector_cache import CachedEmbedder
from memos import MOS
from memos.analysis import count_terms
from memos.retrieve.recipe import Recipe

Advance = Callable[[int], None]
BUDGETS: Final = (500, 1000, 2000, 4000)


@dataclass(frozen=True, slots=True)
class Options:
    """How to search.

    Attributes:
        recipe: The strategy.
        limit: Memories per search, several of which may cite one source.
        budgets: Tokens into which each question's memories are packed once more.
    """

    recipe: Recipe
    limit: int = 200
    budgets: tuple[int, ...] = BUDGETS


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found for one question."""

    conversation: str
    question: Question
    ranking: Ranking
    signals: Mapping[str, float]


@dataclass
class Outcome:
    """Everything a run measured; averages are made of it later."""

    raw: list[Score] = field(default_factory=list[Score])
    corrected: list[Score] = field(default_factory=list[Score])
    bm25: list[Score] = field(default_factory=list[Score])
    answers: list[Answer] = field(default_factory=list[Answer])
    latencies: Latencies = field(default_factory=Latencies)


def run(
    suite: Suite,
    mos: MOS,
    embedder: CachedEmbedder,
    *,
    options: Options,
    advance: Advance,
) -> Outcome:
    """Ingest and question every conversation of a suite, each as a user of its own."""
    outcome = Outcome()
    count = lru_cache(maxsize=100_000)(count_terms)
    for number, conversation in enumerate(suite.conversations):
        user = f"{suite.name}-{number}"
        mos.users.create(user)
        subject = Subject(mos, embedder, user, options.recipe, options.limit, outcome.latencies)
        pool = _Pool(conversation, subject, Bm25(count), outcome, options)
        for turns, questions in conversation.stages():
            pool.add(turns, advance)
            for question in questions:
                pool.ask(question)
                advance(1)
    return outcome


def steps(suite: Suite) -> int:
    """Return how often ``run`` will advance: once per turn and per question."""
    return sum(
        len(turns) + len(questions)
        for conversation in suite.conversations
        for turns, questions in conversation.stages()
    )


@dataclass
class _Pool:
    """The same turns in the memory and in the baseline."""

    conversation: Conversation
    subject: Subject
    bm25: Bm25
    outcome: Outcome
    options: Options

    def add(self, turns: Sequence[Turn], advance: Advance) -> None:
        for part in _sessions(turns):
            self.subject.add(part)
            for turn in part:
                self.bm25.add(turn.id, turn.words())
            advance(len(part))

    def ask(self, question: Question) -> None:
        own = self.subject.add(question.own)
        for turn in question.own:
            self.bm25.add(turn.id, turn.words())
        found = self.subject.ask(question)
        packed = {budget: self.subject.packed(question, budget) for budget in self.options.budgets}
        floor = self.bm25.rank(question.text, limit=self.options.limit)
        if own:
            self.subject.erase(own)
        for turn in question.own:
            self.bm25.drop(turn.id)
        self._record(question, found, floor)
        for budget, sources in packed.items():
            self.outcome.raw.extend(_budgeted(question, budget, sources))

    def _record(self, question: Question, found: Found, floor: Ranking) -> None:
        sessions = self.conversation.sessions()
        outcome = self.outcome
        outcome.raw.extend(_scores(question, question.gold, found.ranking, sessions))
        outcome.raw.append(_score(question, "isolation.foreign", found.foreign / (found.hits or 1)))
        outcome.bm25.extend(_scores(question, question.gold, floor, sessions))
        if question.stale and question.current:
            for ranking, scores in ((found.ranking, outcome.raw), (floor, outcome.bm25)):
                scores.append(_freshness(question, ranking))
        if question.corrected is not None:
            corrected = _scores(question, question.corrected, found.ranking, sessions)
            outcome.corrected.extend(corrected)
        outcome.answers.append(Answer(self.conversation.id, question, found.ranking, found.signals))


def _scores(
    question: Question, gold: Gold, ranking: Ranking, sessions: dict[str, str]
) -> Iterator[Score]:
    for level, ids in gold.items():
        ranked = [source for source, _ in ranking]
        if level == "session":
            ranked = rank_units(ranking, sessions)
        for metric, value in measure(level, ranked, ids).items():
            yield _score(question, metric, value)


def _budgeted(question: Question, budget: int, sources: frozenset[str]) -> Iterator[Score]:
    for level, gold in question.gold.items():
        if level != "session":
            yield _score(question, f"{level}.packed@{budget}", recall(sources, gold))


def _freshness(question: Question, ranking: Ranking) -> Score:
    ranked = [source for source, _ in ranking]
    value = freshness(ranked, question.stale, question.current)
    return _score(question, "turn.freshness", value)


def _score(question: Question, metric: str, value: float) -> Score:
    return Score(metric, value, question.category, question.cluster, question.headline)


def _sessions(turns: Sequence[Turn]) -> Iterator[Sequence[Turn]]:
    start = 0
    for end in range(1, len(turns) + 1):
        if end == len(turns) or turns[end].session != turns[start].session:
            yield turns[start:end]
            start = end
