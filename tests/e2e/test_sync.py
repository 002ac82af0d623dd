"""``MOS`` offers what ``AsyncMOS`` does, from any thread, inside a loop, and not across a fork."""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
from pathlib import Path

import pytest

import memos
from memos import MOS, AsyncMOS
from memos.errors import ConfigError, InvalidInput, StoreError
from memos.jobs.service import Jobs
from memos.settings import Settings
from memos.testing.fakes import HashEmbedder
from memos.users.service import Users
from memos.users.sharing import Cubes


def public(owner: object) -> set[str]:
    return {name for name in dir(owner) if not name.startswith("_")}


def test_every_name_and_signature_agrees(mos: MOS) -> None:
    assert public(MOS) - {"close"} == public(AsyncMOS)
    pairs = [(getattr(MOS, n), getattr(AsyncMOS, n)) for n in public(AsyncMOS)]
    for sync, async_ in ((mos.users, Users), (mos.cubes, Cubes), (mos.jobs, Jobs)):
        assert public(sync) == public(async_)
        pairs += [(getattr(type(sync), n), getattr(async_, n)) for n in public(async_)]
    for mine, theirs in pairs:
        left, right = inspect.signature(mine), inspect.signature(theirs)
        assert [str(p) for p in left.parameters.values()] == [
            str(p) for p in right.parameters.values()
        ]
        if theirs.__name__ not in ("open", "simple"):
            streams = inspect.isasyncgenfunction(theirs)
            told = right.return_annotation
            if streams:  # an ordinary generator stands for an asynchronous one
                told = told.removeprefix("Async").replace(", None]", ", None, None]")
            assert left.return_annotation == told, mine
            assert streams or inspect.iscoroutinefunction(theirs)


def test_public_names() -> None:
    assert set(memos.__all__) == {"MOS", "AsyncMOS", "__version__"}
    assert all(hasattr(memos, name) for name in memos.__all__)


def test_threads_share_one_mos(mos: MOS) -> None:
    def work(number: int) -> None:
        for n in range(10):
            mos.add(f"thread {number} note {n}")
            assert mos.search(f"thread {number} note {n}").hits

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(mos.get_all().items) == 80


def test_it_works_inside_a_running_loop(mos: MOS) -> None:
    async def main() -> int:
        mos.add("from inside a loop")
        return len(mos.search("loop").hits)

    assert asyncio.run(main()) == 1


def test_a_closed_mos_says_so(tmp_path: Path) -> None:
    mos = MOS.open(Settings(home=tmp_path), embedder=HashEmbedder())
    mos.add("something")
    mos.close()
    mos.close()
    with pytest.raises(InvalidInput) as closed:
        mos.add("more")
    assert closed.value.code == "closed"


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_a_forked_child_gets_a_clear_error(mos: MOS) -> None:
    mos.add("before the fork")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            mos.search("fork")
            os.write(write, b"no error")
        except ConfigError as error:
            os.write(write, error.code.encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 100) == b"forked"
    os.close(read)
    os.close(write)


def test_a_failed_opening_can_be_tried_again(tmp_path: Path) -> None:
    blocked = tmp_path / "home"
    blocked.write_text("in the way", encoding="utf-8")
    mos = MOS.open(Settings(home=blocked), embedder=HashEmbedder())
    with pytest.raises(StoreError):
        mos.add("something")
    blocked.unlink()
    assert mos.add("something").stored == (True,)
    mos.close()
