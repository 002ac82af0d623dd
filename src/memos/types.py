"""The values that everything else passes around. All are frozen; behaviour lives in functions.

They are ``msgspec`` structs, which are made, changed (``msgspec.structs.replace``) and decoded in a
tenth of the time that dataclasses take; every memory pays that four times on its way in and out.
Those that come by the thousand are no business of the garbage collector (``gc=False``): what they
hold is JSON or other values, which never lead back to them, and to look through them all again and
again took a tenth of a large add.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final, Literal, TypeAlias

import numpy as np
from msgspec import Struct, field
from numpy.typing import NDArray

Json: TypeAlias = object
"""A JSON value: None, bool, int, float, str, a list or a mapping of these; checked at the edge."""
JsonObject: TypeAlias = Mapping[str, Json]
Vector: TypeAlias = NDArray[np.float32]
"""One embedding: shape (dimensions,), L2-normalised."""

Tier: TypeAlias = Literal["working", "long_term", "user", "outer"]
Status: TypeAlias = Literal["activated", "resolving", "archived", "deleted"]
Access: TypeAlias = Literal["read", "write"]
Role: TypeAlias = Literal["ROOT", "ADMIN", "USER", "GUEST"]
"""What a user may do; ``memos.users.access`` says what that is."""
KeyScope: TypeAlias = Literal["read", "write", "admin"]
JobState: TypeAlias = Literal["waiting", "running", "done", "failed"]
ENDED: Final[tuple[JobState, ...]] = ("done", "failed")
"""The states that a job stays in."""

_NO_JSON: JsonObject = {}


class Place(Struct, frozen=True, gc=False):
    """Where a record lives. ``account`` is the tenant; the rest is inside it."""

    account: str
    cube: str
    user: str | None = None
    agent: str | None = None
    app: str | None = None
    session: str | None = None


class Scope(Struct, frozen=True):
    """What a caller may do. Only ``memos.users.access`` makes one.

    Attributes:
        account: The tenant; nothing outside it can be named.
        principal: The user who acts.
        grants: Cube id -> ``read`` or ``write`` (write includes read).
    """

    account: str
    principal: str
    grants: Mapping[str, Access]

    def may(self, cube: str, access: Access) -> bool:
        """Whether this scope allows ``access`` to ``cube``."""
        held = self.grants.get(cube)
        return held == "write" or (held is not None and held == access)


class Source(Struct, frozen=True, gc=False):
    """The evidence that a memory was made from: a message, a file, a page.

    ``start`` and ``end`` are character offsets of the evidence inside the original.
    """

    type: str = "chat"
    id: str | None = None
    role: str | None = None
    speaker: str | None = None
    at: datetime | None = None
    start: int | None = None
    end: int | None = None
    uri: str | None = None
    blob: str | None = None
    extra: JsonObject = field(default_factory=dict[str, Json])


class Memory(Struct, frozen=True, gc=False):
    """One textual memory, whatever its kind; see ``memos.kinds`` for what a kind is.

    A change makes a new version; ``recorded_at`` is when this version was written and
    ``retired_at`` when it stopped to be the current one. ``valid_from`` and ``valid_to`` speak of
    the world, not of us. ``position`` orders the memories of one session; ``keys`` are what
    duplicates of this memory would share, unique within a cube.
    """

    id: str
    kind: str
    text: str
    place: Place
    tier: Tier = "long_term"
    status: Status = "activated"
    tags: tuple[str, ...] = ()
    title: str | None = None
    speaker: str | None = None
    position: int | None = None
    confidence: float | None = None
    sources: tuple[Source, ...] = ()
    keys: tuple[str, ...] = ()
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    created_at: datetime | None = None
    recorded_at: datetime | None = None
    retired_at: datetime | None = None
    expires_at: datetime | None = None
    superseded_by: str | None = None
    version: int = 1
    info: JsonObject = field(default_factory=dict[str, Json])
    data: JsonObject = field(default_factory=dict[str, Json])


class Link(Struct, frozen=True):
    """A directed relation between two memories of one cube."""

    source: str
    target: str
    relation: str
    weight: float = 1.0


class Put(Struct, frozen=True, gc=False):
    """A memory to store, with what its indexes need.

    Attributes:
        memory: The record. ``position`` None in a session means: next in that session.
        vector: Its embedding, or None when it is not to be found by meaning.
        terms: Index term -> occurrences in the text (``memos.analysis``).
        fresh: The id was made for this put, so that nothing can be stored under it.
    """

    memory: Memory
    vector: Vector | None = None
    terms: Mapping[str, int] = field(default_factory=dict[str, int])
    fresh: bool = False


class Retire(Struct, frozen=True):
    """Hide a memory and keep its history; ``superseded_by`` names its successor, if any."""

    id: str
    superseded_by: str | None = None


class Head(Struct, frozen=True):
    """The last position a session is expected to have, or None when it has no memory yet."""

    place: Place
    position: int | None


class Job(Struct, frozen=True):
    """Work for later, ordered within its ``scope_key``."""

    id: str
    label: str
    account: str
    cube: str
    payload: JsonObject
    scope_key: str = ""
    priority: int = 0
    attempts: int = 0
    due_at: datetime | None = None
    memories: tuple[str, ...] = ()


class JobStatus(Struct, frozen=True):
    """How far a job is; never what it works on.

    Attributes:
        id: Its id.
        label: What kind of work it is.
        account: The tenant.
        cube: The cube that it is about.
        state: ``waiting`` also between two attempts, and after one that nobody ended.
        attempts: How often it was begun.
        put_at: When it was asked for.
        due_at: Not before.
        started_at: When it was begun last.
        ended_at: When it was done, or given up.
        progress: How much of it is done, and how much there is; the unit is the work's own.
        result: What it brought, once it is done.
        code: The stable word of the error that its last attempt ended with.
        cause: The same for a person.
    """

    id: str
    label: str
    account: str
    cube: str
    state: JobState
    attempts: int
    put_at: datetime
    due_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    progress: tuple[int, int] | None = None
    result: JsonObject | None = None
    code: str | None = None
    cause: str | None = None


class JobPage(Struct, frozen=True):
    """Jobs, the latest first; ``next`` continues, None ends."""

    items: tuple[JobStatus, ...]
    next: str | None


class Batch(Struct, frozen=True):
    """One change of one cube, applied as a whole or not at all, and once per ``id``, if it has one.

    Attributes:
        id: Makes a repeated call harmless; unique within the cube.
        account: The tenant.
        cube: The cube that every part of the batch belongs to.
        embedder: Name of the model behind the vectors; a cube has one.
        puts: Memories to add, or new versions of existing ids.
        retires: Memories to hide, history kept.
        erases: Ids whose every trace goes, but for a tombstone.
        links: Relations to add.
        jobs: Follow-up work, committed with the change.
        expect: Memory id -> the version it must have now (0: must not exist).
        heads: Sessions that must not have grown meanwhile.
    """

    id: str | None
    account: str
    cube: str
    embedder: str | None = None
    puts: tuple[Put, ...] = ()
    retires: tuple[Retire, ...] = ()
    erases: tuple[str, ...] = ()
    links: tuple[Link, ...] = ()
    jobs: tuple[Job, ...] = ()
    expect: Mapping[str, int] = field(default_factory=dict[str, int])
    heads: tuple[Head, ...] = ()


class Receipt(Struct, frozen=True):
    """What a batch did.

    Attributes:
        cursor: Position in the change log after the batch.
        ids: For every put, in order, the id under which its content is stored: its own, or that
            of the memory which already held one of its keys.
        stored: For every put, whether it wrote a row.
        repeated: Whether the batch had been applied before, and nothing was done now.
    """

    cursor: int
    ids: tuple[str, ...]
    stored: tuple[bool, ...] = ()
    repeated: bool = False


class ChangeKind(StrEnum):
    """What a change means for an index."""

    PUT = "put"
    DROP = "drop"


class Change(Struct, frozen=True):
    """One entry of the log that derived indexes follow."""

    cursor: int
    kind: ChangeKind
    account: str
    cube: str
    id: str
    put: Put | None = None


class Scored(Struct, frozen=True):
    """A candidate of a lane: an id and the lane's own score, never the record."""

    cube: str
    id: str
    score: float


class Page(Struct, frozen=True):
    """A window over a listing. ``after`` is the cursor that the last page ended with."""

    limit: int = 100
    after: str | None = None


class MemoryPage(Struct, frozen=True):
    """Memories in the order they were recorded; ``next`` continues, None ends."""

    items: tuple[Memory, ...]
    next: str | None


class Statistics(Struct, frozen=True):
    """What BM25 has to know about a cube: live documents, their mean length, term -> documents.

    ``speakers`` are those who say something in it, ``newest`` is the last day on which somebody
    did, counted from the year 1, 0 where none is known.
    """

    documents: int
    mean_length: float
    frequencies: Mapping[str, int]
    speakers: frozenset[str] = frozenset()
    newest: int = 0


class Tombstone(Struct, frozen=True):
    """All that is left of an erased memory."""

    cube: str
    id: str
    erased_at: datetime


class User(Struct, frozen=True):
    """Somebody inside an account; who is not ``active`` is refused until that changes."""

    id: str
    account: str
    name: str
    created_at: datetime
    version: int = 0
    role: Role = "USER"
    active: bool = True


class Cube(Struct, frozen=True):
    """A container of memories, with one owner and one embedder.

    An unregistered cube keeps its memories, and in ``held`` who could read or write them; nobody
    reaches it until it is registered again.
    """

    id: str
    account: str
    name: str
    owner: str
    created_at: datetime
    version: int = 0
    registered: bool = True
    held: tuple[tuple[str, Access], ...] = ()


class Grant(Struct, frozen=True):
    """``principal`` may ``access`` ``cube``; its id is ``principal/cube``."""

    id: str
    account: str
    principal: str
    cube: str
    access: Access
    version: int = 0


class Spending(Struct, frozen=True):
    """What a chat model took for a cube on one day (UTC); its id is ``cube/day/model``.

    ``prompt`` includes ``cached``; ``failed`` counts those of ``calls`` that gave no answer.
    """

    id: str
    account: str
    cube: str
    day: str
    model: str
    calls: int = 0
    failed: int = 0
    prompt: int = 0
    completion: int = 0
    cached: int = 0
    cost: float = 0.0
    version: int = 0


class ApiKey(Struct, frozen=True):
    """What is kept of an API key: everything but the key.

    Attributes:
        id: Finds it; a part of the key that is no secret.
        account: That of the server's own entries.
        tenant: The account that it acts for.
        name: What people call it.
        digest: HMAC-SHA256 of its secret part, in hex.
        scopes: What it may do; ``admin`` manages users, cubes and keys.
        created_at: When it was made.
        version: Rises with every change.
        user: The only user that it may act for, or None for any.
        cubes: The only cubes that it may touch, or None for any.
        expires_at: From when on it is refused.
        last_used_at: When it was used last, to the minute.
        revoked_at: Since when it is refused.
    """

    id: str
    account: str
    tenant: str
    name: str
    digest: str
    scopes: tuple[KeyScope, ...]
    created_at: datetime
    version: int = 0
    user: str | None = None
    cubes: tuple[str, ...] | None = None
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None


class Repeat(Struct, frozen=True):
    """A call that was made with an ``Idempotency-Key``.

    Attributes:
        id: Stands for the operation, who called it, and the key.
        account: The tenant.
        at: When it came first.
        digest: Of what it asked for.
        version: That of every entry of an account.
    """

    id: str
    account: str
    at: datetime
    digest: str
    version: int = 0


class AuditEntry(Struct, frozen=True):
    """What somebody did over HTTP, without contents.

    Attributes:
        id: The day (UTC) and, behind a slash, an id that rises with time.
        account: The tenant.
        at: When.
        action: The operation, like ``memories.add``.
        user: Who acted.
        key: The id of its API key, None for the operator on the server's machine.
        cubes: The cubes that it was about.
        target: What else it was about: the id of a memory, a user, a key.
        status: How it ended, as an HTTP status; 403 when it was refused.
        version: That of every entry of an account.
    """

    id: str
    account: str
    at: datetime
    action: str
    user: str | None
    key: str | None
    cubes: tuple[str, ...]
    target: str | None
    status: int
    version: int = 0
