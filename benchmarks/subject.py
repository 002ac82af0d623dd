"""The system that is measured, reached through its public API and nothing else."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from anyio.from_thread import start_blocking_portal

from benchmarks.cases import Question, Turn
from benchmarks.ranking import Ranking, expand
from benchmarks.vector_cache import CachedEmbedder
from memos import MOS
from memos.errors import ConfigError
from memos.models.onnx import OnnxEmbedder, OnnxEncoder, OnnxSettings, card
from memos.ports.backend import Role
from memos.ports.models import Embedder
from memos.registry import resolve
from memos.retrieve.pipeline import SearchResult
from memos.retrieve.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Found:
    """What one search returned.

    Attributes:
        ranking: Distinct source ids.
        hits: How many memories there were.
        foreign: How many of them were of other users' cubes.
        signals: What may tell whether the memory answers at all, each higher when it does.
    """

    ranking: Ranking
    hits: int
    foreign: int
    signals: Mapping[str, float]


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
        recipe: The recipe to search with, or its name.
        limit: How many memories a search may return.
        latencies: Where durations are collected.
    """

    mos: MOS
    embedder: CachedEmbedder
    user: str
    recipe: str | Recipe
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
        foreign = sum(hit.memory.place.cube != self.user for hit in result.hits)
        signals = {
            "top_score": result.hits[0].score if result.hits else -math.inf,
            "relativity": max((hit.relativity for hit in result.hits), default=0.0),
            "answerable": result.answerable,
        }
        return Found(expand(_cited(result)), len(result.hits), foreign, signals)

    def packed(self, question: Question, budget: int) -> frozenset[str]:
        """Return the sources of what a search packs into so many tokens."""
        result = self.mos.search(
            question.text, user=self.user, budget=budget, recipe=self.recipe, at=question.at
        )
        return frozenset(source for source, _ in _cited(result))

    def erase(self, ids: Sequence[str]) -> None:
        """Remove memories for good."""
        self.mos.forget(ids, user=self.user, mode="erase")


def _cited(result: SearchResult) -> Iterator[tuple[str, float]]:
    """Yield the sources that hits cite, with the score of the hit."""
    for hit in result.hits:
        for memory in (hit.memory, *hit.repeats):
            for source in memory.sources:
                if source.id is not None:
                    yield source.id, hit.score


def bundled_embedder() -> Embedder:
    """Return the embedder that comes with MemOS, the one that a MOS opens by itself."""
    settings = OnnxSettings()
    encoder = OnnxEncoder(
        card(settings), threads=settings.threads, batch_tokens=settings.batch_tokens
    )
    return OnnxEmbedder(encoder, cache_size=settings.cache_size)


@contextlib.contextmanager
def opened_embedder(which: str | None) -> Iterator[Embedder]:
    """Open the bundled embedder, or one by its kind or by settings in JSON.

    Raises:
        ConfigError: No adapter has that name, or its settings are wrong.
    """
    if which is None:
        yield bundled_embedder()
        return
    section = json.loads(which) if which.startswith("{") else {"kind": which}
    backend, own = resolve("embedder", section, Role.EMBEDDER)
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(backend.open(own)) as opened,
    ):
        if opened.embedder is None:
            raise ConfigError(f"{which} has no embedder", code="unknown_kind")
        yield opened.embedder


def message(turn: Turn) -> dict[str, str]:
    """Return a turn as the public API takes it."""
    message = {"role": turn.role, "content": turn.text, "message_id": turn.id}
    if turn.speaker:
        message["name"] = turn.speaker
    if turn.at:
        message["chat_time"] = turn.at
    return message
