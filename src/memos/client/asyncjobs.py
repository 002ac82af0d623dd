"""``AsyncClient.jobs``."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol, Unpack

import httpx

from memos import options as opt
from memos.client import background
from memos.client.calls import Call, T
from memos.ingest.exports.conversations import Format
from memos.progress import Progress
from memos.types import JobPage, JobStatus


class Sender(Protocol):
    """Sends calls."""

    http: httpx.AsyncClient

    async def send(self, call: Call[T]) -> T:
        """Send a call, again where that may help."""
        ...

    def stream(self, call: Call[T]) -> AbstractAsyncContextManager[httpx.Response]:
        """Send a call whose answer is read as it comes."""
        ...


class AsyncClientJobs:
    """Work in the background; see ``memos.jobs.service.Jobs``. The server does it."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    async def add(self, content: object, **options: Unpack[opt.AddOptions]) -> JobStatus:
        """Remember something later."""
        return await self._sender.send(background.add(content, {**options}))

    async def import_chats(
        self,
        source: Path | str,
        *,
        format: Format | None = None,
        batch_id: str | None = None,
        **who: Unpack[opt.Who],
    ) -> JobStatus:
        """Remember later what another program exported."""
        call = background.import_chats(source, format, batch_id, {**who})
        return await self._sender.send(call)

    async def reindex(self, **who: Unpack[opt.Who]) -> JobStatus:
        """Embed a cube anew later, with the server's embedder."""
        return await self._sender.send(background.reindex({**who}))

    async def get(self, id: str, *, user: str | None = None) -> JobStatus:
        """Return how far a job is."""
        return await self._sender.send(background.get(id, user))

    async def list(self, **options: Unpack[opt.JobsOptions]) -> JobPage:
        """Return jobs, the latest first."""
        return await self._sender.send(background.listing({**options}))

    async def wait(
        self,
        id: str,
        *,
        timeout_s: float | None = None,
        progress: Progress | None = None,
        user: str | None = None,
    ) -> JobStatus:
        """Return how a job ended, or how far it is when the time is up."""
        waiting = background.Waiting(id, user, timeout_s)
        while True:
            call = waiting.call(self._sender.http.timeout.read)
            async with self._sender.stream(call) as response:
                async for line in response.aiter_lines():
                    waiting.take(line, progress)
            if (status := waiting.over()) is not None:
                return status

    async def retry(self, id: str, *, user: str | None = None) -> JobStatus:
        """Begin a job anew that was given up."""
        return await self._sender.send(background.retry(id, user))
