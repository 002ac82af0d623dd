"""The embedded engine: records, history, indexes, accounts, jobs and blobs in one directory.

SQLite holds the truth; what search touches is an image of each cube, derived from it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import anyio
from pydantic import BaseModel, ConfigDict, Field

from memos._offload import Offload
from memos.backends.sqlite.accounts import Accounts
from memos.backends.sqlite.blobs import Blobs
from memos.backends.sqlite.connection import File
from memos.backends.sqlite.images import Images
from memos.backends.sqlite.indexes import Indexes
from memos.backends.sqlite.jobs import Jobs
from memos.backends.sqlite.links import Links
from memos.backends.sqlite.maintenance import Upkeep
from memos.backends.sqlite.purge import Purge
from memos.backends.sqlite.records import Records
from memos.backends.sqlite.shared import Shared
from memos.backends.sqlite.transfer import Transfers
from memos.ports.backend import Backend, Opened, Role


class SqliteSettings(BaseModel):
    """Settings of the embedded engine."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["sqlite"] = "sqlite"
    path: Path | None = Field(
        None, description="Directory of the store; the home directory when unset."
    )
    image_memory_mb: int = Field(
        1024, ge=16, description="Memory that cube images may take, in MB."
    )


@asynccontextmanager
async def open_sqlite(settings: SqliteSettings) -> AsyncGenerator[Opened, None]:
    """Open the store's directory, making it when it is not there.

    Raises:
        StoreError: The directory cannot be opened or written.
        DataError: The file is corrupt or was written by a newer release.
    """
    home = settings.path or Path.home() / ".memos"
    work = Offload(1)
    file = await work.run(File, home)
    images = Images(file, home / "images", settings.image_memory_mb * 1024 * 1024)
    blobs = Blobs(home / "blobs")
    indexes = Indexes(file, images)
    purge = Purge(file, images, blobs)
    records = Records(file, purge)
    transfers = Transfers(file, purge)
    shared = Shared(home)
    try:
        await work.run(purge.complete)
        await work.run(transfers.sweep)
        yield Opened(
            records=records,
            vectors=indexes,
            text=indexes,
            features=indexes,
            links=Links(file),
            blobs=blobs,
            accounts=Accounts(file),
            jobs=Jobs(file),
            shared=shared,
            maintenance=Upkeep(file, images),
            transfer=transfers,
            pulse=lambda: work.run(lambda: file.pulse(images.lag())),
        )
    finally:
        with anyio.CancelScope(shield=True):  # also who is cancelled leaves a closed file behind
            transfers.close()
            await work.run(shared.close)
            await work.run(indexes.close)
            await work.run(images.close)
            await work.run(file.close)


backend = Backend(
    name="sqlite",
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
    settings=SqliteSettings,
    open=open_sqlite,
)
