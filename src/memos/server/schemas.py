"""The wire of the native API: what bodies hold, and what answers look like.

Values become JSON through ``memos.wire``; the models of answers here are their description, which
the OpenAPI document shows and the tests hold them to. Requests are validated here, once.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from memos.errors import InvalidInput
from memos.forget import Mode
from memos.retrieve.pack import Dedup
from memos.server.job_schemas import JobOut
from memos.types import Status, Tier

Json = Any
Info = dict[str, Json]
CONTENTS: Final = {"text": "string", "messages": "array", "items": "array"}
"""What can be remembered, and its type in JSON."""
_DATE: Final = r"\d{4}-\d{2}-\d{2}"
_ZONE: Final = r"[Zz]|[+-]\d{2}:?\d{2}"
Name = Annotated[str, Field(min_length=1, max_length=512)]
User = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^/\x00-\x1f\x7f]+$")]
Id = Annotated[str, Field(min_length=1, max_length=200)]
Moment = Annotated[
    str,
    Field(
        max_length=40,
        pattern=rf"^{_DATE}([Tt ]\d{{2}}:\d{{2}}(:\d{{2}}(\.\d{{1,9}})?)?({_ZONE})?)?$",
        description="ISO 8601; UTC when it names no zone.",
    ),
]
Cubes = Annotated[list[Name], Field(min_length=1, max_length=1000)]
Limit = Annotated[int, Field(ge=1, le=10_000)]


class ProblemOut(BaseModel):
    """Problem details (RFC 9457); ``code`` is stable, ``error`` is a class of ``memos.errors``."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    error: str | None = None
    errors: list[dict[str, Json]] = Field(default_factory=list)
    context: Info = Field(default_factory=dict)
    trace_id: str | None = None


class In(BaseModel):
    """JSON has types of its own: "5" is no number here."""

    model_config = ConfigDict(extra="forbid", strict=True)


class WhoIn(In):
    """Whose memories: the acting end user, and one cube (its own, when none is named)."""

    user: User | None = None
    cube: Name | None = None


class AddFileIn(WhoIn):
    """What is stored with all that one call remembers."""

    session: Name | None = None
    agent: Name | None = None
    app: Name | None = None
    kind: Name | None = None
    tier: Tier | None = None
    title: str | None = None
    confidence: Annotated[float, Field(ge=0, le=100)] | None = None
    tags: list[str] = Field(default_factory=list)
    info: Info = Field(default_factory=dict)
    valid_from: Moment | None = None
    valid_to: Moment | None = None
    expires_at: Moment | None = None
    background: bool = Field(
        default=False, description="Return at once, with a job that remembers it later."
    )


class AddIn(AddFileIn):
    """What happened: messages, a text, or MemOS's textual memory items; one of the three."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": [name], "properties": {name: {"type": form}}}
                for name, form in CONTENTS.items()
            ]
        }
    )

    messages: list[dict[str, Json]] | None = None
    text: str | None = None
    items: list[dict[str, Json]] | None = None

    @model_validator(mode="after")
    def _one_content(self) -> AddIn:
        if len([name for name in CONTENTS if getattr(self, name) is not None]) != 1:
            raise InvalidInput("give messages, text or items, one of the three", code="no_content")
        return self


class AddedOut(BaseModel):
    """The memory that holds each piece, in order, whether this call stored it, and where."""

    ids: list[str]
    stored: list[bool]
    user: str
    cube: str


class AddManyIn(WhoIn):
    """Many adds; who and where of each stand here, unless it says them itself."""

    adds: Annotated[list[AddIn], Field(min_length=1, max_length=1000)]


class AddedOneOut(BaseModel):
    """What became of one add: what it stored, the job that will, or why it failed."""

    ids: list[str] = Field(default_factory=list)
    stored: list[bool] = Field(default_factory=list)
    job: JobOut | None = None
    problem: ProblemOut | None = None


class AddedManyOut(BaseModel):
    """What became of every add, in order."""

    results: list[AddedOneOut]


class PlaceOut(BaseModel):
    """Where a memory lives."""

    account: str
    cube: str
    user: str | None
    agent: str | None
    app: str | None
    session: str | None


class SourceOut(BaseModel):
    """The evidence that a memory was made from."""

    type: str
    id: str | None
    role: str | None
    speaker: str | None
    at: datetime | None
    start: int | None
    end: int | None
    uri: str | None
    blob: str | None
    extra: Info


class MemoryOut(BaseModel):
    """One version of a memory."""

    id: str
    kind: str
    text: str
    place: PlaceOut
    tier: Tier
    status: Status
    tags: list[str]
    title: str | None
    speaker: str | None
    position: int | None
    confidence: float | None
    sources: list[SourceOut]
    keys: list[str]
    valid_from: datetime | None
    valid_to: datetime | None
    created_at: datetime | None
    recorded_at: datetime | None
    retired_at: datetime | None
    expires_at: datetime | None
    superseded_by: str | None
    version: int
    info: Info
    data: Info


class PageOut(BaseModel):
    """A page of memories; ``next`` continues, null ends."""

    items: list[MemoryOut]
    next: str | None


class HistoryOut(BaseModel):
    """All versions of a memory, oldest first."""

    versions: list[MemoryOut]


class ListIn(In):
    """Which memories to list; ``cursor`` is the ``next`` of the last page."""

    user: User | None = None
    cubes: Cubes | None = None
    where: Info | None = None
    limit: Limit | None = None
    cursor: Annotated[str, Field(max_length=200)] | None = None
    as_of: Moment | None = None


class SearchIn(In):
    """A question, and how to answer it."""

    query: Annotated[str, Field(min_length=1)]
    user: User | None = None
    cubes: Cubes | None = None
    where: Info | None = None
    limit: Limit | None = None
    budget: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    recipe: Name | None = None
    dedup: Dedup | None = None
    at: Moment | None = None
    as_of: Moment | None = None
    rerank: bool | None = None
    neighbours: Annotated[int, Field(ge=0, le=20)] | None = None
    internet: bool | None = None
    session: Name | None = None


class WhyOut(BaseModel):
    """Why a memory was found."""

    lanes: dict[str, int]
    parts: dict[str, float]
    features: dict[str, float]
    words: list[str]
    scores: dict[str, float]
    model_config = ConfigDict(extra="allow")


class HitOut(BaseModel):
    """A memory that answers."""

    memory: MemoryOut
    score: float
    why: WhyOut
    repeats: list[MemoryOut]
    relativity: float
    neighbours: list[MemoryOut]
    model_config = ConfigDict(extra="allow")


class TraceOut(BaseModel):
    """What a search did."""

    timings_ms: dict[str, float]
    candidates: int
    recipe: str
    asked: list[str]
    model_config = ConfigDict(extra="allow")


class SearchOut(BaseModel):
    """Hits, best first; ``degraded`` names what failed and is not in the answer."""

    hits: list[HitOut]
    degraded: list[str]
    trace: TraceOut
    answerable: float
    model_config = ConfigDict(extra="allow")


class UpdateIn(WhoIn):
    """What to change; what is not named stays. ``expect`` is the version that is being changed."""

    text: str | None = None
    title: str | None = None
    tier: Tier | None = None
    confidence: Annotated[float, Field(ge=0, le=100)] | None = None
    tags: list[str] | None = None
    info: Info | None = None
    valid_from: Moment | None = None
    valid_to: Moment | None = None
    expires_at: Moment | None = None
    expect: Annotated[int, Field(ge=1)] | None = None


class ForgetIn(In):
    """Which memories to forget: named by id, or selected by a filter that is not empty."""

    user: User | None = None
    cubes: Cubes | None = None
    ids: Annotated[list[Name], Field(min_length=1, max_length=10_000)] | None = None
    where: Info | None = None
    mode: Mode = "retire"


class ForgottenOut(BaseModel):
    """The memories that were retired or erased."""

    ids: list[str]
    mode: Mode


class FeedbackIn(WhoIn):
    """What somebody says, and about which memories."""

    text: Annotated[str, Field(min_length=1, max_length=100_000)]
    memories: Annotated[list[Name], Field(max_length=1000)] = Field(default_factory=list)
    session: Name | None = None


class FeedbackOut(BaseModel):
    """Feedback is stored; it is applied once a release can."""

    id: str
    status: Literal["stored"]


class ChatIn(In):
    """What the user says, and how to answer."""

    query: Annotated[str, Field(min_length=1)]
    user: User | None = None
    cube: Name | None = None
    cubes: Cubes | None = None
    session: Name | None = None
    agent: Name | None = None
    app: Name | None = None
    batch_id: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    where: Info | None = None
    limit: Limit | None = None
    recipe: Name | None = None
    at: Moment | None = None
    system: Annotated[str, Field(min_length=1)] | None = None
    budget: Annotated[int, Field(ge=64, le=10_000_000)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    remember: bool | None = None
    internet: bool | None = None


class CitationOut(BaseModel):
    """A memory that the answer cites."""

    number: int
    memory: MemoryOut


class UsageOut(BaseModel):
    """What a call of the model took, in tokens."""

    prompt: int
    completion: int
    cached: int
    cost: float | None


class ChatOut(BaseModel):
    """An answer, what it rests on, and where the exchange is kept."""

    text: str
    cited: list[CitationOut]
    memories: list[MemoryOut]
    preferences: list[MemoryOut]
    session: str
    ids: list[str]
    model: str
    finish: str
    reasoning: str
    usage: UsageOut | None
    degraded: list[str]
    model_config = ConfigDict(extra="allow")


class HealthOut(BaseModel):
    """Whether the process lives."""

    status: Literal["healthy"]
    service: Literal["memos"]
    version: str


class ReadyOut(BaseModel):
    """Whether the parts of the server work."""

    ready: bool
    checks: dict[str, str]
