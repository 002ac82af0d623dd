"""Files that are handed over with a job; each lies in a blob of its own until the job is over."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import anyio

from memos._offload import Offload
from memos.errors import InvalidInput
from memos.jobs.types import Kept, work_of
from memos.ports.stores import BlobStore
from memos.types import Job

_SALT: Final = 16
"""Random bytes before the file's: no memory can cite the same blob, so that it may go."""
_MOST: Final = 256 * 1024 * 1024
_offload: Final = Offload(2)


async def read(path: Path) -> bytes:
    """Return the bytes of a file.

    Raises:
        InvalidInput: There is none, or it is too large.
    """
    return await _offload.run(_read, path)


async def keep(blobs: BlobStore, account: str, name: str, content: bytes) -> Kept:
    """Keep a file."""
    return Kept(await blobs.put(account, secrets.token_bytes(_SALT) + content), name)


@asynccontextmanager
async def opened(blobs: BlobStore, account: str, kept: Kept) -> AsyncGenerator[Path]:
    """Lay a file that is kept into a directory of its own for a while."""
    content = await blobs.open(account, kept.blob)
    folder = Path(await _offload.run(tempfile.mkdtemp, None, "memos-"))
    try:
        path = folder / kept.name
        await _offload.run(path.write_bytes, memoryview(content)[_SALT:])
        yield path
    finally:
        with anyio.CancelScope(shield=True):
            await _offload.run(shutil.rmtree, folder, True)  # noqa: FBT003 - ignore_errors


async def drop(blobs: BlobStore, job: Job) -> None:
    """Remove the file of a job that is over."""
    kept = work_of(job).file
    if kept is not None:
        await blobs.delete(job.account, kept.blob)


def _read(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise InvalidInput(f"there is no file {str(path)!r}", code="no_file")
        if path.stat().st_size > _MOST:
            raise InvalidInput(
                f"{path.name!r} is larger than {_MOST} bytes; import it at once", code="too_large"
            )
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(
            f"{str(path)!r} cannot be read: {error.strerror}", code="no_file"
        ) from None
