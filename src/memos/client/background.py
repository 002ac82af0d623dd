"""The calls about work in the background, and reading how it goes on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, cast

import msgspec

from memos.client import memories, transfers
from memos.client.calls import Call, decoder, given, key_of, nothing, query, reading, segment, timed
from memos.client.events import Events
from memos.client.failures import of_problem, problem_of
from memos.client.files import Upload
from memos.errors import InvalidInput
from memos.ingest.exports.conversations import Format
from memos.progress import Progress
from memos.types import ENDED, JobPage, JobStatus

_JOB: Final = reading(JobStatus)
_LONGEST_S: Final = 300.0
"""So long a server waits at most."""
_SHAPES: Final[dict[str, type[JobStatus]]] = dict.fromkeys(
    ("progress", "done", "failed", "timeout"), JobStatus
)
_LAST: Final = frozenset({"done", "failed", "timeout"})


def add(content: object, options: Mapping[str, object]) -> Call[JobStatus]:
    """Return the call that remembers something later."""
    later = {**options, "background": True}
    if not isinstance(content, Path):
        call = memories.add(content, later)
        return Call("POST", call.path, _JOB, body=call.body, headers=call.headers, repeatable=True)
    rest = timed(later)
    key = key_of(rest)
    upload = Upload(content, field="files", options=msgspec.json.encode(rest))
    return Call("POST", "/v1/imports/files", _file, headers=key, upload=upload, repeatable=True)


def import_chats(
    source: Path | str, format: Format | None, batch_id: str | None, who: Mapping[str, object]
) -> Call[JobStatus]:
    """Return the call that imports conversations later."""
    asked = {**who, **given(format=format, batch_id=batch_id)}
    key = key_of(asked)
    form = cast("Format | None", asked.pop("format", None))
    call = transfers.import_chats(source, form, None, {**asked, "background": True})
    return Call(
        "POST", call.path, _JOB, call.params, headers=key, upload=call.upload, repeatable=True
    )


def reindex(who: Mapping[str, object]) -> Call[JobStatus]:
    """Return the call that embeds a cube anew later."""
    cube = who.get("cube") or who.get("user")
    if cube is None:
        raise InvalidInput("name the cube that is to be embedded anew", code="empty")
    path = f"/v1/cubes/{segment(cube)}/reindex"
    return Call("POST", path, _JOB, query(user=who.get("user")))


def get(id: str, user: str | None) -> Call[JobStatus]:
    """Return the call that reads how far a job is."""
    return Call("GET", f"/v1/jobs/{segment(id)}", _JOB, query(user=user), repeatable=True)


def listing(options: Mapping[str, object]) -> Call[JobPage]:
    """Return the call that lists jobs."""
    return Call("GET", "/v1/jobs", reading(JobPage), query(**options), repeatable=True)


def retry(id: str, user: str | None) -> Call[JobStatus]:
    """Return the call that begins a job anew."""
    return Call("POST", f"/v1/jobs/{segment(id)}/retry", _JOB, query(user=user))


class Waiting:
    """Waiting for a job, one stream of events after the other."""

    def __init__(self, id: str, user: str | None, timeout_s: float | None) -> None:
        if timeout_s is not None and timeout_s < 0:
            raise InvalidInput(f"timeout_s: expected no less than 0, got {timeout_s!r}")
        self._path = f"/v1/jobs/{segment(id)}/wait"
        self._user = user
        self._until = None if timeout_s is None else time.monotonic() + timeout_s
        self._events: Events[JobStatus] = Events(_SHAPES, _LAST)
        self._told: tuple[int, int] | None = None
        self.latest: JobStatus | None = None

    def call(self, patience_s: float | None) -> Call[None]:
        """Return the next call; ``patience_s`` is how long a connection may be silent."""
        self._events = Events(_SHAPES, _LAST)
        asked = _LONGEST_S if patience_s is None else min(_LONGEST_S, patience_s / 2)
        if self._until is not None:
            asked = max(0.0, min(asked, self._until - time.monotonic()))
        params = query(user=self._user, timeout_s=asked)
        return Call("GET", self._path, nothing, params, headers={"Accept": "text/event-stream"})

    def take(self, line: str, progress: Progress | None) -> None:
        """Read a line of the answer."""
        status = self._events.take(line)
        if status is None:
            return
        self.latest = status
        if progress is not None and status.progress is not None and status.progress != self._told:
            self._told = status.progress
            progress(*status.progress)

    def over(self) -> JobStatus | None:
        """Return what is known when an answer ended, or None to ask again."""
        self._events.end()
        status = self.latest
        if status is None or status.state in ENDED:
            return status
        late = self._until is not None and time.monotonic() >= self._until
        return status if late else None


def _file(content: bytes) -> JobStatus:
    (result,) = decoder(dict[str, list[dict[str, object]]]).decode(content)["results"]
    if "problem" in result:
        raise of_problem(problem_of(result["problem"]))
    return msgspec.convert(result.get("job"), JobStatus)
