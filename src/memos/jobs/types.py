"""The kinds of work, and what is handed over with it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import anyio
import msgspec
from msgspec import Struct, field

from memos.errors import DataError
from memos.types import Job, Json, JsonObject

ADD: Final = "add"
IMPORT: Final = "import"
REINDEX: Final = "reindex"
LABELS: Final = (ADD, IMPORT, REINDEX)
"""What workers do. Jobs of other kinds stay in the queue for whoever knows them."""
WRITING: Final = (ADD, IMPORT)
"""What holds text on its way into a cube."""


class Kept(Struct, frozen=True):
    """A file that is handed over: the blob that holds it, and its name."""

    blob: str
    name: str


class Work(Struct, frozen=True):
    """What a job has to do.

    Attributes:
        by: The user who asked for it, and acts.
        content: What is to be remembered.
        options: Those of the call that it stands for.
        file: What is to be read, in place of ``content``.
        format: Of an export.
    """

    by: str
    content: Json = None
    options: JsonObject = field(default_factory=dict[str, Json])
    file: Kept | None = None
    format: str | None = None


def work_of(job: Job) -> Work:
    """Return what a job has to do.

    Raises:
        DataError: It says so in a way that this release does not know.
    """
    try:
        return msgspec.convert(job.payload, Work)
    except msgspec.ValidationError as error:
        raise DataError(f"job {job.id!r} cannot be read: {error}", code="unknown_work") from error


@dataclass(frozen=True, slots=True)
class Manner:
    """How work is done.

    Attributes:
        concurrency: Jobs at a time.
        attempts: How often one is begun before it is given up.
        retry: How long the second attempt waits; each further one twice as long as the last.
        keep: How long it stays to be seen how a job ended.
        hold: How long nobody else takes a job whose worker vanished.
    """

    concurrency: int
    attempts: int
    retry: timedelta
    keep: timedelta
    hold: timedelta


class Bell:
    """Wakes whoever waits in this process for something to happen to a job."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def ring(self) -> None:
        """Wake everybody."""
        self._event.set()
        self._event = anyio.Event()

    def next(self) -> anyio.Event:
        """Return what is set by the next ring."""
        return self._event
