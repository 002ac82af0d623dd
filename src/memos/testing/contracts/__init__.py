"""One suite per promise group of every port; adapters inherit them all.

A test module provides the fixture ``opened``, an empty ``memos.ports.backend.Opened``, and one
class for each suite of the roles that the adapter takes::

    @pytest.fixture
    async def opened(tmp_path):
        async with open_mine(MySettings(path=tmp_path)) as opened:
            yield opened

    class TestPuts(contracts.Puts): ...

The tests are asynchronous and marked ``anyio``; the docstring of each quotes what it checks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from memos.ports.backend import Role
from memos.testing.contracts.accounts import Accounts
from memos.testing.contracts.blobs import Blobs
from memos.testing.contracts.chats import Chats
from memos.testing.contracts.embedders import Embedders
from memos.testing.contracts.history import Erasure, History
from memos.testing.contracts.indexes import Match, Nearest
from memos.testing.contracts.jobs import JobEndings, Jobs
from memos.testing.contracts.links import Links
from memos.testing.contracts.reads import Log, Reads, Scans
from memos.testing.contracts.rerankers import Rerankers
from memos.testing.contracts.scopes import Scopes
from memos.testing.contracts.shared import Shared
from memos.testing.contracts.transfer import Publications, Snapshots, Stagings
from memos.testing.contracts.webs import Webs
from memos.testing.contracts.writes import Atomicity, Positions, Puts

SUITES: Final[Mapping[Role, tuple[type[object], ...]]] = {
    Role.RECORDS: (
        Atomicity,
        Puts,
        Positions,
        Reads,
        Scans,
        Log,
        History,
        Erasure,
        Embedders,
        Scopes,
    ),
    Role.VECTORS: (Nearest,),
    Role.TEXT: (Match,),
    Role.LINKS: (Links,),
    Role.BLOBS: (Blobs,),
    Role.ACCOUNTS: (Accounts,),
    Role.JOBS: (Jobs, JobEndings),
    Role.SHARED: (Shared,),
    Role.CHAT: (Chats,),
    Role.RERANKER: (Rerankers,),
    Role.WEB: (Webs,),
}
"""The suites behind each role; those of the records expect the other ports beside them."""

MOVING: Final = (Snapshots, Stagings, Publications)
"""The suites of ``Opened.transfer``, for record stores that can move whole cubes."""

__all__ = [
    "MOVING",
    "SUITES",
    "Accounts",
    "Atomicity",
    "Blobs",
    "Chats",
    "Embedders",
    "Erasure",
    "History",
    "JobEndings",
    "Jobs",
    "Links",
    "Log",
    "Match",
    "Nearest",
    "Positions",
    "Publications",
    "Puts",
    "Reads",
    "Rerankers",
    "Scans",
    "Scopes",
    "Shared",
    "Snapshots",
    "Stagings",
    "Webs",
]
