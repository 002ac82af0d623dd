"""``Client.jobs``."""

from __future__ import annotations

from contextlib import AbstractContextManager
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

    http: httpx.Client

    def send(self, call: Call[T]) -> T:
        """Send a call, again where that may help."""
        ...

    def stream(self, call: Call[T]) -> AbstractContextManager[httpx.Response]:
        """Send a call whose answer is read as it comes."""
        ...


class ClientJobs:
    """Work in the background; see ``memos.jobs.service.Jobs``. The server does it."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def add(self, content: object, **options: Unpack[opt.AddOptions]) -> JobStatus:
        """Remember something later."""
        return self._sender.send(background.add(content, {**options}))

    def import_chats(
        self,
        source: Path | str,
        *,
        format: Format | None = None,
        batch_id: str | None = None,
        **who: Unpack[opt.Who],
    ) -> JobStatus:
        """Remember later what another program exported."""
        call = background.import_chats(source, format, batch_id, {**who})
        return self._sender.send(call)

    def reindex(self, **who: Unpack[opt.Who]) -> JobStatus:
        """Embed a cube anew later, with the server's embedder."""
        return self._sender.send(background.reindex({**who}))

    def get(self, id: str, *, user: str | None = None) -> JobStatus:
        """Return how far a job is."""
        return self._sender.send(background.get(id, user))

    def list(self, **options: Unpack[opt.JobsOptions]) -> JobPage:
        """Return jobs, the latest first."""
        return self._sender.send(background.listing({**options}))

    def wait(
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
            with self._sender.stream(call) as response:
                for line in response.iter_lines():
                    waiting.take(line, progress)
            if (status := waiting.over()) is not None:
                return status

    def retry(self, id: str, *, user: str | None = None) -> JobStatus:
        """Begin a job anew that was given up."""
        return self._sender.send(background.retry(id, user))
