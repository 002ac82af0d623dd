"""A cross-encoder in the layout of Sentence Transformers, in this process through PyTorch."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from memos._offload import Offload
from memos.errors import ModelError
from memos.models.sentence_transformers.driver import PairScorer, mapped, open_scorer
from memos.ports.backend import Backend, Opened, Role


class CrossEncoderSettings(BaseModel):
    """Which cross-encoder to use.

    Attributes:
        path: A model directory. Nothing is downloaded.
        device: PyTorch's device, such as `cpu` or `cuda`; the best one when unset.
        batch_size: Pairs of one run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["sentence-transformers"] = "sentence-transformers"
    path: Path
    device: str | None = None
    batch_size: int = Field(default=32, ge=1)


class SentenceTransformersReranker:
    """The ``Reranker`` port over a loaded cross-encoder."""

    def __init__(self, settings: CrossEncoderSettings, scorer: PairScorer) -> None:
        self._settings = settings
        self._scorer = scorer
        self._offload = Offload(limit=1)

    @property
    def name(self) -> str:
        """The directory's name."""
        return self._settings.path.resolve().name

    async def score(self, query: str, texts: Sequence[str]) -> list[float]:
        """Return one score per text."""
        if not texts:
            return []
        asked, *sent = (text.encode("utf-8", "replace").decode() for text in (query, *texts))
        scores = await self._offload.run(self._predict, [(asked, text) for text in sent])
        if not all(map(math.isfinite, scores)):
            raise ModelError(
                f"{self.name!r} gave a score that is no number; use another model",
                service=self.name,
                code="model_malformed",
            )
        return scores

    def _predict(self, pairs: list[tuple[str, str]]) -> list[float]:
        with mapped(self._settings.path):
            found = self._scorer.predict(
                pairs, batch_size=self._settings.batch_size, show_progress_bar=False
            )
        # One logit, or the last of several.
        return [float(value) for value in found.reshape(len(pairs), -1)[:, -1]]


@asynccontextmanager
async def open_cross_encoder(settings: CrossEncoderSettings) -> AsyncGenerator[Opened, None]:
    """Load the model."""
    scorer = await Offload(limit=1).run(open_scorer, settings.path, settings.device)
    yield Opened(reranker=SentenceTransformersReranker(settings, scorer))


backend = Backend(
    name="sentence-transformers",
    roles=frozenset({Role.RERANKER}),
    settings=CrossEncoderSettings,
    open=open_cross_encoder,
)
