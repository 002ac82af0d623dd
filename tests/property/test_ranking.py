"""The embedded engine scores whole cubes at once; the order is that of the reference."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count, pairwise, product
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import example, given, settings
from hypothesis import strategies as st

from memos.build import AsyncMOS
from memos.errors import MemosError
from memos.retrieve.recipe import RECIPES
from memos.settings import Settings
from memos.testing import strategies as some
from memos.testing.fakes import HashEmbedder

TOLERANCE = 1e-3


def _settings(kind: str, home: Path) -> Settings:
    return Settings.model_validate({"home": home, "store": {"kind": kind}})


@dataclass
class Trio:
    """The same memories in the reference, the embedded engine, and a second reader of its file."""

    portal: BlockingPortal
    reference: AsyncMOS
    embedded: AsyncMOS
    reader: AsyncMOS
    numbers: Iterator[int] = field(default_factory=count)


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trio]:
    home = tmp_path_factory.mktemp("ranking")
    with ExitStack() as stack:
        portal = stack.enter_context(start_blocking_portal())
        mosses = [
            stack.enter_context(
                portal.wrap_async_context_manager(
                    AsyncMOS.open(_settings(kind, home), embedder=HashEmbedder())
                )
            )
            for kind in ("memory", "sqlite", "sqlite")
        ]
        yield Trio(portal, *mosses)


TURNS = st.lists(
    st.tuples(st.sampled_from(some.SPEAKERS), some.sentences()), min_size=1, max_size=8
)
DAYS = ("2025-01-01", "2025-01-03T23:30:00+09:00", "2024-12-20")
ACTIONS = st.one_of(
    st.tuples(st.just("say"), st.sampled_from(["s0", "s1"]), TURNS),
    st.tuples(st.sampled_from(DAYS), st.sampled_from(["s0", "s1"]), TURNS),
    st.tuples(st.just("note"), st.integers(0, 4), some.sentences()),
    st.tuples(st.just("update"), st.integers(0, 40), some.sentences()),
    st.tuples(st.just("retire"), st.integers(0, 40), st.none()),
    st.tuples(st.just("erase"), st.integers(0, 40), st.none()),
)
NOTES: list[dict[str, Any]] = [
    {"tags": ["work"], "info": {"n": 1}},
    {"tags": ["home"], "title": "Straße"},
    {"expires_at": "2020-01-01"},
    {"expires_at": "2999-01-01", "info": {"n": 2}},
    {"cube": "more"},
]
QUESTIONS = st.one_of(
    some.sentences(3),
    st.tuples(some.sentences(3), some.sentences(3)).map("? ".join),
    st.tuples(some.sentences(2), st.sampled_from(some.TIMES)).map(" ".join),
)
WHERES: list[object] = [
    None,
    None,
    {"session": "s0"},
    {"speaker": {"in": ["Zoe", "小明"]}},
    {"speaker": "Ann"},
    {"tags": "work"},
    {"info.n": {"gte": 1}},
    {"not": {"text": {"like": "tea"}}},
    {"or": [{"title": {"exists": True}}, {"session": "s1"}]},
]


@dataclass
class Told:
    """One user's memories in one engine; a number stands for a memory in all of them."""

    mos: AsyncMOS
    user: str
    ids: list[str] = field(default_factory=list)

    async def start(self) -> None:
        await self.mos.users.create(self.user)
        await self.mos.cubes.create(f"{self.user}-more", owner=self.user)

    async def act(self, action: tuple[str, Any, Any]) -> object:
        word, which, what = action
        try:
            if word in ("say", *DAYS):
                at = {} if word == "say" else {"chat_time": word}
                messages = [
                    {"role": "user", "name": name, "content": said, **at} for name, said in what
                ]
                return self._known(await self.mos.add(messages, user=self.user, session=which))
            if word == "note":
                options = dict(NOTES[which])
                if "cube" in options:
                    options["cube"] = f"{self.user}-more"
                return self._known(await self.mos.add(what, user=self.user, **options))
            if not self.ids:
                return None
            id = self.ids[which % len(self.ids)]
            if word == "update":
                return (await self.mos.update(id, text=what, user=self.user)).version
            await self.mos.forget(id, mode=word, user=self.user)
        except MemosError as error:
            return error.code

    def _known(self, added: Any) -> list[int]:
        self.ids += [id for id in added.ids if id not in self.ids]
        return [self.ids.index(id) for id in added.ids]

    async def search(self, mos: AsyncMOS, query: str, **options: Any) -> dict[int, float]:
        found = await mos.search(query, user=self.user, limit=1000, dedup="none", **options)
        assert found.degraded == ()
        return {self.ids.index(hit.memory.id): hit.score for hit in found.hits}


def _same_ranking(one: dict[int, float], two: dict[int, float]) -> None:
    assert one.keys() == two.keys()
    assert all(abs(score - two[number]) < TOLERANCE for number, score in one.items())
    for ranking, scores in ((one, two), (two, one)):
        across = [scores[number] for number in ranking]
        assert all(a >= b - 2 * TOLERANCE for a, b in pairwise(across))


@settings(max_examples=40)
@given(
    actions=st.lists(ACTIONS, min_size=1, max_size=10),
    queries=st.lists(QUESTIONS, min_size=1, max_size=2),
    wheres=st.lists(st.sampled_from(WHERES), min_size=2, max_size=3, unique_by=str),
    both=st.booleans(),
)
@example(
    actions=[("say", "s0", [("Zoe", "tea")]), ("erase", 0, None), ("say", "s0", [("Zoe", "tea")])],
    queries=["tea"],
    wheres=[None, {"session": "s0"}],
    both=False,
)  # the place of an erased row must not be taken by a new one: the reader's image knows it
def test_order_is_that_of_the_reference(
    trio: Trio,
    actions: list[tuple[str, Any, Any]],
    queries: list[str],
    wheres: list[object],
    both: bool,
) -> None:
    async def compare() -> None:
        user = f"u{next(trio.numbers)}"
        mine, theirs = Told(trio.reference, user), Told(trio.embedded, user)
        await mine.start()
        await theirs.start()
        for number, action in enumerate(actions):
            assert await mine.act(action) == await theirs.act(action)
            if number % 3 == 0:  # the reader's image follows from several states
                await theirs.search(trio.reader, queries[0])
        alone = [name for name, recipe in RECIPES.items() if recipe == recipe.alone()]
        for query, where, recipe in product(queries, wheres, alone):
            asked: dict[str, Any] = {"recipe": recipe, "where": where, "at": some.START}
            if not both:
                asked["cube"] = user
            wanted = await mine.search(mine.mos, query, **asked)
            for mos in (trio.embedded, trio.reader):
                _same_ranking(wanted, await theirs.search(mos, query, **asked))

    trio.portal.call(compare)


@settings(max_examples=8)
@given(actions=st.lists(ACTIONS, min_size=3, max_size=12), query=some.sentences(4))
def test_same_after_reopening(
    tmp_path_factory: pytest.TempPathFactory, actions: list[tuple[str, Any, Any]], query: str
) -> None:
    home = tmp_path_factory.mktemp("reopened")

    async def before() -> tuple[list[str], list[dict[int, float]]]:
        async with AsyncMOS.open(_settings("sqlite", home), embedder=HashEmbedder()) as mos:
            told = Told(mos, "zoe")
            await told.start()
            for action in actions:
                await told.act(action)
            return told.ids, [await told.search(mos, query, where=where) for where in WHERES]

    async def after(ids: list[str]) -> list[dict[int, float]]:
        async with AsyncMOS.open(_settings("sqlite", home), embedder=HashEmbedder()) as mos:
            told = Told(mos, "zoe", ids)
            return [await told.search(mos, query, where=where) for where in WHERES]

    ids, wanted = anyio.run(before)
    for one, two in zip(wanted, anyio.run(after, ids), strict=True):
        _same_ranking(one, two)
