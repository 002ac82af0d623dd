"""After an erase no byte of the text is anywhere below the directory, whatever held it before."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from memos import MOS
from memos.settings import Settings
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
        mos.add([{"role": "user", "content": f"filler {n}", "message_id": str(n)} for n in range(2500)],
                session="s")  # fmt: skip
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
    from memos.types import Batch, Job, Memory, Place, Put, Scope
    from memos.testing.fakes import ManualClock

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
