"""Both engines behind one event loop, for tests that hypothesis drives from outside it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from memos.backends import memory, sqlite
from memos.ports.backend import Opened

T = TypeVar("T")


@dataclass
class Engines:
    """The reference and the embedded engine; every example takes accounts of its own."""

    portal: BlockingPortal
    reference: Opened
    embedded: Opened
    _numbers: Iterator[int] = field(default_factory=count)

    def account(self) -> str:
        return f"account-{next(self._numbers)}"

    def each(self, work: Callable[[Opened], Awaitable[T]]) -> tuple[T, T]:
        """Do the same with both."""
        return self.portal.call(work, self.reference), self.portal.call(work, self.embedded)


@contextmanager
def portal_of(opener: Any) -> Iterator[tuple[BlockingPortal, Any]]:
    """Open an asynchronous context manager in a loop of its own."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(opener) as opened:
        yield portal, opened


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    home: Path = tmp_path_factory.mktemp("engines")
    with start_blocking_portal() as portal:
        reference = memory.open_memory(memory.MemorySettings())
        embedded = sqlite.open_sqlite(sqlite.SqliteSettings(path=home))
        with (
            portal.wrap_async_context_manager(reference) as one,
            portal.wrap_async_context_manager(embedded) as two,
        ):
            yield Engines(portal, one, two)
