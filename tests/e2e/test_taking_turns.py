"""What a writer remembers of the file is what the file says, whoever else writes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from memos import MOS
from memos.errors import Conflict
from memos.ports.backend import Opened
from memos.settings import Settings
from memos.testing.contracts.making import apply, place, put, records, scope
from memos.testing.fakes import HashEmbedder


@contextmanager
def two(home: Path) -> Iterator[tuple[MOS, MOS]]:
    """Open one directory twice, as two processes would."""
    settings = Settings(home=home)
    with (
        MOS.open(settings, embedder=HashEmbedder()) as one,
        MOS.open(settings, embedder=HashEmbedder()) as other,
    ):
        yield one, other


def position(mos: MOS, id: str) -> int | None:
    return mos.get(id).position


def test_two_stores_share_a_session(tmp_path: Path) -> None:
    with two(tmp_path) as stores:
        ids = [
            stores[n % 2 if n < 10 else n // 2 % 2]
            .add([{"role": "user", "content": f"turn {n}", "message_id": str(n)}], session="s")
            .ids[0]
            for n in range(20)
        ]
        assert [position(stores[0], id) for id in ids] == list(range(20))


def test_what_the_other_erased_is_not_counted(tmp_path: Path) -> None:
    with two(tmp_path) as (one, other):
        turns = [{"role": "user", "content": f"turn {n}"} for n in range(3)]
        ids = list(one.add(turns, session="t").ids)
        other.forget(ids[-1], mode="erase")
        again = one.add([{"role": "user", "content": "another"}], session="t").ids[0]
        assert position(one, again) == 2
        one.forget(again, mode="erase")
        again = one.add([{"role": "user", "content": "one more"}], session="t").ids[0]
        assert position(other, again) == 2


def test_a_refused_batch_leaves_nothing_behind_in_what_is_remembered(tmp_path: Path) -> None:
    with two(tmp_path) as (one, other):
        gone = one.add("not for long").ids[0]
        one.forget(gone, mode="erase")
        with pytest.raises(Conflict):
            one.add([{"memory": "first"}, {"id": gone, "memory": "second"}], session="new")
        for n, store in enumerate((one, other, one)):
            turn = [{"role": "user", "content": f"turn {n}"}]
            assert position(store, store.add(turn, session="new").ids[0]) == n


def test_another_embedder_of_the_other_is_noticed(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    with MOS.open(settings, embedder=HashEmbedder()) as one:
        one.add("before")
        with MOS.open(settings, embedder=HashEmbedder(name="better")) as other:
            assert other.reindex() == 1
            other.add("meanwhile")
        with pytest.raises(Conflict) as refused:
            one.add("after")
        assert refused.value.code == "embedder_mismatch"


def test_a_cube_that_the_other_replaced_is_found_anew(tmp_path: Path) -> None:
    dump = tmp_path / "dump"
    with two(tmp_path / "home") as (one, other):
        one.cubes.create("c")
        turns = [{"role": "user", "content": f"turn {n}"} for n in range(3)]
        one.add(turns, cube="c", session="s")
        other.dump(dump, cube="c")
        one.cubes.create("d")
        other.load(dump, cube="d")
        turn = [{"role": "user", "content": "the next one"}]
        assert position(one, one.add(turn, cube="d", session="s").ids[0]) == 3


@pytest.mark.anyio
async def test_an_erase_and_an_add_in_one_commit(opened: Opened) -> None:
    await apply(opened, put("a", place=place("s")), put("b", place=place("s")))
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: apply(opened, erases=("b",)))
        group.start_soon(lambda: apply(opened, put("c", place=place("s"))))
    (found,) = await records(opened).get(["c"], scope())
    assert found.position == 1
