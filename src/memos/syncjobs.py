"""``MOS.jobs``: the same names as ``AsyncMOS.jobs``, over the portal."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from memos.ingest.exports.conversations import Format
from memos.options import AddOptions, JobsOptions, Who
from memos.portal import Portal
from memos.progress import Progress
from memos.types import JobPage, JobStatus


class SyncJobs:
    """Work in the background; see ``AsyncMOS.jobs``."""

    def __init__(self, portal: Portal) -> None:
        self._portal = portal

    def add(self, content: object, **options: Unpack[AddOptions]) -> JobStatus:
        """Remember something later."""
        return self._portal.call(lambda mos: mos.jobs.add(content, **options))

    def import_chats(
        self,
        source: Path | str,
        *,
        format: Format | None = None,
        batch_id: str | None = None,
        **who: Unpack[Who],
    ) -> JobStatus:
        """Remember later what another program exported."""
        return self._portal.call(
            lambda mos: mos.jobs.import_chats(source, format=format, batch_id=batch_id, **who)
        )

    def reindex(self, **who: Unpack[Who]) -> JobStatus:
        """Embed a cube anew later."""
        return self._portal.call(lambda mos: mos.jobs.reindex(**who))

    def get(self, id: str, *, user: str | None = None) -> JobStatus:
        """Return how far a job is."""
        return self._portal.call(lambda mos: mos.jobs.get(id, user=user))

    def list(self, **options: Unpack[JobsOptions]) -> JobPage:
        """Return jobs, the latest first."""
        return self._portal.call(lambda mos: mos.jobs.list(**options))

    def wait(
        self,
        id: str,
        *,
        timeout_s: float | None = None,
        progress: Progress | None = None,
        user: str | None = None,
    ) -> JobStatus:
        """Return how a job ended, or how far it is when the time is up."""
        return self._portal.call(
            lambda mos: mos.jobs.wait(id, timeout_s=timeout_s, progress=progress, user=user)
        )

    def retry(self, id: str, *, user: str | None = None) -> JobStatus:
        """Begin a job anew that was given up."""
        return self._portal.call(lambda mos: mos.jobs.retry(id, user=user))

    def run(self, *, forever: bool = False) -> int:
        """Do what is due, in this process."""
        return self._portal.call(lambda mos: mos.jobs.run(forever=forever))
