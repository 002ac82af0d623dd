"""How an adapter announces itself: one constant ``backend`` per module, found by entry point."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from pydantic import BaseModel

from memos.ports.models import ChatModel, Embedder, Reranker
from memos.ports.queue import JobQueue
from memos.ports.stores import (
    AccountStore,
    BlobStore,
    FeatureIndex,
    LinkIndex,
    Maintenance,
    RecordStore,
    SharedState,
    TextIndex,
    VectorIndex,
)
from memos.ports.transfer import Transfer
from memos.ports.web import WebSearch


class Role(StrEnum):
    """A port that a backend can stand behind."""

    RECORDS = "records"
    VECTORS = "vectors"
    TEXT = "text"
    LINKS = "links"
    BLOBS = "blobs"
    ACCOUNTS = "accounts"
    JOBS = "jobs"
    SHARED = "shared"
    EMBEDDER = "embedder"
    CHAT = "chat"
    RERANKER = "reranker"
    WEB = "web"


@dataclass(frozen=True, slots=True)
class Pulse:
    """What an opened store is doing at this moment.

    Attributes:
        connected: Whether it answers.
        connections: Open connections of its pool, by state: ``busy`` and ``idle``.
        most: Connections that the pool may have.
        waiting: Callers that wait for something, by what: ``readers`` for a connection, ``writer``
            for their turn to write.
        lag: How many positions of the change log the most outdated of the indexes in use is
            behind; it catches up before it answers.
    """

    connected: bool
    connections: Mapping[str, int]
    most: int
    waiting: Mapping[str, int]
    lag: int


@dataclass(frozen=True, slots=True)
class Opened:
    """The ports of an opened backend; those outside its roles are None.

    ``features``, ``maintenance`` and ``transfer`` are optional abilities of a record store:
    computing the scorer's features over a whole cube at once, proving and rebuilding derived
    state, and moving whole cubes. ``pulse`` tells what a store is doing, for metrics.
    """

    records: RecordStore | None = None
    vectors: VectorIndex | None = None
    text: TextIndex | None = None
    links: LinkIndex | None = None
    blobs: BlobStore | None = None
    accounts: AccountStore | None = None
    jobs: JobQueue | None = None
    shared: SharedState | None = None
    embedder: Embedder | None = None
    features: FeatureIndex | None = None
    maintenance: Maintenance | None = None
    chat: ChatModel | None = None
    reranker: Reranker | None = None
    transfer: Transfer | None = None
    web: WebSearch | None = None
    pulse: Callable[[], Awaitable[Pulse]] | None = None


S = TypeVar("S", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Backend(Generic[S]):
    """An adapter: its name, the roles it can take, its own typed settings, and how to open it."""

    name: str
    roles: frozenset[Role]
    settings: type[S]
    open: Callable[[S], AbstractAsyncContextManager[Opened]]
