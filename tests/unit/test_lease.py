"""Leases: one holder, nothing left behind, also by who was killed between two steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from memos import MOS
from memos.backends.sqlite import lock
from memos.backends.sqlite.lock import Lease
from memos.settings import Settings
from memos.testing.fakes import HashEmbedder


def test_a_lease_has_one_holder_and_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "staging" / "a.lock"
    lease = Lease.take(path)
    assert lease is not None
    assert Lease.take(path) is None
    lease.end()
    assert not path.exists()


@pytest.mark.parametrize("again", [False, True])
def test_a_file_that_was_removed_meanwhile_is_no_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, again: bool
) -> None:
    path = tmp_path / "a.lock"
    really = lock._try_lock

    def swept_first(file: int) -> None:
        path.unlink()
        if again:
            path.touch()
        really(file)

    monkeypatch.setattr(lock, "_try_lock", swept_first)
    assert Lease.take(path) is None


def test_opening_sweeps_the_files_of_the_dead_and_not_of_the_living(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    with MOS.open(settings, embedder=HashEmbedder()) as mos:
        mos.add("A kettle.")
    dead, living = tmp_path / "staging" / "dead.lock", tmp_path / "staging" / "living.lock"
    lease = Lease.take(living)
    assert lease is not None
    dead.touch()
    with MOS.open(settings, embedder=HashEmbedder()) as mos:
        assert mos.search("kettle").hits
    assert living.exists()
    assert not dead.exists()
    lease.end()
