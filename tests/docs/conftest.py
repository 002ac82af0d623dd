"""What the tests of the documentation share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from memos import mosconfig


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without settings: an empty working directory, and a store below it."""
    prefixes = ("MEMOS_", "MOS_", *(name for name in mosconfig.NAMES if name.endswith("_")))
    for name in os.environ:
        if name in mosconfig.NAMES or name.startswith(prefixes):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MEMOS_HOME", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    return tmp_path
