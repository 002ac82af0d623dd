"""Text embedding by Ollama's ``/api/embed``."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Literal

import anyio
import msgspec
from pydantic import BaseModel, ConfigDict, Field, HttpUrl

from memos.models._http.embedding import EmbeddingDialect, directed, embedding
from memos.models._http.service import Endpoint, Sleep
from memos.ports.backend import Backend, Opened, Role
from memos.ports.models import EmbedRole
from memos.types import Vector


class OllamaEmbedderSettings(BaseModel):
    """Where Ollama is and what to ask of it.

    Attributes:
        base_url: Where Ollama listens.
        model: The embedding model, such as `bge-m3`.
        batch_size: Most texts of one request.
        timeout_s: Longest silence; the first request loads the model.
        max_retries: Further tries after a busy server, a timeout or a lost connection.
        query_prefix: Put before every query, where the model asks for it.
        passage_prefix: Put before every passage, where the model asks for it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["ollama"] = "ollama"
    base_url: HttpUrl = HttpUrl("http://127.0.0.1:11434")
    model: str = Field(min_length=1)
    batch_size: int = Field(default=64, ge=1)
    timeout_s: float = Field(default=120, gt=0)
    max_retries: int = Field(default=3, ge=0)
    query_prefix: str = ""
    passage_prefix: str = ""


class _Answer(msgspec.Struct):
    embeddings: list[list[float]]


def _embeddings(content: bytes, count: int) -> list[Vector]:
    try:
        rows = msgspec.json.decode(content, type=_Answer).embeddings
    except msgspec.DecodeError as error:
        raise ValueError(type(error).__name__) from error
    if len(rows) != count:
        raise ValueError(f"{len(rows)} came")
    return [directed(row) for row in rows]


def _dialect(settings: OllamaEmbedderSettings) -> EmbeddingDialect:
    prefixes: dict[EmbedRole, str] = {
        "query": settings.query_prefix,
        "passage": settings.passage_prefix,
    }
    own = hashlib.sha256(repr(prefixes).encode()).hexdigest()[:12]
    marked = f"-{own}" if any(prefixes.values()) else ""

    def body(texts: Sequence[str]) -> Mapping[str, object]:
        return {"model": settings.model, "input": texts}

    return EmbeddingDialect(
        name=f"ollama-{settings.model}{marked}", body=body, read=_embeddings, prefixes=prefixes,
        dimensions=None, batch_size=settings.batch_size, concurrency=1,
    )  # fmt: skip


def open_ollama(
    settings: OllamaEmbedderSettings, *, sleep: Sleep = anyio.sleep
) -> AbstractAsyncContextManager[Opened]:
    """Open a connection pool and learn the dimensions of the model."""
    url = f"{str(settings.base_url).rstrip('/')}/api/embed"
    endpoint = Endpoint(
        "embedding server", settings.model, url, {}, settings.timeout_s, settings.max_retries
    )
    return embedding(endpoint, _dialect(settings), sleep)


backend = Backend(
    name="ollama",
    roles=frozenset({Role.EMBEDDER}),
    settings=OllamaEmbedderSettings,
    open=open_ollama,
)
