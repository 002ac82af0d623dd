"""Stand-ins with behaviour of their own: no mocks, nothing to patch."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import shake_128
from inspect import iscoroutinefunction
from typing import Final, Generic, TypeAlias, TypeVar, cast

import numpy as np
from anyio.lowlevel import checkpoint

from memos.analysis import tokens
from memos.ports.models import (
    FREELY,
    ChatEvent,
    ChatMessage,
    EmbedRole,
    Finished,
    Generation,
    ReasoningDelta,
    Reply,
    TextDelta,
    Usage,
    Vectors,
)
from memos.ports.web import WebPage
from memos.types import Vector

P = TypeVar("P")
Answer: TypeAlias = str | Reply | Exception | Callable[[Sequence[ChatMessage]], str]

_WORD: Final = re.compile(r"[a-z0-9]+|[^\W_]")
"""Latin words, and single characters of other scripts."""


class HashEmbedder:
    """An ``Embedder`` without a model: texts that share words are near.

    Every word has a fixed pseudo-random direction; a text is the sum of its words'.

    Attributes:
        calls: How often ``embed`` was awaited.
        texts: How many texts it was given.
    """

    def __init__(self, dimensions: int = 32, name: str | None = None) -> None:
        self._dimensions = dimensions
        self._name = name or f"hash-{dimensions}"
        self.calls = 0
        self.texts = 0

    @property
    def name(self) -> str:
        """Its identity; two with the same name give the same vectors."""
        return self._name

    @property
    def dimensions(self) -> int:
        """Length of one vector."""
        return self._dimensions

    async def embed(self, texts: Sequence[str], role: EmbedRole) -> Vectors:
        """Return one vector per text, whatever its role."""
        del role
        self.calls += 1
        self.texts += len(texts)
        if not texts:
            return np.empty((0, self._dimensions), np.float32)
        return np.stack([hash_vector(text, self._dimensions) for text in texts])


def hash_vector(text: str, dimensions: int = 32) -> Vector:
    """Return the vector that ``HashEmbedder`` gives a text."""
    words = cast("list[str]", _WORD.findall(text.casefold()))
    total = sum((_direction(word, dimensions) for word in words), np.zeros(dimensions, np.float32))
    length = float(np.linalg.norm(total))
    if length < 1e-6:  # noqa: PLR2004 - no words, or words that cancel out
        total, length = _direction("", dimensions), 1.0
    return (total / length).astype(np.float32)


@lru_cache(maxsize=4096)
def _direction(word: str, dimensions: int) -> Vector:
    noise = shake_128(word.encode("utf-8", "surrogatepass")).digest(dimensions)
    vector = np.frombuffer(noise, np.int8).astype(np.float32) + np.float32(0.5)
    return vector / np.float32(np.linalg.norm(vector))


class ManualClock:
    """A clock that stands still until it is moved; calling it tells the time."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self.time = start

    def __call__(self) -> datetime:
        """Return the time."""
        return self.time

    def advance(self, **units: float) -> datetime:
        """Move on by ``timedelta(**units)`` and return the time."""
        self.time += timedelta(**units)
        return self.time


class CountingStore(Generic[P]):
    """A port with its awaited calls counted, for tests of call budgets.

    For example::

        counted = CountingStore(opened.records)
        await counted.port.get(["m1"], scope)
        assert counted.calls == {"get": 1}

    Attributes:
        port: Stands in for the wrapped port.
        calls: Method -> how often it was called.
    """

    def __init__(self, wrapped: P) -> None:
        self.calls: Counter[str] = Counter()
        self.port = cast("P", _Counting(wrapped, self.calls))


class _Counting:
    def __init__(self, wrapped: object, calls: Counter[str]) -> None:
        self._wrapped = wrapped
        self._calls = calls

    def __getattr__(self, name: str) -> object:
        found: object = getattr(self._wrapped, name)
        if not iscoroutinefunction(found):
            return found

        async def counted(*args: object, **options: object) -> object:
            self._calls[name] += 1
            return await found(*args, **options)

        return counted


class ScriptedChat:
    """A ``ChatModel`` that answers from a script, and remembers what it was asked.

    Each answer is a text, a ``Reply``, an error to raise, or a function of the messages that
    returns a text. When the script is used up, the last answer is given again.

    Attributes:
        prompts: The messages of every call, in order.
        settings: The ``Generation`` of every call.
    """

    def __init__(self, *answers: Answer, name: str = "scripted", pieces: int = 8) -> None:
        self._answers = answers or ("Noted.",)
        self._name = name
        self._pieces = pieces
        self.prompts: list[tuple[ChatMessage, ...]] = []
        self.settings: list[Generation] = []

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    async def reply(self, messages: Sequence[ChatMessage], how: Generation = FREELY) -> Reply:
        """Return the next answer."""
        return self._next(messages, how)

    async def stream(
        self, messages: Sequence[ChatMessage], how: Generation = FREELY
    ) -> AsyncGenerator[ChatEvent, None]:
        """Yield the next answer in pieces of a few characters."""
        reply = self._next(messages, how)
        for text, form in ((reply.reasoning, ReasoningDelta), (reply.text, TextDelta)):
            for start in range(0, len(text), self._pieces):
                await checkpoint()
                yield form(text[start : start + self._pieces])
        for call in reply.tool_calls:
            yield call
        yield Finished(reply)

    def _next(self, messages: Sequence[ChatMessage], how: Generation) -> Reply:
        answer = self._answers[min(len(self.prompts), len(self._answers) - 1)]
        self.prompts.append(tuple(messages))
        self.settings.append(how)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Reply):
            return answer
        text = answer if isinstance(answer, str) else answer(messages)
        usage = Usage(sum(tokens(message.text) for message in messages), tokens(text))
        return Reply(text, self._name, usage=usage)


class ScriptedWeb:
    """A ``WebSearch`` that knows a few pages, whatever it is asked.

    Attributes:
        queries: What it was asked.
        error: Raised by every call when it is set.
    """

    def __init__(self, *pages: WebPage, name: str = "scripted") -> None:
        self._pages = pages
        self._name = name
        self.queries: list[str] = []
        self.error: Exception | None = None

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    async def find(self, query: str, limit: int) -> Sequence[WebPage]:
        """Return the first of its pages."""
        self.queries.append(query)
        if self.error is not None:
            raise self.error
        return self._pages[:limit]


class ScriptedReranker:
    """A ``Reranker`` that counts the words a text shares with the query; nothing is learned.

    Attributes:
        calls: The (query, texts) of every call.
        error: Raised by every call when it is set.
    """

    def __init__(self, name: str = "shared-words") -> None:
        self._name = name
        self.calls: list[tuple[str, tuple[str, ...]]] = []
        self.error: Exception | None = None

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    async def score(self, query: str, texts: Sequence[str]) -> list[float]:
        """Return how many words each text shares with the query."""
        self.calls.append((query, tuple(texts)))
        if self.error is not None:
            raise self.error
        asked = set(cast("list[str]", _WORD.findall(query.casefold())))
        return [
            float(len(asked & set(cast("list[str]", _WORD.findall(text.casefold())))))
            for text in texts
        ]
