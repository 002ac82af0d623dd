"""What answers about work in the background look like."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field

from memos.types import JobState

Step = Annotated[list[int], Field(min_length=2, max_length=2, description="Done, and in all.")]


class JobOut(BaseModel):
    """How far a job is; never what it works on."""

    id: str
    label: str
    account: str
    cube: str
    state: JobState
    attempts: int
    put_at: datetime
    due_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    progress: Step | None
    result: dict[str, Any] | None
    code: str | None
    cause: str | None


class JobsOut(BaseModel):
    """Jobs, the latest first; ``next`` continues, null ends."""

    items: list[JobOut]
    next: str | None
