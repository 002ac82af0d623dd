"""A cross-encoder inside this process: a model directory exported for ONNX.

Query and text go through the model together, as a pair of the tokenizer; its one logit, or the
last of several, is the score.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import cached_property
from pathlib import Path
from typing import Final, Literal, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from memos._offload import Offload
from memos.errors import ModelError
from memos.models.onnx.driver import Session, unusable
from memos.models.onnx.export import INPUTS, Files, PairTokenizer, files, load_tokenizer, opened
from memos.ports.backend import Backend, Opened, Role

_LOGITS: Final = "logits"


class OnnxRerankerSettings(BaseModel):
    """Which cross-encoder to use.

    Attributes:
        path: A directory with `model.onnx` (or `onnx/model.onnx`), `tokenizer.json` and
            `config.json`.
        batch_size: Pairs of one run.
        max_tokens: Most tokens of a pair; the model's own limit when that is less.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["onnx"] = "onnx"
    path: Path
    batch_size: int = Field(default=16, ge=1)
    max_tokens: int = Field(default=512, ge=16)


class CrossEncoder:
    """A loaded directory, by the first pair; ``scores`` blocks.

    Raises:
        ConfigError: The graph or the tokenizer cannot be used.
    """

    def __init__(self, found: Files, batch_size: int) -> None:
        self._files = found
        self._batch_size = batch_size

    @cached_property
    def _session(self) -> Session:
        session = opened(self._files.model)
        if _LOGITS not in session.outputs:
            raise unusable(self._files.model, f"it has no output {_LOGITS!r}")
        return session

    @cached_property
    def _tokenizer(self) -> PairTokenizer:
        tokenizer = load_tokenizer(self._files.tokenizer)
        # A question has half of the room at most, so it is the text that is cut.
        tokenizer.enable_truncation(self._files.tokens, strategy="longest_first")
        return tokenizer

    def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """Return one score per text."""
        asked = self._shortened(query, self._files.tokens // 2)
        # Equal lengths together: padding is computed too.
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        scores = [0.0] * len(texts)
        for start in range(0, len(order), self._batch_size):
            places = order[start : start + self._batch_size]
            found = self._run(asked, [texts[place] for place in places])
            for place, score in zip(places, found, strict=True):
                scores[place] = score
        return scores

    def _shortened(self, query: str, tokens: int) -> str:
        plain = query.encode("utf-8", "replace").decode()
        while len(self._tokenizer.encode(plain, add_special_tokens=False).ids) > tokens:
            plain = plain[: len(plain) * 3 // 4]
        return plain

    def _run(self, query: str, texts: Sequence[str]) -> list[float]:
        plain = [text.encode("utf-8", "replace").decode() for text in texts]
        pairs = [self._tokenizer.encode(query, text) for text in plain]
        width = max(len(pair.ids) for pair in pairs)
        feeds = {name: np.zeros((len(pairs), width), np.int64) for name in INPUTS}
        feeds["input_ids"] += self._files.pad
        for row, pair in enumerate(pairs):
            feeds["input_ids"][row, : len(pair.ids)] = pair.ids
            feeds["attention_mask"][row, : len(pair.ids)] = 1
            feeds["token_type_ids"][row, : len(pair.ids)] = pair.type_ids
        wanted = {name: feeds[name] for name in self._session.inputs}
        logits = self._session.run(_LOGITS, wanted).reshape(len(pairs), -1)[:, -1]
        return checked(logits.tolist(), self._files.model)


def checked(scores: list[float], model: Path) -> list[float]:
    """Return the scores that a model gave.

    Raises:
        ModelError: One of them is no number.
    """
    if not all(map(math.isfinite, scores)):
        raise ModelError(
            f"{str(model)!r} gave a score that is no number; use another model",
            service="onnx",
            code="model_malformed",
        )
    return scores


class Scorer(Protocol):
    """A model of this process; ``scores`` blocks, and returns one score per text."""

    def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """Return one score per text."""
        ...


class OnnxReranker:
    """The ``Reranker`` port over a model of this process."""

    def __init__(self, encoder: Scorer, name: str) -> None:
        self._encoder = encoder
        self._name = name
        self._offload = Offload(limit=1)

    @property
    def name(self) -> str:
        """The directory's name."""
        return self._name

    async def score(self, query: str, texts: Sequence[str]) -> list[float]:
        """Return one score per text."""
        if not texts:
            return []
        return await self._offload.run(self._encoder.scores, query, texts)


@asynccontextmanager
async def open_onnx(settings: OnnxRerankerSettings) -> AsyncGenerator[Opened, None]:
    """Check the model's files; the model itself loads on the first search."""
    found = await Offload(limit=1).run(files, settings.path, settings.max_tokens)
    encoder = CrossEncoder(found, settings.batch_size)
    yield Opened(reranker=OnnxReranker(encoder, settings.path.resolve().name))


backend = Backend(
    name="onnx", roles=frozenset({Role.RERANKER}), settings=OnnxRerankerSettings, open=open_onnx
)
