"""Models in the layout of Sentence Transformers, in this process through PyTorch: embedders."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from memos._offload import Offload
from memos.errors import ModelError
from memos.models.sentence_transformers.driver import Encoder, mapped, open_encoder
from memos.ports.backend import Backend, Opened, Role
from memos.ports.models import EmbedRole, Vectors


class SentenceTransformersSettings(BaseModel):
    """Which model to use.

    Attributes:
        path: A model directory. Nothing is downloaded.
        device: PyTorch's device, such as `cpu` or `cuda`; the best one when unset.
        batch_size: Texts of one run.
        query_prefix: Put before every query, where the model asks for it.
        passage_prefix: Put before every passage, where the model asks for it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["sentence-transformers"] = "sentence-transformers"
    path: Path
    device: str | None = None
    batch_size: int = Field(default=32, ge=1)
    query_prefix: str = ""
    passage_prefix: str = ""


class SentenceTransformersEmbedder:
    """The ``Embedder`` port over a loaded model."""

    def __init__(self, settings: SentenceTransformersSettings, encoder: Encoder) -> None:
        self._settings = settings
        self._encoder = encoder
        self._offload = Offload(limit=1)
        self._prefixes: Mapping[EmbedRole, str] = {
            "query": settings.query_prefix,
            "passage": settings.passage_prefix,
        }
        own = hashlib.sha256(repr(self._prefixes).encode()).hexdigest()[:12]
        marked = f"-{own}" if any(self._prefixes.values()) else ""
        self._name = f"st-{settings.path.resolve().name}-{self.dimensions}{marked}"

    @property
    def name(self) -> str:
        """The identity that is stored with the vectors."""
        return self._name

    @property
    def dimensions(self) -> int:
        """Length of one vector."""
        return self._encoder.get_sentence_embedding_dimension() or 0

    async def embed(self, texts: Sequence[str], role: EmbedRole) -> Vectors:
        """Return one vector per text."""
        if not texts:
            return np.empty((0, self.dimensions), np.float32)
        prefix = self._prefixes[role]
        sent = [(prefix + text).encode("utf-8", "replace").decode() for text in texts]
        vectors = await self._offload.run(self._encode, sent)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not np.isfinite(lengths).all() or not lengths.all():
            raise ModelError(
                f"{self._name!r} gave a vector without a direction; use another model",
                service=self._name,
                code="bad_vector",
            )
        return vectors / lengths

    def _encode(self, texts: list[str]) -> Vectors:
        with mapped(self._settings.path):
            found = self._encoder.encode(
                texts, batch_size=self._settings.batch_size, show_progress_bar=False
            )
        return np.asarray(found, np.float32)


@asynccontextmanager
async def open_sentence_transformers(
    settings: SentenceTransformersSettings,
) -> AsyncGenerator[Opened, None]:
    """Load the model."""
    encoder = await Offload(limit=1).run(open_encoder, settings.path, settings.device)
    yield Opened(embedder=SentenceTransformersEmbedder(settings, encoder))


backend = Backend(
    name="sentence-transformers",
    roles=frozenset({Role.EMBEDDER}),
    settings=SentenceTransformersSettings,
    open=open_sentence_transformers,
)
