"""Reading exports of other programs: conversations and documents, added part by part."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol, Unpack

from anyio import from_thread

from memos._offload import Offload
from memos.cubes.load import Skipped
from memos.errors import InvalidInput
from memos.ingest.exports import files
from memos.ingest.exports.conversations import Conversation, Format
from memos.ingest.reader import Document
from memos.options import AddOptions
from memos.progress import Progress
from memos.remember import AddResult

_MESSAGES: Final = 500
"""Messages of a conversation that are added at a time."""
_NAMED: Final = 1_000


class Adding(Protocol):
    """``MemoryOperations.add``."""

    def __call__(self, content: object, **options: Unpack[AddOptions]) -> Awaitable[AddResult]:
        """Remember something."""
        ...


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What an import brought in.

    Attributes:
        conversations: Conversations or documents that were read.
        stored: Memories that are new.
        known: Memories that were there already.
        skipped: Parts that could not be read, with the reason; the first thousand.
    """

    conversations: int
    stored: int
    known: int
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True, slots=True)
class Importer:
    """Reads exports in a thread, and adds what they hold."""

    add: Adding
    offload: Offload

    async def read(
        self,
        source: Path,
        form: Format | None,
        progress: Progress,
        place: AddOptions,
        batch: str | None = None,
    ) -> ImportResult:
        """Remember what an export holds; see ``TransferOperations.import_chats``.

        Args:
            source: The export.
            form: Its format.
            progress: Called with (bytes read, bytes in all).
            place: Whose memories they become.
            batch: What makes every part that this very import brings stored once, whatever became
                of it since.
        """

        def work() -> ImportResult:
            tally = _Tally()
            for part in files.read(source, form, progress):
                from_thread.check_cancelled()
                if isinstance(part, files.Refused):
                    tally.skip(part.name, part.reason)
                    continue
                try:
                    tally.count(from_thread.run(self._imported, part, place, batch))
                except InvalidInput as error:
                    tally.skip(part.name if isinstance(part, Document) else part.id, error.detail)
            return tally.result()

        return await self.offload.run(work)

    async def _imported(
        self, part: Conversation | Document, place: AddOptions, batch: str | None
    ) -> Sequence[bool]:
        """Add a part; return of each of its memories whether it is new."""
        if isinstance(part, Document):
            content = _digest(part.text)
            once = f"{batch or 'import'} {_digest(part.name)} {content}"
            return (await self.add(part, **{**place, "batch_id": once})).stored
        stored: list[bool] = []
        info = {} if part.title is None else {"conversation": part.title}
        options: AddOptions = {**place, "session": part.id, "info": info}
        for start in range(0, len(part.messages), _MESSAGES):
            if batch is not None:
                options["batch_id"] = f"{batch} {_digest(part.id)} {start}"
            messages = part.messages[start : start + _MESSAGES]
            if any(str(message.get("content") or "").strip() for message in messages):
                stored += (await self.add(messages, **options)).stored
        return stored


@dataclass(slots=True)
class _Tally:
    """What an import has done so far."""

    conversations: int = 0
    stored: int = 0
    known: int = 0
    skipped: list[Skipped] = field(default_factory=list[Skipped])

    def count(self, stored: Sequence[bool]) -> None:
        self.conversations += 1
        self.stored += sum(stored)
        self.known += len(stored) - sum(stored)

    def skip(self, name: str, reason: str) -> None:
        if len(self.skipped) < _NAMED:
            self.skipped.append(Skipped(name, reason))

    def result(self) -> ImportResult:
        return ImportResult(self.conversations, self.stored, self.known, tuple(self.skipped))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
