"""Stand-ins with behaviour of their own: no mocks, nothing to patch."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import shake_128
from inspect import iscoroutinefunction
from typing import Final, Generic, TypeVar, cast

import numpy as np

from memos.ports.models import EmbedRole, Vectors
from memos.types import Vector

P = TypeVar("P")

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
