"""Tenants, users, cubes, grants and keys at random, over every dialect of the server."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks import isolation

from memos.types import Scope
from memos.users.access import Gate


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nobody_reads_or_writes_what_is_not_theirs(tmp_path: Path) -> None:
    counted = isolation.run(isolation.Plan(2000, seed=2), tmp_path)
    names = {name.rsplit(" ", 1)[0] for name in counted}
    assert {"v1 get", "v1 share", "product search", "openmem list", "start delete"} <= names
    assert counted["revoked key refused"] > 20


def test_the_calls_would_notice_a_leak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really = Gate.scope

    async def leaking(gate: Gate, principal: str, cubes=None, need="read") -> Scope:
        if cubes:
            return Scope(gate.account, principal, dict.fromkeys(cubes, "write"))
        return await really(gate, principal, cubes, need)

    monkeypatch.setattr(Gate, "scope", leaking)
    with pytest.raises(isolation.BrokenIsolation):
        isolation.run(isolation.Plan(300, accounts=2, users=3, cubes=6), tmp_path)
