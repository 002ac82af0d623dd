"""The system that is measured, reached through its public API and nothing else."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.cases import Question, Turn
from benchmarks.ranking import Ranking, expand
from benchmarks.vector_cache import CachedEmbedder
from memos import MOS
from memos.models.onnx import OnnxEmbedder, OnnxEncoder, OnnxSettings, card
from memos.ports.models import Embedder


@dataclass(frozen=True, slots=True)
class Found:
    """What one search returned: distinct source ids, and hits of other users' cubes."""

    ranking: Ranking
    hits: int
    foreign: int


@dataclass
class Latencies:
    """Durations in seconds, without the time of the embedder."""

    add: list[float] = field(default_factory=list[float])
    add_turn: list[float] = field(default_factory=list[float])
    search: list[float] = field(default_factory=list[float])


@dataclass
class Subject:
    """One user of one MOS, timed.

    Attributes:
        mos: The open memory.
        embedder: The embedder it was opened with; its time is not counted.
        user: Who adds and asks.
        recipe: The recipe to search with.
        limit: How many memories a search may return.
        latencies: Where durations are collected.
    """

    mos: MOS
    embedder: CachedEmbedder
    user: str
    recipe: str
    limit: int
    latencies: Latencies

    def add(self, turns: Sequence[Turn]) -> tuple[str, ...]:
        """Store turns, session by session, and return the ids of their memories."""
        ids: list[str] = []
        for session, part in itertools.groupby(turns, key=lambda turn: turn.session):
            messages = [message(turn) for turn in part]
            start, embedding = time.perf_counter(), self.embedder.spent_s
            result = self.mos.add(messages, user=self.user, session=session)
            spent = time.perf_counter() - start - (self.embedder.spent_s - embedding)
            self.latencies.add.append(spent)
            self.latencies.add_turn.append(spent / len(messages))
            ids.extend(result.ids)
        return tuple(ids)

    def ask(self, question: Question) -> Found:
        """Search for a question and expand the memories found to their sources."""
        start, embedding = time.perf_counter(), self.embedder.spent_s
        result = self.mos.search(
            question.text, user=self.user, limit=self.limit, recipe=self.recipe, at=question.at
        )
        spent = time.perf_counter() - start - (self.embedder.spent_s - embedding)
        self.latencies.search.append(spent)
        cited = (
            (source.id, hit.score)
            for hit in result.hits
            for memory in (hit.memory, *hit.repeats)
            for source in memory.sources
            if source.id is not None
        )
        foreign = sum(hit.memory.place.cube != self.user for hit in result.hits)
        return Found(expand(cited), len(result.hits), foreign)

    def erase(self, ids: Sequence[str]) -> None:
        """Remove memories for good."""
        self.mos.forget(ids, user=self.user, mode="erase")


def bundled_embedder() -> Embedder:
    """Return the embedder that comes with MemOS, the one that a MOS opens by itself."""
    settings = OnnxSettings()
    encoder = OnnxEncoder(
        card(settings), threads=settings.threads, batch_tokens=settings.batch_tokens
    )
    return OnnxEmbedder(encoder, cache_size=settings.cache_size)


def message(turn: Turn) -> dict[str, str]:
    """Return a turn as the public API takes it."""
    message = {"role": turn.role, "content": turn.text, "message_id": turn.id}
    if turn.speaker:
        message["name"] = turn.speaker
    if turn.at:
        message["chat_time"] = turn.at
    return message
