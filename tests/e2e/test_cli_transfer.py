"""``memos export``, ``import`` and ``stats``, as a user drives them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from memos.cli.main import app


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def run(home: Path, *arguments: object) -> Result:
    hidden = {name: None for name in os.environ if name.startswith(("MEMOS_", "MOS_"))}
    return CliRunner().invoke(app, [*map(str, arguments), "--home", str(home)], env=hidden)


def parsed(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_out_and_in_again(home: Path, tmp_path: Path) -> None:
    assert run(home, "add", "Zoe is allergic to peanuts.").exit_code == 0
    archive = tmp_path / "out" / "b.memcube"
    told = run(home, "export", archive)
    assert "1 memories in 1 versions" in told.stdout
    assert parsed(run(home, "export", tmp_path / "d", "--json"))["memories"] == 1
    told = run(home, "import", archive, "--cube", "copy")
    assert "new cube copy: 1 memories stored" in told.stdout
    assert parsed(run(home, "import", tmp_path / "d", "--json"))["same"] == 1
    found = parsed(run(home, "stats", "--cube", "copy", "--json"))
    assert (found["memories"], found["kinds"]) == (1, {"fact": 1})
    assert "kind fact" in run(home, "stats").stdout


def test_conflicts_and_damage_exit_codes(home: Path, tmp_path: Path) -> None:
    run(home, "add", "Zoe is allergic to peanuts.")
    run(home, "export", tmp_path / "d")
    run(home, "export", tmp_path / "e")
    (tmp_path / "d" / "manifest.json").unlink()
    result = run(home, "import", tmp_path / "d", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"]["code"] == "unfinished_dump"
    for bad in (
        ("import", tmp_path / "e", "--on-conflict", "perhaps"),
        ("import", tmp_path / "nothing.memcube"),
        ("import", "http://127.0.0.1:1/x.memcube"),
        ("export", tmp_path / "e"),
    ):
        assert run(home, *bad).exit_code == 2


def test_chat_exports(home: Path, tmp_path: Path) -> None:
    chat = tmp_path / "chat.jsonl"
    chat.write_text('{"role": "user", "content": "绿茶很好喝"}\n{"role": 7}\n', encoding="utf-8")
    told = run(home, "import", chat, "--cube", "chats").stdout
    assert "left out chat" in told
    chat.write_text('{"role": "user", "content": "绿茶很好喝"}\n', encoding="utf-8")
    assert parsed(run(home, "import", chat, "--cube", "chats", "--json"))["stored"] == 1
    told = run(home, "import", chat, "--cube", "chats").stdout
    assert "0 memories stored, 1 known already" in told
    assert run(home, "import", tmp_path / "no.json").exit_code == 2
