"""When adds that wait for each other go on, on a clock that stands still."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence

from memos.ingest.together import Line


class Still(asyncio.SelectorEventLoop):
    """Its time passes only when it is told to."""

    now = 0.0

    def time(self) -> float:
        return self.now


class Desk:
    """A line whose work notes who came together, and is done when ``open`` is set."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.open = asyncio.Event()
        self.line = Line(self._work)
        self.calls: list[asyncio.Task[str]] = []

    async def _work(self, items: Sequence[str]) -> Sequence[str]:
        self.groups.append(list(items))
        with self.line.writing(len(items)):
            await self.open.wait()
        return items

    def come(self, *items: str) -> None:
        self.calls += [asyncio.ensure_future(self.line.run(item)) for item in items]

    async def answered(self) -> None:
        await asyncio.gather(*self.calls)


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def on_a_still_clock(scene: Callable[[Desk, Still], Coroutine[None, None, None]]) -> None:
    loop = Still()

    async def play() -> None:
        desk = Desk()
        desk.come("ahead")
        await settled()
        desk.come("a", "b", "c")
        await settled()
        desk.open.set()
        await desk.answered()
        assert desk.groups == [["ahead"], ["a", "b", "c"]]
        desk.groups.clear()
        await scene(desk, loop)

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(play())


async def pass_time(loop: Still, seconds: float) -> None:
    loop.now += seconds
    await settled()


def test_the_first_who_comes_back_waits_for_the_others() -> None:
    async def scene(desk: Desk, loop: Still) -> None:
        await pass_time(loop, 0.003)
        desk.come("a")
        await pass_time(loop, 0.0009)
        desk.come("b")
        await settled()
        assert not desk.groups
        desk.come("c")
        await settled()
        assert desk.groups == [["a", "b", "c"]]

    on_a_still_clock(scene)


def test_it_does_not_wait_for_long() -> None:
    async def scene(desk: Desk, loop: Still) -> None:
        desk.come("a")
        await settled()
        await pass_time(loop, 0.0005)
        desk.come("b")
        await settled()
        await pass_time(loop, 0.0006)
        assert desk.groups == [["a", "b"]]

    on_a_still_clock(scene)


def test_who_comes_late_does_not_wait() -> None:
    async def scene(desk: Desk, loop: Still) -> None:
        await pass_time(loop, 0.006)
        desk.come("a")
        await settled()
        assert desk.groups == [["a"]]

    on_a_still_clock(scene)
