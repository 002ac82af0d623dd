"""Ask every question of a suite, and measure what came back; plain BM25 beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from benchmarks.bm25 import Bm25
from benchmarks.cases import Conversation, Gold, Question, Suite, Turn
from benchmarks.metrics import Score, measure
from benchmarks.ranking import Ranking, rank_units
from benchmarks.subject import Found, Latencies, Subject
from benchmarks.vector_cache import CachedEmbedder
from memos import MOS
from memos.analysis import count_terms

Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Options:
    """How to search. ``limit`` counts memories, several of which may cite one source."""

    recipe: str = "fast"
    limit: int = 200


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found for one question."""

    conversation: str
    question: Question
    ranking: Ranking


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
        pool = _Pool(conversation, subject, Bm25(count), outcome, options.limit)
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
    limit: int

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
        floor = self.bm25.rank(question.text, limit=self.limit)
        if own:
            self.subject.erase(own)
        for turn in question.own:
            self.bm25.drop(turn.id)
        self._record(question, found, floor)

    def _record(self, question: Question, found: Found, floor: Ranking) -> None:
        sessions = self.conversation.sessions()
        outcome = self.outcome
        outcome.raw.extend(_scores(question, question.gold, found.ranking, sessions))
        outcome.raw.append(_score(question, "isolation.foreign", found.foreign / (found.hits or 1)))
        outcome.bm25.extend(_scores(question, question.gold, floor, sessions))
        if question.corrected is not None:
            corrected = _scores(question, question.corrected, found.ranking, sessions)
            outcome.corrected.extend(corrected)
        outcome.answers.append(Answer(self.conversation.id, question, found.ranking))


def _scores(
    question: Question, gold: Gold, ranking: Ranking, sessions: dict[str, str]
) -> Iterator[Score]:
    for level, ids in gold.items():
        ranked = [source for source, _ in ranking]
        if level == "session":
            ranked = rank_units(ranking, sessions)
        for metric, value in measure(level, ranked, ids).items():
            yield _score(question, metric, value)


def _score(question: Question, metric: str, value: float) -> Score:
    return Score(metric, value, question.category, question.cluster, question.headline)


def _sessions(turns: Sequence[Turn]) -> Iterator[Sequence[Turn]]:
    start = 0
    for end in range(1, len(turns) + 1):
        if end == len(turns) or turns[end].session != turns[start].session:
            yield turns[start:end]
            start = end
