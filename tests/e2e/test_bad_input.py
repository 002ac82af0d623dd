"""Odd and hostile input: a clear MemosError each time, nothing half-written."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import textwrap
from pathlib import Path

import apsw
import pytest

from memos import MOS
from memos.errors import DataError, InvalidInput, MemosError, NotFound, StoreError
from memos.settings import Settings
from memos.testing.fakes import HashEmbedder

BAD_CONTENT = [
    "", "   \n", [], [{}], [{"role": "user"}], [{"role": "user", "content": ""}],
    [{"role": "pirate", "content": "arr"}], [{"role": "user", "content": 5}], ["just a string"],
    [None],
    [{"role": "user", "content": [{"type": "hologram"}]}], [{"role": "user", "content": [3]}],
    "null \x00 byte", "lone \ud800 surrogate", [{"role": "user", "content": "x", "name": "\udfff"}],
    [{"role": "user", "content": "x", "message_id": ["a"]}], 5, None, b"bytes", {"text": "x"},
    [{"role": "user", "content": "x", "chat_time": "2024-13-45"}],
    [{"role": "user", "content": "x", "chat_time": "99999-01-01"}],
    [{"role": "user", "content": "x", "chat_time": 1e300}],
    [{"role": "user", "content": "x", "chat_time": []}],
    {"memory": ""}, {"memory": 5}, {"memory": "x", "metadata": []},
    {"memory": "x", "metadata": {"status": "lost"}},
    {"memory": "x", "metadata": {"memory_type": "Elephant"}},
    {"memory": "x", "metadata": {"tags": "abc"}}, {"memory": "x", "id": 5},
    [{"role": "assistant", "tool_calls": "x"}], [{"role": "assistant", "tool_calls": [{"a": 1}]}],
    "x" * 10_000_000, [{"role": "user", "content": "好" * 10_000_000}],
    Path("/nonexistent/file.txt"), Path("/"), Path("image.png"),
]  # fmt: skip

BAD_OPTIONS = [
    {"user": ""}, {"user": 5}, {"user": "nobody"}, {"cube": "nowhere"}, {"session": ""},
    {"session": 3},
    {"tags": "abc"}, {"tags": [1]}, {"info": []}, {"info": {"x": object()}}, {"confidence": "high"},
    {"confidence": -1}, {"tier": "cloud"}, {"kind": "elephant"}, {"valid_from": "soon"},
    {"expires_at": "2024-02-31"}, {"batch_id": ""}, {"colour": "red"}, {"session": "a\x00b"},
    {"session": "x" * 10_000}, {"user": "\ud800"},
]  # fmt: skip


@pytest.mark.parametrize("content", BAD_CONTENT, ids=lambda value: repr(value)[:40])
def test_malformed_content_is_refused(mos: MOS, content: object) -> None:
    with pytest.raises(InvalidInput) as refused:
        mos.add(content, session="s")
    assert len(refused.value.detail) < 400
    assert mos.get_all().items == ()


@pytest.mark.parametrize("options", BAD_OPTIONS, ids=repr)
def test_malformed_options_are_refused(mos: MOS, options: dict[str, object]) -> None:
    with pytest.raises(MemosError) as refused:
        mos.add("fine", **options)
    assert isinstance(refused.value, InvalidInput | NotFound)
    assert mos.get_all().items == ()


def test_one_bad_message_keeps_all_out(mos: MOS) -> None:
    good = [{"role": "user", "content": f"good {n}"} for n in range(5)]
    with pytest.raises(InvalidInput, match=r"messages\[5\]"):
        mos.add([*good, {"role": "user", "content": "bad \x00"}], session="s")
    assert mos.get_all().items == ()


def test_duplicate_ids_in_one_call_are_refused_or_joined(mos: MOS) -> None:
    items = [{"id": "same", "memory": "one"}, {"id": "same", "memory": "two"}]
    with pytest.raises(MemosError):
        mos.add(items)
    assert mos.get_all().items == ()
    twice = [{"role": "user", "content": "one", "message_id": "m"}] * 2
    added = mos.add(twice, session="s")
    assert added.ids[0] == added.ids[1]
    assert added.stored == (True, False)


@pytest.mark.parametrize("query", ["", "  ", None, 5, "\x00", "\ud800"], ids=repr)
def test_malformed_queries_are_refused(mos: MOS, query: object) -> None:
    with pytest.raises(InvalidInput):
        mos.search(query)


@pytest.mark.parametrize(
    "options",
    [{"limit": 0}, {"limit": -1}, {"limit": True}, {"limit": "ten"}, {"limit": 10**9},
     {"budget": 0},
     {"recipe": "slow"}, {"dedup": "maybe"}, {"as_of": "then"}, {"where": {"x": {"near": 1}}},
     {"where": []}, {"where": "all"}, {"cubes": []}, {"cubes": "default"},
     {"cubes": ["default"], "cube": "x"},
     {"where": {"created_at": {"gt": "someday"}}}, {"where": {"and": {}}}, {"where": {"": 1}},
     {"where": {"not": []}}, {"where": {"x": {}}}, {"user": "nobody"}],
    ids=repr,
)  # fmt: skip
def test_malformed_search_options_are_refused(mos: MOS, options: dict[str, object]) -> None:
    mos.add("something")
    with pytest.raises(MemosError) as refused:
        mos.search("something", **options)
    assert isinstance(refused.value, InvalidInput | NotFound)


def test_a_deep_filter_is_refused_not_a_crash(mos: MOS) -> None:
    deep: dict[str, object] = {"x": 1}
    for _ in range(10_000):
        deep = {"not": deep}
    with pytest.raises(InvalidInput, match="deep"):
        mos.search("x", where=deep)


def test_every_plane_of_unicode_survives(mos: MOS) -> None:
    text = "é 漢字 𠮷野家 🎉👩‍👩‍👧 עברית العربية ไทย \u202e rtl"
    (id,) = mos.add(text).ids
    assert mos.get(id).text == text
    assert mos.search("𠮷野家").hits[0].memory.id == id
    assert mos.search("🎉", recipe="words").hits


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    with MOS.open(Settings(home=tmp_path), embedder=HashEmbedder()) as mos:
        mos.add("something")
    (tmp_path / "memos.db").write_bytes(b"not a database, but long enough to look at" * 100)
    for leftover in tmp_path.glob("memos.db-*"):
        leftover.unlink()
    with (
        pytest.raises(DataError) as damaged,
        MOS.open(Settings(home=tmp_path), embedder=HashEmbedder()) as mos,
    ):
        mos.get_all()
    assert damaged.value.code == "corrupt"


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("PRAGMA user_version = 999", "schema_too_new"),
        ("PRAGMA application_id = 5", "foreign_file"),
    ],
)
def test_newer_and_foreign_files_are_left_alone(tmp_path: Path, statement: str, code: str) -> None:
    with MOS.open(Settings(home=tmp_path), embedder=HashEmbedder()) as mos:
        mos.add("something")
    db = apsw.Connection(str(tmp_path / "memos.db"))
    db.execute(statement)
    db.close()
    with (
        pytest.raises(DataError) as refused,
        MOS.open(Settings(home=tmp_path), embedder=HashEmbedder()) as mos,
    ):
        mos.get_all()
    assert refused.value.code == code


def run_limited(script: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(home)], capture_output=True, text=True,
        timeout=100, check=False, env={**os.environ, **environment},
    )  # fmt: skip


def test_a_full_disk_loses_nothing_and_says_so(tmp_path: Path) -> None:
    """The kernel refuses to let files grow, as a full disk does."""
    script = """
        import resource, signal, sys
        from pathlib import Path
        from memos import MOS
        from memos.errors import StoreError
        from memos.settings import Settings
        from memos.testing.fakes import HashEmbedder
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with MOS.open(Settings(home=Path(sys.argv[1])), embedder=HashEmbedder()) as mos:
            kept = [mos.add(f"before {n}").ids[0] for n in range(5)]
            soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
            failed = 0
            for n in range(200):
                try:
                    text = f"turn {n} " + "x" * 3000
                    kept += mos.add([{"role": "user", "content": text}], session="s").ids
                except StoreError as error:
                    assert error.retryable, error.code
                    failed += 1
                    break
            assert failed, "the disk never filled"
            assert {m.id for m in mos.get_all(limit=1000).items} == set(kept)
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            kept += mos.add("room again").ids
            assert {m.id for m in mos.get_all(limit=1000).items} == set(kept)
            assert all(f.ok for f in mos.check())
        print("held")
    """
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    done = run_limited(script, tmp_path / "home")
    assert done.stdout.strip().endswith("held"), done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming nobody takes root")
def test_a_read_only_directory_is_named(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with MOS.open(Settings(home=home), embedder=HashEmbedder()) as mos:
        mos.add("something")
    for path in (tmp_path, home, *home.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    script = """
        import os, sys, tempfile
        from pathlib import Path
        from memos import MOS
        from memos.errors import StoreError
        from memos.settings import Settings
        from memos.testing.fakes import HashEmbedder
        with tempfile.TemporaryDirectory() as warm:  # nobody may not be able to import anything
            with MOS.open(Settings(home=Path(warm)), embedder=HashEmbedder()) as mos:
                mos.add("warm")
        os.setgroups([]); os.setgid(65534); os.setuid(65534)
        for home in (Path(sys.argv[1]), Path(sys.argv[1]) / "below"):
            try:
                with MOS.open(Settings(home=home), embedder=HashEmbedder()) as mos:
                    mos.add("no")
            except StoreError as error:
                print(error.code, error.detail)
    """
    for path in [tmp_path, *tmp_path.parents]:
        if path.stat().st_mode & 0o005 != 0o005 and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o055)
    done = run_limited(script, home)
    assert done.stdout.count("read_only") + done.stdout.count("cannot_open") == 2, done.stderr


def test_a_path_below_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with (
        pytest.raises(StoreError),
        MOS.open(Settings(home=tmp_path / "file" / "home"), embedder=HashEmbedder()) as mos,
    ):
        mos.get_all()
