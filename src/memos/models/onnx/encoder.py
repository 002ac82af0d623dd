"""From texts to unit vectors: windows, batches, threads, means."""

from __future__ import annotations

import os
import threading
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, TypeAlias

import numpy as np

from memos.errors import ModelError
from memos.ports.models import EmbedRole, Vectors

_SLICE_CHARS = 16_384
_GROUP_WINDOWS = 256

Ids: TypeAlias = Sequence[int]


class TokenModel(Protocol):
    """A loaded model: tokens in, one raw vector per window of tokens out."""

    @property
    def window(self) -> int:
        """Most tokens of one window, without the special ones."""
        ...

    @property
    def rows(self) -> int:
        """Most windows of one run."""
        ...

    def tokens(self, text: str) -> Ids:
        """Return the tokens of a text without special ones."""
        ...

    def pooled(self, windows: Sequence[Ids]) -> Vectors:
        """Return one vector per window, not normalised; special tokens are added."""
        ...


@dataclass(frozen=True, slots=True)
class Card:
    """What is known of a model before it is loaded."""

    name: str
    dimensions: int
    prefixes: Mapping[EmbedRole, str]
    load: Callable[[], TokenModel]


@dataclass(frozen=True, slots=True)
class _Window:
    """A part of a text that fits the model."""

    text: int
    ids: Ids

    @property
    def weight(self) -> int:
        return max(len(self.ids), 1)


class OnnxEncoder:
    """Turns texts into unit vectors, blocking the calling thread; loads its model on first use.

    A text longer than the model's window is embedded in windows without overlap; its vector is
    their mean, weighted by their tokens. Texts are read lazily, so that memory stays bounded
    whatever their length. May be called from several threads.

    Example:
        >>> encoder = OnnxEncoder(card(OnnxSettings()))
        >>> encoder.encode(["how is the weather"], "query").shape
        (1, 384)
    """

    def __init__(self, card: Card, *, threads: int = 0, batch_tokens: int = 2048) -> None:
        self.card = card
        self._batch_tokens = batch_tokens
        self._threads = threads or _cores()
        # An inner pool of the driver would make short texts wait for its threads and use two cores
        # at 70%; running whole texts side by side uses them fully.
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="memos-embed")
        self._lock = threading.Lock()
        self._model: TokenModel | None = None

    def encode(self, texts: Sequence[str], role: EmbedRole) -> Vectors:
        """Return one unit vector per text, in their order.

        Raises:
            ConfigError: A file of the model is missing or corrupt.
            ModelError: The model failed.
        """
        model = self._loaded()
        sums = np.zeros((len(texts), self.card.dimensions), np.float32)
        windows = _windows(model, texts, self.card.prefixes[role])
        while group := list(islice(windows, _GROUP_WINDOWS)):
            batches = list(_batches(group, model.rows, self._batch_tokens))
            for batch, rows in zip(batches, self._pooled(model, batches), strict=True):
                for window, row in zip(batch, rows, strict=True):
                    sums[window.text] += window.weight * row
        return self._normalised(sums)

    def close(self) -> None:
        """End the worker threads and forget the model."""
        self._pool.shutdown()
        self._model = None

    def _loaded(self) -> TokenModel:
        with self._lock:
            if self._model is None:
                self._model = self.card.load()
            return self._model

    def _pooled(self, model: TokenModel, batches: Sequence[Sequence[_Window]]) -> Iterator[Vectors]:
        work = [[window.ids for window in batch] for batch in batches]
        if self._threads == 1 or len(work) == 1:
            return map(model.pooled, work)
        return self._pool.map(model.pooled, work)

    def _normalised(self, sums: Vectors) -> Vectors:
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        if not np.isfinite(lengths).all() or (lengths == 0).any():
            raise ModelError(
                f"embedder {self.card.name!r} gave a vector without a direction; check its files",
                service=self.card.name,
                code="bad_vector",
            )
        return sums / lengths


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _windows(model: TokenModel, texts: Sequence[str], prefix: str) -> Iterator[_Window]:
    for index, text in enumerate(texts):
        rest: list[int] = []
        started = False
        for part in _slices(prefix + text):
            rest.extend(model.tokens(_clean(part)))
            while len(rest) > model.window:
                yield _Window(index, rest[: model.window])
                del rest[: model.window]
                started = True
        if rest or not started:
            yield _Window(index, rest)


def _slices(text: str) -> Iterator[str]:
    """Cut a text at white space, or at a fixed length where there is none."""
    start = 0
    while len(text) - start > _SLICE_CHARS:
        limit = start + _SLICE_CHARS
        space = max(text.rfind(mark, start + 1, limit) for mark in " \n\t")
        end = space if space > 0 else limit
        yield text[start:end]
        start = end
    yield text[start:]


def _clean(text: str) -> str:
    """Replace what is not text (lone surrogates, null), compose accents, fold white space."""
    valid = text.encode("utf-8", "replace").decode("utf-8").replace("\0", " ")
    return " ".join(unicodedata.normalize("NFC", valid).split())


def _batches(windows: Sequence[_Window], rows: int, tokens: int) -> Iterator[Sequence[_Window]]:
    """Group windows of about the same length, the longest first so that threads end together."""
    batch: list[_Window] = []
    for window in sorted(windows, key=lambda window: len(window.ids), reverse=True):
        if batch and (len(batch) == rows or (len(batch) + 1) * batch[0].weight > tokens):
            yield batch
            batch = []
        batch.append(window)
    if batch:
        yield batch
