"""Files on their way to and from the server, a piece at a time."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

import httpx
from anyio import to_thread

from memos.errors import InvalidInput, StoreError
from memos.progress import Progress, unseen

_PIECE: Final = 256 * 1024
_SUFFIX: Final = ".memcube"


class Upload(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A file as the body of a request, for both kinds of clients; it may be sent again."""

    def __init__(
        self, path: Path, *, field: str | None = None, options: bytes | None = None,
        progress: Progress | None = None,
    ) -> None:  # fmt: skip
        """Take a file.

        Args:
            path: Where it is.
            field: Its name in a form; the body is the file alone when None.
            options: What stands beside it in the form, as JSON.
            progress: Called with (bytes sent, bytes in all).

        Raises:
            InvalidInput: There is no such file.
        """
        if not path.is_file():
            raise InvalidInput(f"there is no file {str(path)!r}", code="no_file")
        self._path = path
        self._size = path.stat().st_size
        self._progress = progress or unseen
        self._boundary = secrets.token_hex(16)
        self._head, self._tail = b"", b""
        if field is not None:
            self._head, self._tail = self._form(field, options)

    def headers(self) -> dict[str, str]:
        """Return what describes the body."""
        kind = "application/octet-stream"
        if self._head:
            kind = f"multipart/form-data; boundary={self._boundary}"
        length = len(self._head) + self._size + len(self._tail)
        return {"Content-Type": kind, "Content-Length": str(length)}

    def __iter__(self) -> Iterator[bytes]:
        with self._opened() as file:
            yield from self._pieces(file)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with self._opened() as file:
            pieces = self._pieces(file)
            while (piece := await to_thread.run_sync(next, pieces, None)) is not None:
                yield piece

    @contextmanager
    def _opened(self) -> Generator[BinaryIO]:
        try:
            with self._path.open("rb") as file:
                yield file
        except OSError as error:
            raise InvalidInput(
                f"{str(self._path)!r} cannot be read: {error.strerror}", code="no_file"
            ) from None

    def _pieces(self, file: BinaryIO) -> Iterator[bytes]:
        if self._head:
            yield self._head
        done = 0
        while piece := file.read(_PIECE):
            done += len(piece)
            self._progress(done, max(done, self._size))
            yield piece
        if self._tail:
            yield self._tail

    def _form(self, field: str, options: bytes | None) -> tuple[bytes, bytes]:
        mark = f"--{self._boundary}\r\n".encode()
        head = b""
        if options is not None:
            head = mark + b'Content-Disposition: form-data; name="options"\r\n\r\n'
            head += options + b"\r\n"
        name = self._path.name.replace("\\", "").replace('"', "%22")
        name = name.replace("\r", "%0D").replace("\n", "%0A")
        told = f'form-data; name="{field}"; filename="{name}"'
        kind = "Content-Type: application/octet-stream"
        head += mark + f"Content-Disposition: {told}\r\n{kind}\r\n\r\n".encode()
        return head, f"\r\n--{self._boundary}--\r\n".encode()


class Target:
    """A ``.memcube`` file that is to be written; it has its name once it is whole."""

    def __init__(self, path: Path) -> None:
        if path.suffix != _SUFFIX:
            raise InvalidInput(f"a client dumps into files whose names end in {_SUFFIX}")
        if path.exists():
            raise InvalidInput(f"{str(path)!r} exists already", code="target_exists")
        self._path = path
        self._aside = path.with_name(f"{path.name}-part")

    @contextmanager
    def open(self) -> Generator[BinaryIO]:
        """Write the file.

        Raises:
            StoreError: It cannot be written.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._aside.open("wb") as out:
                self._aside.chmod(0o600)
                yield out
            self._aside.replace(self._path)
        except OSError as error:
            raise StoreError(
                f"{str(self._path)!r} cannot be written: {error.strerror or error}",
                service="dump", code="dump_failed",
            ) from error  # fmt: skip
        finally:
            with suppress(OSError):
                self._aside.unlink(missing_ok=True)
