"""The wire of the native API about cubes, users and keys; see ``memos.server.schemas``."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, Field

from memos.ports.transfer import OnConflict
from memos.server.schemas import Cubes, Id, In, Name
from memos.server.schemas import User as Acting
from memos.types import Access, KeyScope, Role


class CubeIn(In):
    """A new cube."""

    id: Id
    name: Name | None = None
    user: Acting | None = None


class CubeOut(BaseModel):
    """A container of memories."""

    id: str
    account: str
    name: str
    owner: str
    created_at: datetime
    version: int
    registered: bool
    held: list[Annotated[list[str], Field(min_length=2, max_length=2)]]


class CubesOut(BaseModel):
    """Cubes, by id."""

    cubes: list[CubeOut]


class RenameIn(In):
    """Another name."""

    name: Name
    user: Acting | None = None


class ShareIn(In):
    """What another user may do with a cube."""

    access: Access = "read"
    user: Acting | None = None


class GrantOut(BaseModel):
    """Who may do what with a cube."""

    id: str
    account: str
    principal: str
    cube: str
    access: Access
    version: int


class GrantsOut(BaseModel):
    """Everybody who may use a cube."""

    grants: list[GrantOut]


class TransferIn(In):
    """A cube's new owner."""

    to: Name
    user: Acting | None = None


class StatsOut(BaseModel):
    """What a cube holds, in figures."""

    memories: int
    retired: int
    versions: int
    erased: int
    links: int
    sessions: int
    kinds: dict[str, int]
    tiers: dict[str, int]
    statuses: dict[str, int]
    first: datetime | None
    last: datetime | None
    bytes: int


class SpendingOut(BaseModel):
    """What a chat model took for a cube on one day (UTC)."""

    id: str
    account: str
    cube: str
    day: str
    model: str
    calls: int
    failed: int
    prompt: int
    completion: int
    cached: int
    cost: float
    version: int


class TotalOut(BaseModel):
    """A sum over rows of spending."""

    calls: int
    failed: int
    prompt: int
    completion: int
    cached: int
    cost: float


class SpendingsOut(BaseModel):
    """What chat models took: a row per cube, day and model, and their sum."""

    rows: list[SpendingOut]
    total: TotalOut


class UserIn(In):
    """A new user."""

    id: Id
    name: Name | None = None
    role: Role = "USER"


class UserChangeIn(In):
    """What to change of a user; what is not named stays."""

    name: Name | None = None
    role: Role | None = None
    active: bool | None = None


class UserOut(BaseModel):
    """Somebody inside an account."""

    id: str
    account: str
    name: str
    created_at: datetime
    version: int
    role: Role
    active: bool


class UsersOut(BaseModel):
    """Users, by id."""

    users: list[UserOut]


class KeyIn(In):
    """A new API key."""

    name: Name
    scopes: Annotated[list[KeyScope], Field(min_length=1)] = Field(
        default_factory=lambda: ["read", "write"]
    )
    user: Acting | None = None
    cubes: Cubes | None = None
    expires_at: Annotated[AwareDatetime, Field(strict=False)] | None = None


class KeyOut(BaseModel):
    """What is kept of an API key."""

    id: str
    name: str
    scopes: list[KeyScope]
    user: str | None
    cubes: list[str] | None
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


class KeysOut(BaseModel):
    """Keys, oldest first."""

    keys: list[KeyOut]


class NewKeyOut(BaseModel):
    """A key that was just made; ``token`` is shown now and never again."""

    key: KeyOut
    token: str


class SkippedOut(BaseModel):
    """A part that was left alone, and why."""

    name: str
    reason: str


class LoadedOut(BaseModel):
    """What a load brought in."""

    cube: str
    created: bool
    memories: int
    same: int
    erased: int
    conflicts: int
    conflicting: list[str]
    on_conflict: OnConflict
    embedded: int
    skipped: list[SkippedOut]


class ImportedOut(BaseModel):
    """What an import of conversations brought in."""

    conversations: int
    stored: int
    known: int
    skipped: list[SkippedOut]


class AuditEntryOut(BaseModel):
    """What somebody did, without contents."""

    id: str
    account: str
    at: datetime
    action: str
    user: str | None
    key: str | None
    cubes: list[str]
    target: str | None
    status: int
    version: int


class AuditOut(BaseModel):
    """Entries of the audit log, newest first; ``next`` continues, null ends."""

    items: list[AuditEntryOut]
    next: str | None
