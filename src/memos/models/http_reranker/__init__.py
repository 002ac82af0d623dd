"""Reranking by a server: Text Embeddings Inference, BGE, Cohere, Jina, vLLM, llama.cpp, ..."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Literal, cast

import anyio
import msgspec
from pydantic import BaseModel, ConfigDict, Field, HttpUrl, SecretStr

from memos.models._http.service import (
    Endpoint,
    Service,
    Sleep,
    bearer,
    connected,
    sendable,
    strings,
)
from memos.ports.backend import Backend, Opened, Role


class HttpRerankerSettings(BaseModel):
    """Where the server is and how it is asked.

    Attributes:
        url: The whole URL that requests go to, such as `http://host:8080/rerank`.
        shape: `tei` sends `query` and `texts` and reads `[{index, score}]`; `cohere` and `jina`
            send `query` and `documents` and read `{results: [{index, relevance_score}]}`; `bge`
            sends the same and reads that or `{data: [{score}]}`.
        model: The model, as the server calls it; not sent to `tei`.
        timeout_s: Longest silence; a search waits for it, and goes on without the reranker.
        max_retries: Further tries after a busy server, a timeout or a lost connection.
        batch_size: Most texts of one request.
        truncate: Longest text, in characters; what is behind is not judged.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["http"] = "http"
    url: HttpUrl
    shape: Literal["tei", "bge", "cohere", "jina"] = "bge"
    model: str = Field(default="bge-reranker-v2-m3", min_length=1)
    api_key: SecretStr | None = None
    timeout_s: float = Field(default=10, gt=0)
    max_retries: int = Field(default=1, ge=0)
    batch_size: int = Field(default=64, ge=1)
    truncate: int = Field(default=8000, ge=1)


class _Item(msgspec.Struct):
    index: int | None = None
    score: float | None = None
    relevance_score: float | None = None


class _Answer(msgspec.Struct):
    results: list[_Item] | None = None
    data: list[_Item] | None = None


class HttpReranker:
    """The ``Reranker`` port over HTTP.

    Example:
        >>> async with open_http(settings) as opened:
        ...     scores = await opened.reranker.score("who sings", ["Ann sings.", "Bob cooks."])
    """

    def __init__(self, settings: HttpRerankerSettings, service: Service) -> None:
        self._settings = settings
        self._service = service

    @property
    def name(self) -> str:
        """The model's name."""
        return self._settings.model

    async def score(self, query: str, texts: Sequence[str]) -> list[float]:
        """Return one score per text, from as few requests as the batch size allows."""
        size = self._settings.batch_size
        sent = [text[: self._settings.truncate] for text in strings(texts)]
        scores: list[float] = []
        for start in range(0, len(sent), size):
            batch = sent[start : start + size]
            content = await self._service.ask(self._body(sendable(query) or " ", batch))
            try:
                scores += _scores(content, len(batch))
            except ValueError as error:
                cause = f"did not answer with {len(batch)} scores ({error}); check url and shape"
                raise self._service.error(cause, code="model_malformed") from error
        return scores

    def _body(self, query: str, texts: Sequence[str]) -> Mapping[str, object]:
        if self._settings.shape == "tei":
            return {"query": query, "texts": texts, "truncate": True}
        body: dict[str, object] = {
            "model": self._settings.model,
            "query": query,
            "documents": texts,
        }
        if self._settings.shape in ("cohere", "jina"):
            body["top_n"] = len(texts)
        return body


def _scores(content: bytes, count: int) -> list[float]:
    """Return the scores of an answer, in the order of the texts.

    Raises:
        ValueError: It is something else; the text of the error quotes nothing of it.
    """
    try:
        found = cast(
            "list[_Item] | _Answer", msgspec.json.decode(content, type=list[_Item] | _Answer)
        )
    except msgspec.DecodeError as error:
        raise ValueError(type(error).__name__) from error
    items = found if isinstance(found, list) else (found.results or found.data or [])
    numbers = [place if item.index is None else item.index for place, item in enumerate(items)]
    if sorted(numbers) != list(range(count)):
        raise ValueError(f"{len(items)} came, or their numbers are wrong")
    scores = [0.0] * count
    for number, item in zip(numbers, items, strict=True):
        score = item.score if item.relevance_score is None else item.relevance_score
        if score is None or not math.isfinite(score):
            raise ValueError("one is no number")
        scores[number] = score
    return scores


@asynccontextmanager
async def open_http(
    settings: HttpRerankerSettings, *, sleep: Sleep = anyio.sleep
) -> AsyncGenerator[Opened, None]:
    """Open a connection pool; nothing is asked before the first search."""
    endpoint = Endpoint(
        "reranking server", settings.model, str(settings.url), bearer(settings.api_key),
        settings.timeout_s, settings.max_retries,
    )  # fmt: skip
    async with connected(endpoint, sleep) as service:
        yield Opened(reranker=HttpReranker(settings, service))


backend = Backend(
    name="http",
    roles=frozenset({Role.RERANKER}),
    settings=HttpRerankerSettings,
    open=open_http,
)
