"""Text embedding by any server that speaks OpenAI's ``/embeddings``."""

from __future__ import annotations

import hashlib
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Literal

import anyio
import httpx
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, HttpUrl, SecretStr

from memos.errors import ModelError, RateLimited, Timeout, UpstreamError
from memos.models.openai_embedder import wire
from memos.ports.backend import Backend, Opened, Role
from memos.ports.models import EmbedRole, Vectors

_FIRST_DELAY_S = 0.5
_LONGEST_DELAY_S = 60.0
_BUSY_STATUS = frozenset({408, 409, 429})
_REFUSED_STATUS = frozenset({401, 403})
_TOO_MANY = 429
_SERVER_ERROR = 500
_QUOTED_CHARS = 200

Sleep = Callable[[float], Awaitable[None]]


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


class OpenAIEmbedder:
    """The ``Embedder`` port over HTTP.

    Example:
        >>> async with open_openai(settings) as opened:
        ...     vectors = await opened.embedder.embed(["how is the weather"], "query")
    """

    def __init__(
        self,
        settings: OpenAIEmbedderSettings,
        client: httpx.AsyncClient,
        *,
        sleep: Sleep = anyio.sleep,
    ) -> None:
        self._settings = settings
        self._client = client
        self._sleep = sleep
        self._limiter = anyio.CapacityLimiter(settings.concurrency)
        self._url = f"{str(settings.base_url).rstrip('/')}/embeddings"
        # A URL may hold a password; errors show it without.
        self._shown = str(httpx.URL(self._url).copy_with(userinfo=b""))
        self._dimensions = settings.dimensions
        self._prefixes: dict[EmbedRole, str] = {
            "query": settings.query_prefix,
            "passage": settings.passage_prefix,
        }

    @property
    def name(self) -> str:
        """The identity that is stored with the vectors."""
        parts = [self._settings.model]
        if self._settings.dimensions is not None:
            parts.append(str(self._settings.dimensions))
        if any(self._prefixes.values()):
            parts.append(hashlib.sha256(repr(self._prefixes).encode()).hexdigest()[:12])
        return "-".join(parts)

    @property
    def dimensions(self) -> int:
        """Length of one vector; known once ``probe`` or ``embed`` has run."""
        return self._dimensions or 0

    async def probe(self) -> None:
        """Find out the dimensions from the server, unless the settings give them."""
        if self._dimensions is None:
            await self.embed(["probe"], "passage")

    async def embed(self, texts: Sequence[str], role: EmbedRole) -> Vectors:
        """Return one vector per text, from as few requests as the batch size allows."""
        size = self._settings.batch_size
        sent = [wire.sendable(self._prefixes[role] + text) for text in texts]
        batches = [sent[start : start + size] for start in range(0, len(sent), size)]
        parts: list[Vectors | None] = [None] * len(batches)
        failures: list[UpstreamError] = []

        async def fill(place: int) -> None:
            async with self._limiter:
                try:
                    parts[place] = await self._patiently(batches[place])
                except UpstreamError as error:
                    # Kept rather than raised: callers expect the error itself, not a group.
                    failures.append(error)
                    group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            for place in range(len(batches)):
                group.start_soon(fill, place)
        if failures:
            raise failures[0]
        done = [part for part in parts if part is not None]
        return np.concatenate(done) if done else np.empty((0, self.dimensions), np.float32)

    async def _patiently(self, batch: Sequence[str]) -> Vectors:
        for attempt in range(self._settings.max_retries):
            try:
                return await self._once(batch)
            except UpstreamError as error:
                delay_s = _delay_s(error, attempt)
                if delay_s is None:
                    raise
            await self._sleep(delay_s)
        return await self._once(batch)

    async def _once(self, batch: Sequence[str]) -> Vectors:
        body: dict[str, object] = {"model": self._settings.model, "input": batch}
        if self._settings.dimensions is not None:
            body["dimensions"] = self._settings.dimensions
        with self._mapped():
            response = await self._client.post(self._url, json=body)
        if not response.is_success:
            raise self._refusal(response)
        return self._vectors(response.content, len(batch))

    @contextmanager
    def _mapped(self) -> Generator[None, None, None]:
        """Turn the driver's errors into ours."""
        try:
            yield
        except httpx.TimeoutException as error:
            raise Timeout(
                f"embedding server {self._shown!r} did not answer within "
                f"{self._settings.timeout_s} s; raise timeout_s or lower batch_size",
                service=self._settings.model,
                retryable=True,
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            lost = isinstance(error, httpx.TransportError | httpx.StreamError)
            raise self._error(
                f"could not be asked ({type(error).__name__}); check base_url and that it runs",
                "unreachable",
                retryable=lost and not isinstance(error, httpx.UnsupportedProtocol),
            ) from error

    def _refusal(self, response: httpx.Response) -> UpstreamError:
        status = response.status_code
        if status in _REFUSED_STATUS:
            # What the server says is left out: some quote the key.
            return self._error(f"answered {status}; check api_key and its rights", "refused")
        said = self._quoted(response.content)
        if status == _TOO_MANY:
            return RateLimited(
                f"embedding server {self._shown!r} refuses for now{said}; lower concurrency",
                service=self._settings.model,
                retry_after=wire.retry_after_s(response.headers.get("retry-after")),
            )
        again = status in _BUSY_STATUS or status >= _SERVER_ERROR
        return self._error(
            f"answered {status}{said}; check base_url and the model {self._settings.model!r}",
            "status",
            retryable=again,
        )

    def _quoted(self, content: bytes) -> str:
        message = wire.complaint(content)
        if self._settings.api_key is not None:
            message = message.replace(self._settings.api_key.get_secret_value(), "***")
        return f" ({message[:_QUOTED_CHARS]})" if message else ""

    def _vectors(self, content: bytes, count: int) -> Vectors:
        try:
            rows = wire.embeddings(content, count)
        except ValueError as error:
            raise self._error(
                f"did not answer with {count} embeddings ({error}); check base_url", "malformed"
            ) from error
        self._check_dimensions(rows)
        vectors = np.stack(rows)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def _check_dimensions(self, rows: Sequence[Vectors]) -> None:
        found = {row.shape[0] for row in rows}
        expected = self._dimensions or rows[0].shape[0]
        if found != {expected}:
            raise self._error(
                f"answered vectors of {sorted(found)} dimensions instead of {expected}; set "
                "dimensions to what the model gives",
                "dimension_mismatch",
            )
        self._dimensions = expected

    def _error(self, cause: str, code: str, *, retryable: bool = False) -> ModelError:
        return ModelError(
            f"embedding server {self._shown!r} {cause}",
            service=self._settings.model,
            code=f"embedding_{code}",
            retryable=retryable,
        )


def _delay_s(error: UpstreamError, attempt: int) -> float | None:
    """Return how long to wait before the next try, or None if there should be none."""
    if not error.retryable:
        return None
    asked = error.retry_after if isinstance(error, RateLimited) else None
    if asked is not None and asked > _LONGEST_DELAY_S:
        return None
    # Half of it at random, so that many callers do not come back in step.
    backoff = _FIRST_DELAY_S * 2**attempt * random.uniform(0.5, 1)  # noqa: S311 - no secret
    return max(asked or 0.0, min(backoff, _LONGEST_DELAY_S))


@asynccontextmanager
async def open_openai(
    settings: OpenAIEmbedderSettings, *, sleep: Sleep = anyio.sleep
) -> AsyncGenerator[Opened, None]:
    """Open a connection pool and learn the dimensions of the model."""
    headers: dict[str, str] = {}
    if settings.api_key is not None:
        headers["Authorization"] = f"Bearer {settings.api_key.get_secret_value()}"
    async with httpx.AsyncClient(headers=headers, timeout=settings.timeout_s) as client:
        embedder = OpenAIEmbedder(settings, client, sleep=sleep)
        await embedder.probe()
        yield Opened(embedder=embedder)


backend = Backend(
    name="openai",
    roles=frozenset({Role.EMBEDDER}),
    settings=OpenAIEmbedderSettings,
    open=open_openai,
)
