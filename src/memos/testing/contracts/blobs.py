"""What ``BlobStore`` promises."""

from __future__ import annotations

from hashlib import sha256

import anyio
import pytest

from memos.errors import CallerError, NotFound
from memos.ports.backend import Opened
from memos.testing.contracts.making import need


@pytest.mark.anyio
class Blobs:
    """'Bytes by their SHA-256, in hex.'"""

    @pytest.mark.parametrize("content", [b"", b"\x00\xff", b"many" * 100_000])
    async def test_round_trip(self, opened: Opened, content: bytes) -> None:
        """'Store durably and return the digest.'"""
        blobs = need(opened.blobs)
        digest = await blobs.put("acme", content)
        assert digest == sha256(content).hexdigest()
        assert await blobs.open("acme", digest) == content

    async def test_stored_once(self, opened: Opened) -> None:
        """'The same bytes are stored once', also by callers at the same moment."""
        blobs = need(opened.blobs)
        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(blobs.put, "acme", b"x" * 100_000)
        digest = await blobs.put("acme", b"x" * 100_000)
        await blobs.delete("acme", digest)
        with pytest.raises(NotFound):
            await blobs.open("acme", digest)

    async def test_accounts_are_apart(self, opened: Opened) -> None:
        """'Blobs belong to an account; one never reads another's.'"""
        blobs = need(opened.blobs)
        digest = await blobs.put("acme", b"mine")
        with pytest.raises(NotFound):
            await blobs.open("rival", digest)
        await blobs.delete("rival", digest)
        assert await blobs.put("rival", b"mine") == digest
        await blobs.delete("acme", digest)
        assert await blobs.open("rival", digest) == b"mine"

    async def test_delete(self, opened: Opened) -> None:
        """'Remove the blob; an unknown one is ignored.'"""
        blobs = need(opened.blobs)
        digest = await blobs.put("acme", b"bytes")
        await blobs.delete("acme", digest)
        await blobs.delete("acme", digest)
        with pytest.raises(NotFound):
            await blobs.open("acme", digest)

    @pytest.mark.parametrize("digest", ["", "..", "../../etc/passwd", "0" * 63, "z" * 64, "0" * 64])
    async def test_not_a_digest(self, opened: Opened, digest: str) -> None:
        """'NotFound: No such blob in the account'; a store may refuse what cannot be a digest."""
        with pytest.raises(CallerError):
            await need(opened.blobs).open("acme", digest)
