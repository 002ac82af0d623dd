"""Blobs of the reference engine."""

from __future__ import annotations

from hashlib import sha256

from memos.errors import NotFound


class Blobs:
    """``BlobStore`` in a dictionary."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], bytes] = {}

    async def put(self, account: str, content: bytes) -> str:
        """Store the bytes and return their digest."""
        digest = sha256(content).hexdigest()
        self._held[account, digest] = bytes(content)
        return digest

    async def holds(self, account: str, digest: str) -> bool:
        """Return whether the blob is there."""
        return (account, digest) in self._held

    async def open(self, account: str, digest: str) -> bytes:
        """Return the bytes of a digest."""
        if (account, digest) not in self._held:
            raise NotFound(f"no blob {digest!r}")
        return self._held[account, digest]

    async def delete(self, account: str, digest: str) -> None:
        """Remove the bytes of a digest."""
        self.remove(account, digest)

    def remove(self, account: str, digest: str) -> None:
        """Remove the bytes of a digest, at once."""
        self._held.pop((account, digest), None)
