"""Text embedding inside this process through onnxruntime.

Without a path the bundled multilingual model is used (see ``docs/embedder.md``); with one, any
directory in the layout that Hugging Face tools export: a model file, ``tokenizer.json`` and
``config.json``. Everything heavy, drivers included, is loaded by the first text.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager

import numpy as np

from memos._offload import Offload
from memos.models.onnx import bundle, export
from memos.models.onnx.encoder import Card, OnnxEncoder
from memos.models.onnx.settings import OnnxSettings
from memos.ports.backend import Backend, Opened, Role
from memos.ports.models import EmbedRole, Vectors

__all__ = ["OnnxEmbedder", "OnnxEncoder", "OnnxSettings", "backend", "card", "open_onnx"]

_CACHED_CHARS = 4_096
_SHORT_CHARS = 4_096
"""Passages of so many letters together are embedded beside a long import."""


class OnnxEmbedder:
    """The ``Embedder`` port over an encoder, with a cache of query vectors."""

    def __init__(self, encoder: OnnxEncoder, *, cache_size: int = 2048) -> None:
        self._encoder = encoder
        self._cache_size = cache_size
        self._cache: OrderedDict[str, Vectors] = OrderedDict()
        # A query does not wait until a long import of passages is through, nor does a passage that
        # a search asks for, or a single message.
        self._queries, self._short, self._long = (Offload(limit=1) for _ in range(3))

    @property
    def name(self) -> str:
        """The identity that is stored with the vectors."""
        return self._encoder.card.name

    @property
    def dimensions(self) -> int:
        """Length of one vector."""
        return self._encoder.card.dimensions

    async def embed(self, texts: Sequence[str], role: EmbedRole) -> Vectors:
        """Return one vector per text; equal texts are computed once."""
        known = self._known(texts) if role == "query" else {}
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        if missing:
            found = await self._lane(missing, role).run(self._encoder.encode, missing, role)
            known.update(zip(missing, found, strict=True))
            if role == "query":
                self._remember(missing, known)
        vectors = np.empty((len(texts), self.dimensions), np.float32)
        for row, text in enumerate(texts):
            vectors[row] = known[text]
        return vectors

    def _lane(self, texts: Iterable[str], role: EmbedRole) -> Offload:
        if role == "query":
            return self._queries
        return self._short if sum(map(len, texts)) <= _SHORT_CHARS else self._long

    def _known(self, texts: Iterable[str]) -> dict[str, Vectors]:
        known: dict[str, Vectors] = {}
        for text in texts:
            if text in self._cache:
                self._cache.move_to_end(text)
                known[text] = self._cache[text]
        return known

    def _remember(self, texts: Iterable[str], vectors: Mapping[str, Vectors]) -> None:
        for text in texts:
            if len(text) <= _CACHED_CHARS:
                # A copy: a view would keep the whole batch alive.
                self._cache[text] = vectors[text].copy()
        while len(self._cache) > self._cache_size:
            self._cache.popitem(last=False)


def card(settings: OnnxSettings) -> Card:
    """Describe the model that the settings name, without loading it.

    Raises:
        ConfigError: The directory holds no model that can be used.
    """
    path = settings.path or bundle.BUNDLED
    if settings.path is None or (path / bundle.MANIFEST).is_file():
        return bundle.card(path, settings)
    return export.card(path, settings)


@asynccontextmanager
async def open_onnx(settings: OnnxSettings) -> AsyncGenerator[Opened, None]:
    """Check the model's files and open its embedder; the model itself loads on the first text."""
    offload = Offload(limit=1)
    found = await offload.run(card, settings)
    encoder = OnnxEncoder(found, threads=settings.threads, batch_tokens=settings.batch_tokens)
    try:
        yield Opened(embedder=OnnxEmbedder(encoder, cache_size=settings.cache_size))
    finally:
        encoder.close()


backend = Backend(
    name="onnx", roles=frozenset({Role.EMBEDDER}), settings=OnnxSettings, open=open_onnx
)
