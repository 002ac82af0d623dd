"""The reference engine: every port in plain Python, for one event loop, gone with the process.

It is small so that it is obviously right; other engines are held against it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Literal

from pydantic import BaseModel, ConfigDict

from memos.backends.memory.accounts import Accounts
from memos.backends.memory.blobs import Blobs
from memos.backends.memory.indexes import Indexes
from memos.backends.memory.jobs import Jobs
from memos.backends.memory.links import Links
from memos.backends.memory.records import Records
from memos.backends.memory.shelf import Shelf
from memos.backends.memory.transfer import Transfers
from memos.buckets import Buckets
from memos.ports.backend import Backend, Opened, Role


class MemorySettings(BaseModel):
    """Settings of the reference engine: it has none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["memory"] = "memory"


@asynccontextmanager
async def open_memory(settings: MemorySettings) -> AsyncGenerator[Opened]:
    """Open an empty store of its own."""
    del settings
    shelf, blobs, jobs, accounts = Shelf(), Blobs(), Jobs(), Accounts()
    indexes = Indexes(shelf)
    yield Opened(
        records=Records(shelf, jobs, blobs),
        vectors=indexes,
        text=indexes,
        links=Links(shelf),
        blobs=blobs,
        accounts=accounts,
        jobs=jobs,
        shared=Buckets(),
        transfer=Transfers(shelf, accounts),
    )


backend = Backend(
    name="memory",
    roles=frozenset(
        {
            Role.RECORDS,
            Role.VECTORS,
            Role.TEXT,
            Role.LINKS,
            Role.BLOBS,
            Role.ACCOUNTS,
            Role.JOBS,
            Role.SHARED,
        }
    ),
    settings=MemorySettings,
    open=open_memory,
)
