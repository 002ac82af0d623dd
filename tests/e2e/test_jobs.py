"""Work in the background: kept until it is done, done once, told to who may read its cube."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import anyio
import apsw
import msgspec
import pytest

from memos import MOS, AsyncMOS
from memos.backends import sqlite
from memos.backends.sqlite.schema import APPLICATION_ID, MIGRATIONS
from memos.errors import Conflict, Forbidden, InvalidInput, ModelError, NotFound
from memos.ports.models import EmbedRole, Vectors
from memos.settings import JobsSettings, Settings
from memos.testing.fakes import HashEmbedder
from memos.types import Job

SECRET = "xylophonequartz"
LATER = {"role": "user", "content": f"The word is {SECRET}."}


class Shaky(HashEmbedder):
    """Fails as often as it is told to, and can be made to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[Exception] = []
        self.held: anyio.Event | None = None
        self.reached = 0

    async def embed(self, texts: list[str], role: EmbedRole) -> Vectors:  # type: ignore[override]
        self.reached += 1
        if self.errors:
            raise self.errors.pop(0)
        if self.held is not None:
            await self.held.wait()
        return await super().embed(texts, role)


def busy() -> ModelError:
    return ModelError(f"no answer for {SECRET}", service="embedder", retryable=True, code="busy")


def settings(home: Path, **jobs: float) -> Settings:
    given = JobsSettings.model_validate({"retry_seconds": 0.001, "attempts": 3, **jobs})
    return Settings(home=home, jobs=given)


def holders(home: Path) -> list[str]:
    wanted = SECRET.encode()
    return [p.name for p in home.rglob("*") if p.is_file() and wanted in p.read_bytes()]


@pytest.fixture
def embedder() -> Shaky:
    return Shaky()


@pytest.fixture
def mos(tmp_path: Path, embedder: Shaky) -> Iterator[MOS]:
    with MOS.open(settings(tmp_path / "home"), embedder=embedder) as opened:
        yield opened


def done(mos: MOS, id: str) -> None:
    """Do what is due, also what waits for a moment, until a job ended."""
    while mos.jobs.get(id).state not in ("done", "failed"):
        mos.jobs.run()


def test_a_background_add(mos: MOS) -> None:
    put = mos.jobs.add([LATER], session="s", batch_id="once", tags=["later"])
    assert (put.state, put.label, put.cube, put.attempts) == ("waiting", "add", "default", 0)
    assert mos.search(SECRET).hits == ()
    assert mos.jobs.run() == 1
    end = mos.jobs.wait(put.id)
    assert (end.state, end.attempts, end.code) == ("done", 1, None)
    (hit,) = mos.search(SECRET).hits
    assert end.result == {"ids": [hit.memory.id], "stored": [True]}
    assert (hit.memory.tags, hit.memory.place.session) == (("later",), "s")
    assert mos.jobs.add([LATER], session="s", batch_id="once", tags=["later"]) == end
    assert mos.jobs.run() == 0
    # The same call, made at once, is known by its batch.
    assert mos.add([LATER], session="s", batch_id="once", tags=["later"]).stored == (False,)


def test_what_is_malformed_is_refused_now(mos: MOS) -> None:
    for wrong in ("", [], [{"role": "user"}], [{"role": "user", "content": {1, 2}}]):
        with pytest.raises(InvalidInput):
            mos.jobs.add(wrong)
    with pytest.raises(InvalidInput):
        mos.jobs.add("text", colour="blue")  # type: ignore[call-arg]
    with pytest.raises(NotFound):
        mos.jobs.add("text", cube="nowhere")
    with pytest.raises(InvalidInput):
        mos.jobs.import_chats("nothing.json")
    assert mos.jobs.list().items == ()


def test_a_file_in_the_background(mos: MOS, tmp_path: Path) -> None:
    notes = tmp_path / "notes.md"
    notes.write_text(f"# Diary\n\nThe word is {SECRET}.\n", encoding="utf-8")
    put = mos.jobs.add(notes, title="Diary")
    notes.unlink()
    done(mos, put.id)
    (hit,) = mos.search(SECRET).hits
    assert hit.memory.sources[0].uri == "notes.md"
    kept = [p for p in (tmp_path / "home" / "blobs").rglob("*") if p.is_file()]
    assert len(kept) == 1  # the memory's own; the job's is gone


def test_an_import_in_the_background(mos: MOS, tmp_path: Path) -> None:
    lines = [{"role": "user", "content": f"note {n} {SECRET}", "message_id": str(n)}
             for n in range(1200)]  # fmt: skip
    source = tmp_path / "messages.json"
    source.write_text(json.dumps(lines), encoding="utf-8")
    put = mos.jobs.import_chats(source, batch_id="export")
    source.write_text("[]", encoding="utf-8")
    assert mos.jobs.import_chats(source, batch_id="export").id == put.id
    done(mos, put.id)
    end = mos.jobs.get(put.id)
    assert end.result == {"conversations": 1, "stored": 1200, "known": 0, "skipped": 0}
    assert not [p for p in (tmp_path / "home" / "blobs").rglob("*") if p.is_file()]
    assert len(mos.get_all(limit=2000).items) == 1200


def test_reindexing_in_the_background(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with MOS.open(settings(home), embedder=HashEmbedder()) as mos:
        mos.add(["Zoe likes tea.", "Max likes cake."][0])
    with MOS.open(settings(home), embedder=HashEmbedder(64)) as mos:
        with pytest.raises(Conflict):
            mos.add("Zoe likes jam.")
        put = mos.jobs.reindex()
        done(mos, put.id)
        assert mos.jobs.get(put.id).result == {"embedded": 1}
        mos.add("Zoe likes jam.")


def test_the_second_attempt_waits(tmp_path: Path, embedder: Shaky) -> None:
    given = settings(tmp_path / "home", retry_seconds=600)
    with MOS.open(given, embedder=embedder) as mos:
        embedder.errors = [busy()]
        put = mos.jobs.add("Zoe likes tea.")
        assert mos.jobs.run() == 1
        once = mos.jobs.get(put.id)
        assert (once.state, once.code, once.cause) == ("waiting", "busy", "embedder failed")
        assert once.started_at is not None
        assert once.due_at - once.started_at > timedelta(minutes=9)
        assert mos.jobs.run() == 0


def test_again_while_that_may_help(mos: MOS, embedder: Shaky) -> None:
    embedder.errors = [busy(), busy()]
    put = mos.jobs.add("Zoe likes tea.")
    done(mos, put.id)
    end = mos.jobs.get(put.id)
    assert (end.state, end.attempts, end.code) == ("done", 3, None)


def test_given_up_with_the_cause_and_begun_anew(mos: MOS, embedder: Shaky) -> None:
    embedder.errors = [busy(), busy(), busy()]
    put, following = mos.jobs.add([LATER]), mos.jobs.add("It follows.")
    done(mos, put.id)
    failed = mos.jobs.get(put.id)
    assert (failed.state, failed.attempts, failed.code) == ("failed", 3, "busy")
    assert SECRET not in repr(failed)
    done(mos, following.id)  # who was given up holds up nobody
    assert [job.id for job in mos.jobs.list(state="failed").items] == [put.id]
    with pytest.raises(InvalidInput):
        mos.jobs.retry(following.id)
    assert mos.jobs.retry(put.id).state == "waiting"
    done(mos, put.id)
    assert mos.search(SECRET).hits


def test_no_second_attempt_where_none_helps(mos: MOS, embedder: Shaky) -> None:
    embedder.errors = [ModelError("no such model", service="embedder", code="unknown_model")]
    put = mos.jobs.add("Zoe likes tea.")
    assert mos.jobs.run() == 1
    assert (mos.jobs.get(put.id).state, mos.jobs.get(put.id).attempts) == ("failed", 1)
    embedder.errors = [ValueError(SECRET)]
    put = mos.jobs.add("Zoe likes tea.")
    mos.jobs.run()
    unexpected = mos.jobs.get(put.id)
    assert (unexpected.state, unexpected.code) == ("failed", "internal")
    assert SECRET not in repr(unexpected)


def test_rights_are_those_of_the_moment(mos: MOS) -> None:
    for user in ("zoe", "max"):
        mos.users.create(user)
    mos.cubes.share("zoe", "max", "write", user="zoe")
    put = mos.jobs.add("Max was here.", user="max", cube="zoe")
    mos.cubes.revoke("zoe", "max", user="zoe")
    mos.jobs.run()
    with pytest.raises(NotFound):
        mos.jobs.get(put.id, user="max")
    seen = mos.jobs.get(put.id, user="zoe")
    assert (seen.state, seen.code) == ("failed", "unknown_cube")


def test_who_may_not_read_a_cube_sees_none_of_its_jobs(mos: MOS) -> None:
    for user in ("zoe", "max"):
        mos.users.create(user)
    mine, other = mos.jobs.add("Zoe.", user="zoe"), mos.jobs.add("Max.", user="max")
    assert [job.id for job in mos.jobs.list(user="zoe").items] == [mine.id]
    told: list[str] = []
    for id in (other.id, "job-that-never-was"):
        for call in (mos.jobs.get, mos.jobs.wait, mos.jobs.retry):
            with pytest.raises(NotFound) as refused:
                call(id, user="zoe")
            told.append(str(refused.value).replace(id, "ID"))
    assert len(set(told)) == 1
    with pytest.raises(NotFound):
        mos.jobs.list(user="zoe", cube="max")
    mos.cubes.share("max", "zoe", "read", user="max")
    assert mos.jobs.get(other.id, user="zoe").id == other.id
    with pytest.raises(Forbidden):
        mos.jobs.retry(other.id, user="zoe")


def test_lists_in_pages(mos: MOS) -> None:
    ids = [mos.jobs.add(f"Note {n}.").id for n in range(5)]
    mos.jobs.reindex()
    found: list[str] = []
    page = mos.jobs.list(label="add", limit=2)
    while True:
        found += [job.id for job in page.items]
        if page.next is None:
            break
        page = mos.jobs.list(label="add", limit=2, cursor=page.next)
    assert found == ids[::-1]
    for wrong in ({"label": "feedback"}, {"state": "lost"}, {"limit": 0}):
        with pytest.raises(InvalidInput):
            mos.jobs.list(**wrong)  # type: ignore[arg-type]


def test_waiting_ends_with_the_time(mos: MOS) -> None:
    put = mos.jobs.add("Zoe likes tea.")
    assert mos.jobs.wait(put.id, timeout_s=0).state == "waiting"
    assert mos.jobs.wait(put.id, timeout_s=0.01).state == "waiting"
    with pytest.raises(InvalidInput):
        mos.jobs.wait(put.id, timeout_s=-1)


def test_erasing_a_cube_erases_what_is_on_its_way(
    mos: MOS, embedder: Shaky, tmp_path: Path
) -> None:
    home, source = tmp_path / "home", tmp_path / "m.json"
    source.write_text(json.dumps([LATER]), encoding="utf-8")
    mos.users.create("zoe")
    embedder.errors = [busy()] * 3
    failed = mos.jobs.add([LATER])
    done(mos, failed.id)
    kept = mos.jobs.add("Tea is kept.", kind="fact")
    mos.jobs.add([LATER])
    mos.jobs.import_chats(source)
    others = mos.jobs.add("Zoe's own.", user="zoe")
    assert holders(home)
    mos.forget(where={"kind": "turn"}, mode="erase")
    assert holders(home) == []
    with pytest.raises(NotFound):
        mos.jobs.get(failed.id)
    assert mos.jobs.get(others.id, user="zoe").state == "waiting"
    assert mos.jobs.get(kept.id).state == "done"
    assert mos.search("tea").hits[0].memory.text == "Tea is kept."
    mos.jobs.run()
    assert mos.search(SECRET).hits[0].memory.text == "Tea is kept."


def test_an_erase_that_cannot_end_the_jobs_erases_nothing(mos: MOS, embedder: Shaky) -> None:
    mos.add("Zoe likes tea.")
    put = mos.jobs.add([LATER])
    embedder.errors = [busy()]
    with pytest.raises(ModelError):
        mos.forget(where={"kind": "turn"}, mode="erase")
    assert mos.search("tea").hits
    assert mos.jobs.get(put.id).state == "waiting"


@pytest.mark.anyio
async def test_an_erase_while_a_worker_is_at_it(tmp_path: Path, embedder: Shaky) -> None:
    """The worker is held in the middle; what it writes afterwards is nothing."""
    async with AsyncMOS.open(settings(tmp_path / "home"), embedder=embedder) as mos:
        embedder.held = anyio.Event()
        put = await mos.jobs.add([LATER])
        async with anyio.create_task_group() as group:
            group.start_soon(mos.jobs.run)
            while embedder.reached == 0:
                await anyio.lowlevel.checkpoint()
            held, embedder.held = embedder.held, None
            assert (await mos.jobs.get(put.id)).state == "running"
            await mos.forget(where={"kind": "turn"}, mode="erase")
            held.set()
        assert (await mos.search(SECRET)).hits == ()
        assert (await mos.jobs.get(put.id)).state == "done"
    assert holders(tmp_path / "home") == []


@pytest.mark.anyio
async def test_who_stops_hands_back(tmp_path: Path, embedder: Shaky) -> None:
    async with AsyncMOS.open(settings(tmp_path / "home"), embedder=embedder) as mos:
        embedder.held = anyio.Event()
        put = await mos.jobs.add("Zoe likes tea.")
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: mos.jobs.run(forever=True))
            while embedder.reached == 0:
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        back = await mos.jobs.get(put.id)
        assert (back.state, back.attempts) == ("waiting", 0)
        embedder.held = None
        assert await mos.jobs.run() == 1


@pytest.mark.anyio
async def test_a_worker_wakes_whoever_waits(tmp_path: Path, embedder: Shaky) -> None:
    async with (
        AsyncMOS.open(settings(tmp_path / "home"), embedder=embedder) as mos,
        anyio.create_task_group() as group,
    ):
        group.start_soon(lambda: mos.jobs.run(forever=True))
        for number in range(10):
            put = await mos.jobs.add(f"Note {number}.")
            assert (await mos.jobs.wait(put.id, timeout_s=30)).state == "done"
        group.cancel_scope.cancel()


@pytest.mark.anyio
async def test_two_workers_keep_the_order_of_a_cube(tmp_path: Path) -> None:
    one = AsyncMOS.open(settings(tmp_path / "home"), embedder=HashEmbedder())
    two = AsyncMOS.open(settings(tmp_path / "home"), embedder=HashEmbedder())
    async with one as mine, two as other:
        puts = [await mine.jobs.add([{"role": "user", "content": f"Step {n}."}], session="s")
                for n in range(20)]  # fmt: skip
        async with anyio.create_task_group() as group:
            for mos in (mine, other):
                group.start_soon(lambda mos=mos: mos.jobs.run(forever=True))
            for put in puts:
                end = await mine.jobs.wait(put.id, timeout_s=60)
                assert (end.state, end.attempts) == ("done", 1)
            group.cancel_scope.cancel()
        said = await mine.get_all(limit=100)
        assert [memory.text for memory in said.items] == [f"Step {n}." for n in range(20)]


def test_a_killed_worker_s_job_is_taken_over(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with MOS.open(settings(home, lease_seconds=1), embedder=HashEmbedder()) as mos:
        put = mos.jobs.add([LATER])
        code = (
            "import sys, os, anyio\nfrom pathlib import Path\nfrom memos import MOS\n"
            "from memos.settings import JobsSettings, Settings\n"
            "from memos.testing.fakes import HashEmbedder\n"
            "class Dying(HashEmbedder):\n"
            "    async def embed(self, texts, role):\n"
            "        os._exit(9)\n"
            "given = Settings(home=Path(sys.argv[1]), jobs=JobsSettings(lease_seconds=1))\n"
            "with MOS.open(given, embedder=Dying()) as mos:\n    mos.jobs.run()\n"
        )
        died = subprocess.run([sys.executable, "-c", code, str(home)], check=False)
        assert died.returncode == 9
        done(mos, put.id)
        end = mos.jobs.get(put.id)
        assert (end.state, end.attempts) == ("done", 2)
        assert len(mos.get_all().items) == 1


@pytest.mark.anyio
async def test_the_jobs_of_older_files_are_brought_up(tmp_path: Path) -> None:
    """Feedback that a release before jobs stored, and a job that it had given up."""
    db = apsw.Connection(str(tmp_path / "memos.db"))
    db.execute("PRAGMA journal_mode = WAL").fetchall()
    for step in MIGRATIONS[:2]:
        step(db)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute("PRAGMA user_version = 2")
    for seq, (label, dead) in enumerate((("feedback", 0), ("digest", 1)), 1):
        body = msgspec.json.encode(Job(f"j{seq}", label, "local", "default", {"text": "x"}))
        db.execute(
            "INSERT INTO jobs (id, account, cube, scope_key, priority, due, dead, attempts, body)"
            " VALUES (?, 'local', 'default', '', 0, 5000000, ?, 0, ?)",
            (f"j{seq}", dead, body),
        )
    db.close()
    async with sqlite.open_sqlite(sqlite.SqliteSettings(path=tmp_path)) as opened:
        queue = opened.jobs
        assert queue is not None
        assert (await queue.stats(["feedback"])).waiting == 1
        assert (await queue.stats(["digest"])).dead == 1
        failed = await queue.status("local", "j2")
        assert failed is not None
        assert (failed.state, failed.label) == ("failed", "digest")
        (job,) = await queue.lease(9, timedelta(minutes=1), ["feedback"])
        assert (job.id, job.payload) == ("j1", {"text": "x"})
