"""Adds that come while others are being written go on as one, and nobody notices but the clock."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from memos import MOS, AsyncMOS
from memos.errors import MemosError, ModelError
from memos.mos import AddResult
from memos.ports.models import Embedder, EmbedRole, Vectors
from memos.settings import Settings
from memos.testing.fakes import CountingStore, HashEmbedder

pytestmark = pytest.mark.anyio


class Picky(HashEmbedder):
    """Refuses what speaks of snakes."""

    async def embed(self, texts: Sequence[str], role: EmbedRole) -> Vectors:
        if any("snake" in text for text in texts):
            raise ModelError("no snakes", service="picky", code="bad_request")
        return await super().embed(texts, role)


@asynccontextmanager
async def opened(home: Path, embedder: Embedder) -> AsyncGenerator[AsyncMOS]:
    async with AsyncMOS.open(Settings(home=home), embedder=embedder) as mos:
        yield mos


def message(text: str, id: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text, "message_id": id}]


async def all_at_once(
    mos: AsyncMOS, texts: Sequence[tuple[str, str]], session: str | None = None
) -> list[AddResult | MemosError]:
    """Add messages, given as (id, text), at the same moment; return what became of each."""
    outcome: dict[int, AddResult | MemosError] = {}

    async def add(number: int, id: str, text: str) -> None:
        try:
            where = session or f"session {number}"
            outcome[number] = await mos.add(message(text, id), session=where)
        except MemosError as error:
            outcome[number] = error

    async with anyio.create_task_group() as group:
        for number, (id, text) in enumerate(texts):
            group.start_soon(add, number, id, text)
    return [outcome[number] for number in range(len(texts))]


async def test_those_who_wait_are_embedded_and_written_together(tmp_path: Path) -> None:
    counted = CountingStore(HashEmbedder())
    texts = [(f"m{n}", f"note number {n}") for n in range(9)]
    async with opened(tmp_path, counted.port) as mos:
        results = await all_at_once(mos, texts)
        assert counted.calls == {"embed": 2}  # one went ahead, eight waited for it
        for (_, text), result in zip(texts, results, strict=True):
            assert isinstance(result, AddResult)
            assert result.stored == (True,)
            memory = await mos.get(result.ids[0])
            assert (memory.text, memory.position) == (text, 0)
        assert all(finding.ok for finding in await mos.check())


async def test_one_session_keeps_the_order_of_the_calls(tmp_path: Path) -> None:
    texts = [(f"m{n}", f"note number {n}") for n in range(6)]
    async with opened(tmp_path, HashEmbedder()) as mos:
        await all_at_once(mos, texts, session="one")
        stored = (await mos.get_all()).items
        assert [(m.text, m.position) for m in stored] == [
            (text, place) for place, (_, text) in enumerate(texts)
        ]


async def test_a_failure_is_that_of_one_call_only(tmp_path: Path) -> None:
    texts = [("a", "apples"), ("b", "birds"), ("c", "a snake"), ("d", "dogs")]
    async with opened(tmp_path, Picky()) as mos:
        apples, birds, snake, dogs = await all_at_once(mos, texts)
        assert isinstance(snake, ModelError)
        for result in (apples, birds, dogs):
            assert isinstance(result, AddResult)
            assert result.stored == (True,)
        assert {m.text for m in (await mos.get_all()).items} == {"apples", "birds", "dogs"}


async def test_the_same_message_twice_at_once_is_stored_once(tmp_path: Path) -> None:
    texts = [("first", "goes ahead"), ("same", "said once"), ("same", "said once")]
    async with opened(tmp_path, HashEmbedder()) as mos:
        _, one, other = await all_at_once(mos, texts, session="one")
        assert isinstance(one, AddResult)
        assert isinstance(other, AddResult)
        assert one.ids == other.ids
        assert (one.stored, other.stored) == ((True,), (False,))


async def test_who_gives_up_does_not_stop_the_others(tmp_path: Path) -> None:
    async with opened(tmp_path, HashEmbedder()) as mos:
        results: list[AddResult] = []

        async def add(id: str) -> None:
            results.append(await mos.add(message(id, id), session=id))

        async with anyio.create_task_group() as group:
            group.start_soon(add, "ahead")
            hasty = anyio.CancelScope()

            async def give_up() -> None:
                with hasty:
                    await add("hasty")

            group.start_soon(give_up)
            group.start_soon(add, "patient")
            await anyio.lowlevel.checkpoint()
            hasty.cancel()
        assert len(results) == 2
        await mos.add(message("later", "later"))  # and the line is open again
        texts = {memory.text for memory in (await mos.get_all()).items}
        assert texts >= {"ahead", "patient", "later"}


async def test_after_a_crowd_a_single_add_is_not_kept_waiting(tmp_path: Path) -> None:
    async with opened(tmp_path, HashEmbedder()) as mos:
        await all_at_once(mos, [(f"m{n}", f"note {n}") for n in range(5)])
        with anyio.fail_after(5):
            assert (await mos.add(message("alone", "alone"))).stored == (True,)


def test_threads_add_at_once(mos: MOS) -> None:
    failed: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for n in range(25):
                id = f"thread {number} note {n}"
                assert mos.add(message(id, id), session=f"thread {number}").stored == (True,)
        except BaseException as error:
            failed.append(error)
            raise

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    stored = mos.get_all(limit=1000).items
    assert len(stored) == 200
    assert all(m.text == f"{m.place.session} note {m.position}" for m in stored)


def test_closing_answers_every_thread(tmp_path: Path) -> None:
    mos = MOS.open(Settings(home=tmp_path), embedder=HashEmbedder())
    began = threading.Barrier(5)
    ended: list[str] = []

    def work(number: int) -> None:
        mos.add(f"thread {number}")
        began.wait()
        try:
            while True:
                mos.add(f"thread {number} goes on")
        except MemosError as error:
            ended.append(error.code)

    threads = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(4)]
    for thread in threads:
        thread.start()
    began.wait()
    mos.close()
    for thread in threads:
        thread.join(30)
    assert ended == ["closed"] * 4
