"""Files on their way in and out: kept aside in a directory of their own, and never longer.

What a caller names decides nothing: files lie under names of ours, below a fresh directory.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path, PureWindowsPath
from typing import BinaryIO, Final
from urllib.parse import quote

import anyio
from anyio import to_thread
from fastapi.responses import StreamingResponse
from starlette.requests import Request

from memos.errors import DataError, InvalidInput

LARGE: Final = re.compile(r"/v1/(?:cubes/[^/]+/import|imports/[a-z]+)")
"""Paths of requests that carry files."""
_CHUNK: Final = 256 * 1024
_NAME_BYTES: Final = 200
_THEIRS: Final = frozenset(
    {"damaged_dump", "unfinished_dump", "format_too_new", "zip_bomb", "checksum"}
)
"""Codes of data that was sent, not of data that is stored."""


@asynccontextmanager
async def received(request: Request, name: str) -> AsyncGenerator[Path]:
    """Keep the body of a request as a file for a while."""
    async with _folder() as folder:
        path = folder / name
        async with await anyio.open_file(path, "wb") as out:
            async for chunk in request.stream():
                await out.write(chunk)
        yield path


@asynccontextmanager
async def copied(source: BinaryIO, name: str | None) -> AsyncGenerator[Path]:
    """Keep a part of a form as a file for a while, under the last part of its own name."""
    async with _folder() as folder:
        path = folder / safe_name(name)

        def work() -> None:
            source.seek(0)
            with path.open("xb") as out:
                shutil.copyfileobj(source, out, _CHUNK)

        await to_thread.run_sync(work)
        yield path


def safe_name(name: str | None) -> str:
    """Return the last part of a file name.

    Raises:
        InvalidInput: There is none, or it is none that a file may have.
    """
    last = PureWindowsPath(name or "").name  # it knows both kinds of slashes
    fine = last.isprintable() and last.strip(". ") and len(last.encode()) <= _NAME_BYTES
    if not fine or ":" in last:
        raise InvalidInput("a file needs a name, of printable characters", code="no_file")
    return last


@contextmanager
def sent() -> Generator[None]:
    """Blame what was sent for being damaged: it is no fault of what is stored.

    Raises:
        InvalidInput: With the code of the ``DataError``.
    """
    try:
        yield
    except DataError as error:
        if error.code not in _THEIRS:
            raise
        raise InvalidInput(error.detail, code=error.code) from None


async def download(
    write: Callable[[Path], Awaitable[dict[str, str]]],
    name: str,
    check: Callable[[], Awaitable[None]],
) -> StreamingResponse:
    """Answer with a file that is written first.

    Args:
        write: Writes it, and returns headers.
        name: What the caller may call it.
        check: Refuses who lost its rights meanwhile; asked before every piece.
    """
    async with _folder() as folder:
        path = folder / "cube.memcube"
        headers = await write(path)
        size = (await anyio.Path(path).stat()).st_size
        stream = await to_thread.run_sync(path.open, "rb")
    # The directory is gone already: what is still open vanishes with its last reader.

    async def pieces() -> AsyncIterator[bytes]:
        with stream:
            while chunk := await to_thread.run_sync(stream.read, _CHUNK):
                await check()
                yield chunk

    headers |= {
        "Content-Length": str(size),
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
    }
    return StreamingResponse(pieces(), 200, headers, "application/zip")


@asynccontextmanager
async def _folder() -> AsyncGenerator[Path]:
    folder = Path(await to_thread.run_sync(tempfile.mkdtemp, None, "memos-"))
    try:
        yield folder
    finally:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(shutil.rmtree, folder, True)  # noqa: FBT003 - ignore_errors
