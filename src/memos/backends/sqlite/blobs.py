"""Files beside the database, named by their content."""

from __future__ import annotations

import os
import threading
from hashlib import sha256
from pathlib import Path
from typing import Final

from memos._offload import Offload
from memos.backends.sqlite.connection import mapped
from memos.errors import DataError, InvalidInput, NotFound

_DIGEST_LENGTH: Final = 64


class Blobs:
    """``BlobStore`` in a directory: ``<account's hash>/<first two digits>/<SHA-256>``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._offload = Offload(2)

    async def put(self, account: str, content: bytes) -> str:
        """Store the bytes and return their digest."""
        return await self._offload.run(self._put, account, content)

    async def holds(self, account: str, digest: str) -> bool:
        """Return whether the blob is there."""
        return await self._offload.run(self._path(account, digest).exists)

    async def open(self, account: str, digest: str) -> bytes:
        """Return the bytes of a digest."""
        return await self._offload.run(self._open, account, digest)

    async def delete(self, account: str, digest: str) -> None:
        """Remove the bytes of a digest."""
        await self._offload.run(self.remove, account, digest)

    def remove(self, account: str, digest: str) -> None:
        """Remove the bytes of a digest, at once."""
        path = self._path(account, digest)
        with mapped(path):
            path.unlink(missing_ok=True)

    def _put(self, account: str, content: bytes) -> str:
        digest = sha256(content).hexdigest()
        path = self._path(account, digest)
        if path.exists():
            return digest
        aside = path.with_name(f"{digest}.{os.getpid()}.{threading.get_ident()}.part")
        with mapped(path):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                with aside.open("wb") as out:
                    out.write(content)
                    out.flush()
                    os.fsync(out.fileno())
                aside.replace(path)
            finally:
                aside.unlink(missing_ok=True)
        return digest

    def _open(self, account: str, digest: str) -> bytes:
        path = self._path(account, digest)
        if not path.exists():
            raise NotFound(f"no blob {digest!r}")
        with mapped(path):
            content = path.read_bytes()
        if sha256(content).hexdigest() != digest:
            raise DataError(f"blob {digest!r} does not hold what was stored", code="checksum")
        return content

    def _path(self, account: str, digest: str) -> Path:
        if len(digest) != _DIGEST_LENGTH or not set(digest) <= set("0123456789abcdef"):
            raise InvalidInput(f"{digest!r} is not a SHA-256 in hex")
        tenant = sha256(account.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        return self._folder / tenant / digest[:2] / digest
