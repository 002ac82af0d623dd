"""Values that only a server gives; all others are those of ``MOS``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from memos.errors import MemosError
from memos.types import KeyScope


@dataclass(frozen=True, slots=True)
class AddedOne:
    """What became of one of many adds: what it stored, or why it failed."""

    ids: tuple[str, ...] = ()
    stored: tuple[bool, ...] = ()
    error: MemosError | None = None


@dataclass(frozen=True, slots=True)
class Key:
    """What is kept of an API key; ``memos.types.ApiKey`` says what the fields mean."""

    id: str
    name: str
    scopes: tuple[KeyScope, ...]
    user: str | None
    cubes: tuple[str, ...] | None
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made; ``token`` is shown now and never again."""

    key: Key
    token: str
