"""The shipped contract suites over every backend, on the real engines."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from memos.backends import memory, sqlite
from memos.errors import DataError
from memos.ports.backend import Opened, Role
from memos.registry import load
from memos.testing import contracts

BACKENDS = ("memory", "sqlite")


@pytest.fixture(params=BACKENDS)
async def opened(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Opened]:
    """An empty store of each backend."""
    if request.param == "memory":
        opening = memory.open_memory(memory.MemorySettings())
    else:
        opening = sqlite.open_sqlite(sqlite.SqliteSettings(path=tmp_path))
    async with opening as opened:
        yield opened


class TestAtomicity(contracts.Atomicity): ...


class TestPuts(contracts.Puts): ...


class TestPositions(contracts.Positions): ...


class TestReads(contracts.Reads): ...


class TestScans(contracts.Scans): ...


class TestLog(contracts.Log): ...


class TestHistory(contracts.History): ...


class TestErasure(contracts.Erasure): ...


class TestEmbedders(contracts.Embedders): ...


class TestScopes(contracts.Scopes): ...


class TestNearest(contracts.Nearest): ...


class TestMatch(contracts.Match): ...


class TestLinks(contracts.Links): ...


class TestBlobs(contracts.Blobs): ...


class TestAccounts(contracts.Accounts): ...


class TestJobs(contracts.Jobs): ...


class TestJobEndings(contracts.JobEndings): ...


class TestShared(contracts.Shared): ...


class TestSnapshots(contracts.Snapshots): ...


class TestStagings(contracts.Stagings): ...


class TestPublications(contracts.Publications): ...


def test_no_suite_is_left_out() -> None:
    run = {base for test in globals().values() if isinstance(test, type) for base in test.__bases__}
    models = (Role.CHAT, Role.RERANKER)  # theirs run in test_chat_models
    suites = {role: found for role, found in contracts.SUITES.items() if role not in models}
    assert {suite for found in suites.values() for suite in found} <= run
    assert set(contracts.MOVING) <= run


@pytest.mark.parametrize("name", BACKENDS)
def test_backends_take_the_roles_that_are_tested(name: str) -> None:
    assert load(name).roles == set(contracts.SUITES) - {Role.CHAT, Role.RERANKER}


def _corrupt(home: Path, name: str) -> None:
    (path,) = home.rglob(name)
    path.write_bytes(b"other bytes")


@pytest.mark.anyio
async def test_corrupt_blob(tmp_path: Path) -> None:
    """'DataError: The bytes no longer give the digest.'"""
    async with sqlite.open_sqlite(sqlite.SqliteSettings(path=tmp_path)) as opened:
        assert opened.blobs is not None
        digest = await opened.blobs.put("acme", b"the true bytes")
        _corrupt(tmp_path, digest)
        with pytest.raises(DataError):
            await opened.blobs.open("acme", digest)
