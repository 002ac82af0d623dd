"""After an erase no byte of the text is anywhere below the directory, whatever held it before."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from datetime import timedelta
from pathlib import Path

import apsw
import pytest

from memos import MOS
from memos.backends.sqlite import connection
from memos.errors import Conflict, InvalidInput, StoreError
from memos.settings import IngestSettings, Settings
from memos.testing.fakes import HashEmbedder, hash_vector

SECRET = "xylophonequartz"
SECRET_ZH = "紫水晶密码"


def holders(home: Path, needle: str) -> list[str]:
    wanted = needle.encode("utf-8")
    return [
        str(p.relative_to(home))
        for p in home.rglob("*")
        if p.is_file() and wanted in p.read_bytes()
    ]


def vector_holders(home: Path, text: str) -> list[str]:
    wanted = hash_vector(text).tobytes()
    return [
        str(p.relative_to(home))
        for p in home.rglob("*")
        if p.is_file() and wanted in p.read_bytes()
    ]


def test_nothing_of_an_erased_memory_is_left(tmp_path: Path) -> None:
    home, notes = tmp_path / "home", tmp_path / "notes.md"
    notes.write_text(f"# Diary\n\nThe word is {SECRET} and {SECRET_ZH}.\n", encoding="utf-8")
    embedder = HashEmbedder()
    with MOS.open(Settings(home=home), embedder=embedder) as mos:
        filler = [
            {"role": "user", "content": f"filler {n}", "message_id": str(n)} for n in range(2500)
        ]
        mos.add(filler, session="s")
        (said,) = mos.add(
            [{"role": "user", "content": f"secret {SECRET}", "message_id": f"id-{SECRET}"}],
            session="s",
        ).ids
        mos.update(said, text=f"changed {SECRET} {SECRET_ZH}", info={"note": SECRET}, tags=[SECRET])
        noted = mos.add(notes).ids
        assert mos.search(SECRET).hits  # builds the image, and its file
        (retired,) = mos.add(f"retired {SECRET}").ids
        mos.forget(retired)
        assert holders(home, SECRET)
        assert vector_holders(home, f"user: changed {SECRET} {SECRET_ZH}")
        assert list((home / "images").glob("*.image"))
        result = mos.forget([said, *noted, retired], mode="erase")
        assert set(result.ids) == {said, retired, *noted}
        assert holders(home, SECRET) == []
        assert holders(home, SECRET_ZH) == []
        assert vector_holders(home, f"user: changed {SECRET} {SECRET_ZH}") == []
        assert not list((home / "images").glob("*.image*"))
        assert mos.search(SECRET, recipe="words").hits == ()
        assert len(mos.search("filler").hits) == 10
        assert all(finding.ok for finding in mos.check())
    assert holders(home, SECRET) == []
    with MOS.open(Settings(home=home), embedder=embedder) as mos:
        assert mos.search(SECRET, recipe="words").hits == ()
        assert all(finding.ok for finding in mos.check())


def test_erasing_takes_jobs_that_speak_of_the_memory(tmp_path: Path) -> None:
    """Jobs are stored with the memories they speak of, and go with them."""
    import anyio

    from memos.backends.sqlite import SqliteSettings, open_sqlite
    from memos.testing.fakes import ManualClock
    from memos.types import Batch, Job, Memory, Place, Put, Scope

    async def scenario() -> None:
        scope = Scope("a", "u", {"c": "write"})
        memory = Memory("m1", "fact", SECRET, Place("a", "c"), recorded_at=ManualClock()())
        job = Job("j1", "label", "a", "c", {"text": SECRET}, memories=("m1",))
        async with open_sqlite(SqliteSettings(path=tmp_path)) as opened:
            assert opened.records is not None
            assert opened.jobs is not None
            await opened.records.apply(
                Batch("b1", "a", "c", puts=(Put(memory),), jobs=(job,)), scope
            )
            await opened.records.apply(Batch("b2", "a", "c", erases=("m1",)), scope)
            assert await opened.jobs.lease(5, timedelta(minutes=1)) == []
            assert holders(tmp_path, SECRET) == []

    anyio.run(scenario)


def test_an_interrupted_erase_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that keeps the log in use makes the erase fail; a later one ends it."""
    monkeypatch.setattr(connection, "BUSY_MS", 50)
    home = tmp_path / "home"
    with MOS.open(Settings(home=home), embedder=HashEmbedder()) as mos:
        ids = [mos.add(f"{SECRET} {n}").ids[0] for n in range(2)]
        reader = apsw.Connection(str(home / "memos.db"))
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM memories").fetchall()
        for id in ids:
            with pytest.raises(StoreError) as busy:
                mos.forget(id, mode="erase")
            assert busy.value.code == "busy"
        assert holders(home, SECRET)
        reader.close()
        mos.forget(ids[0], mode="erase")
        assert holders(home, SECRET) == []


def test_opening_completes_an_erase_that_a_crash_interrupted(tmp_path: Path) -> None:
    script = f"""
        import os, sys
        from pathlib import Path
        from memos import MOS
        from memos.backends.sqlite.purge import Purge
        from memos.settings import Settings
        from memos.testing.fakes import HashEmbedder
        Purge.complete = lambda self: os._exit(9) if crash else None
        crash = False
        note = Path(sys.argv[1]).with_name("note.txt")
        note.write_text("{SECRET} in a file")
        with MOS.open(Settings(home=Path(sys.argv[1])), embedder=HashEmbedder()) as mos:
            (id,) = mos.add(note).ids
            crash = True
            mos.forget(id, mode="erase")
    """
    home = tmp_path / "home"
    died = subprocess.run([sys.executable, "-c", textwrap.dedent(script), str(home)], check=False)
    assert died.returncode == 9
    assert holders(home, SECRET)
    with MOS.open(Settings(home=home), embedder=HashEmbedder()) as mos:
        assert mos.get_all().items == ()
        assert holders(home, SECRET) == []
    assert not [path for path in (home / "blobs").rglob("*") if path.is_file()]


def test_a_filter_erases_what_is_hidden_too(tmp_path: Path) -> None:
    with MOS.open(Settings(home=tmp_path), embedder=HashEmbedder()) as mos:
        (retired,) = mos.add(f"{SECRET} retired", tags=["t"]).ids
        mos.forget(retired)
        mos.add(f"{SECRET} expired", tags=["t"], expires_at="2001-01-01")
        mos.add(f"{SECRET} live", tags=["t"])
        mos.add("another", tags=["u"])
        assert len(mos.forget(where={"tags": "t"}, mode="erase").ids) == 3
        assert holders(tmp_path, SECRET) == []
        assert len(mos.get_all().items) == 1


@pytest.mark.parametrize("content", ["  \n", "x" * 2000], ids=["blank", "too large"])
def test_a_refused_file_leaves_nothing(tmp_path: Path, content: str) -> None:
    note = tmp_path / "note.md"
    note.write_text(content, encoding="utf-8")
    settings = Settings(home=tmp_path / "home", ingest=IngestSettings(max_characters=1000))
    with MOS.open(settings, embedder=HashEmbedder()) as mos:
        with pytest.raises(InvalidInput):
            mos.add(note)
        assert not [path for path in (tmp_path / "home" / "blobs").rglob("*") if path.is_file()]


def test_a_file_whose_memories_could_not_be_stored_is_not_kept(tmp_path: Path) -> None:
    note = tmp_path / "note.md"
    note.write_text("something", encoding="utf-8")
    with MOS.open(Settings(home=tmp_path / "home"), embedder=HashEmbedder()) as mos:
        mos.add("first")
    other = HashEmbedder(name="other")
    with MOS.open(Settings(home=tmp_path / "home"), embedder=other) as mos:
        with pytest.raises(Conflict) as mismatch:
            mos.add(note)
        assert mismatch.value.code == "embedder_mismatch"
        assert "memos reindex" in mismatch.value.detail
        assert not [path for path in (tmp_path / "home" / "blobs").rglob("*") if path.is_file()]
