"""Text embedding by any server that speaks OpenAI's ``/embeddings``."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Literal

import anyio
from pydantic import BaseModel, ConfigDict, Field, HttpUrl, SecretStr

from memos.models._http.embedding import EmbeddingDialect, embedding
from memos.models._http.service import Endpoint, Sleep, bearer
from memos.models.openai_embedder import wire
from memos.ports.backend import Backend, Opened, Role
from memos.ports.models import EmbedRole


class OpenAIEmbedderSettings(BaseModel):
    """Where the server is and what to ask of it.

    Attributes:
        base_url: The URL that ``/embeddings`` is appended to, such as ``http://host:8000/v1``.
        dimensions: Asked of the server when given; None asks for nothing and finds out by a first
            request when the embedder is opened.
        batch_size: Most texts of one request.
        concurrency: Most requests at the same time.
        max_retries: Further tries after a busy server, a timeout or a lost connection.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["openai"] = "openai"
    base_url: HttpUrl
    model: str = Field(min_length=1)
    api_key: SecretStr | None = None
    dimensions: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=64, ge=1)
    concurrency: int = Field(default=4, ge=1)
    timeout_s: float = Field(default=30, gt=0)
    max_retries: int = Field(default=3, ge=0)
    query_prefix: str = ""
    passage_prefix: str = ""

    @property
    def prefixes(self) -> Mapping[EmbedRole, str]:
        """What is put before every text."""
        return {"query": self.query_prefix, "passage": self.passage_prefix}


def dialect(settings: OpenAIEmbedderSettings) -> EmbeddingDialect:
    """Return how the server is asked."""
    asked = {} if settings.dimensions is None else {"dimensions": settings.dimensions}

    def body(texts: Sequence[str]) -> Mapping[str, object]:
        return {"model": settings.model, **asked, "input": texts}

    return EmbeddingDialect(
        name=_name(settings), body=body, read=wire.embeddings, prefixes=settings.prefixes,
        dimensions=settings.dimensions, batch_size=settings.batch_size,
        concurrency=settings.concurrency,
    )  # fmt: skip


def endpoint(settings: OpenAIEmbedderSettings) -> Endpoint:
    """Return where the server is."""
    return Endpoint(
        "embedding server", settings.model, f"{str(settings.base_url).rstrip('/')}/embeddings",
        bearer(settings.api_key), settings.timeout_s, settings.max_retries,
    )  # fmt: skip


def _name(settings: OpenAIEmbedderSettings) -> str:
    parts = [settings.model]
    if settings.dimensions is not None:
        parts.append(str(settings.dimensions))
    if any(settings.prefixes.values()):
        parts.append(hashlib.sha256(repr(settings.prefixes).encode()).hexdigest()[:12])
    return "-".join(parts)


def open_openai(
    settings: OpenAIEmbedderSettings, *, sleep: Sleep = anyio.sleep
) -> AbstractAsyncContextManager[Opened]:
    """Open a connection pool and learn the dimensions of the model."""
    return embedding(endpoint(settings), dialect(settings), sleep)


backend = Backend(
    name="openai",
    roles=frozenset({Role.EMBEDDER}),
    settings=OpenAIEmbedderSettings,
    open=open_openai,
)
