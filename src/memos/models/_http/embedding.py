"""An embedder behind HTTP: batches, order, dimensions; everything but the provider's dialect."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import anyio
import numpy as np

from memos.errors import UpstreamError
from memos.models._http.service import Endpoint, Service, Sleep, connected, strings
from memos.ports.backend import Opened
from memos.ports.models import EmbedRole, Vectors
from memos.types import Vector

_PROBE: Final = "probe"


@dataclass(frozen=True, slots=True)
class EmbeddingDialect:
    """How a provider is asked for vectors.

    Attributes:
        name: The identity that is stored with the vectors.
        body: Texts -> the body of a request.
        read: (answer, number of texts) -> one vector per text, in their order; ValueError with a
            reason that quotes nothing when it is something else.
        prefixes: Put before every text, by role.
        dimensions: Length of a vector, None to find out.
        batch_size: Most texts of one request.
        concurrency: Most requests at the same time.
    """

    name: str
    body: Callable[[Sequence[str]], Mapping[str, object]]
    read: Callable[[bytes, int], Sequence[Vector]]
    prefixes: Mapping[EmbedRole, str]
    dimensions: int | None
    batch_size: int
    concurrency: int


class HttpEmbedder:
    """The ``Embedder`` port over HTTP.

    Example:
        >>> async with open_openai(settings) as opened:
        ...     vectors = await opened.embedder.embed(["how is the weather"], "query")
    """

    def __init__(self, service: Service, dialect: EmbeddingDialect) -> None:
        self._service = service
        self._dialect = dialect
        self._limiter = anyio.CapacityLimiter(dialect.concurrency)
        self._dimensions = dialect.dimensions

    @property
    def name(self) -> str:
        """The identity that is stored with the vectors."""
        return self._dialect.name

    @property
    def dimensions(self) -> int:
        """Length of one vector; known once ``probe`` or ``embed`` has run."""
        return self._dimensions or 0

    async def probe(self) -> None:
        """Find out the dimensions from the server, unless the settings give them."""
        if self._dimensions is None:
            await self.embed([_PROBE], "passage")

    async def embed(self, texts: Sequence[str], role: EmbedRole) -> Vectors:
        """Return one vector per text, from as few requests as the batch size allows."""
        size = self._dialect.batch_size
        prefix = self._dialect.prefixes[role]
        sent = strings([prefix + text for text in texts])
        batches = [sent[start : start + size] for start in range(0, len(sent), size)]
        parts: list[Vectors | None] = [None] * len(batches)
        failures: list[UpstreamError] = []

        async def fill(place: int) -> None:
            async with self._limiter:
                try:
                    parts[place] = await self._once(batches[place])
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

    async def _once(self, batch: Sequence[str]) -> Vectors:
        content = await self._service.ask(self._dialect.body(batch))
        try:
            rows = self._dialect.read(content, len(batch))
        except ValueError as error:
            cause = f"did not answer with {len(batch)} embeddings ({error}); check base_url"
            raise self._service.error(cause, code="model_malformed") from error
        self._check_dimensions(rows)
        vectors = np.stack(rows)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def _check_dimensions(self, rows: Sequence[Vector]) -> None:
        found = {row.shape[0] for row in rows}
        expected = self._dimensions or rows[0].shape[0]
        if found != {expected}:
            cause = (
                f"answered vectors of {sorted(found)} dimensions instead of {expected}; set "
                "dimensions to what the model gives"
            )
            raise self._service.error(cause, code="model_dimensions")
        self._dimensions = expected


@asynccontextmanager
async def embedding(
    endpoint: Endpoint, dialect: EmbeddingDialect, sleep: Sleep
) -> AsyncGenerator[Opened, None]:
    """Open a connection pool and learn the dimensions of the model."""
    async with connected(endpoint, sleep) as service:
        embedder = HttpEmbedder(service, dialect)
        await embedder.probe()
        yield Opened(embedder=embedder)


def directed(values: Sequence[float] | Vector) -> Vector:
    """Return a vector.

    Raises:
        ValueError: It has no direction.
    """
    row = np.array(values, np.float32)
    if row.ndim != 1 or not np.isfinite(row).all() or not row.any():
        raise ValueError("one has no direction")
    return row
