"""Nobody sees or touches memories of another account or an ungranted cube, by any call."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import given, settings
from hypothesis import strategies as st

from memos.backends import sqlite
from memos.build import AsyncMOS
from memos.errors import CallerError, Forbidden
from memos.filters import EVERYTHING, Filter
from memos.ports.backend import Opened
from memos.settings import Settings
from memos.testing import strategies as some
from memos.testing.fakes import HashEmbedder, hash_vector
from memos.types import Access, Batch, Grant, Link, Page, Place, Scope

if TYPE_CHECKING:
    from conftest import Engines

USERS = ("ann", "bob", "eve")
ACCOUNTS = ("acme", "rival")
IDS = ("m0", "m1", "m2")
GRANTS = st.dictionaries(
    st.sampled_from(["c0", "c1", "c2"]), st.sampled_from(get_args(Access)), max_size=3
)
WHERES: list[object] = [
    None,
    {},
    {"not": {"id": "x"}},
    {"cube": "c0"},
    {"user": "ann"},
    {"tags": {"exists": False}},
]


@dataclass
class House:
    """Two accounts in one directory, each with a process of its own."""

    portal: BlockingPortal
    opened: Opened
    mosses: dict[str, AsyncMOS]
    numbers: Iterator[int]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    home: Path = tmp_path_factory.mktemp("house")
    with ExitStack() as stack:
        portal = stack.enter_context(start_blocking_portal())

        def enter(opener: Any) -> Any:
            return stack.enter_context(portal.wrap_async_context_manager(opener))

        opened = enter(sqlite.open_sqlite(sqlite.SqliteSettings(path=home)))
        mosses = {
            account: enter(
                AsyncMOS.open(
                    Settings.model_validate({"home": home, "account": account}),
                    embedder=HashEmbedder(),
                )
            )
            for account in ACCOUNTS
        }
        yield House(portal, opened, mosses, count())


async def _refused(call: Awaitable[object]) -> None:
    with pytest.raises(CallerError) as caught:
        await call
    assert "secret" not in caught.value.detail


@dataclass
class Visitor:
    """A user of one account who tries everything."""

    house: House
    account: str
    user: str
    readable: set[str]
    writable: set[str]

    @property
    def mos(self) -> AsyncMOS:
        return self.house.mosses[self.account]

    def check(self, found: Any) -> None:
        for memory in found:
            assert memory.place.account == self.account
            assert memory.place.cube in self.readable
            assert memory.text.endswith(f"of {self.account} {memory.place.cube}")

    async def look_around(self, where: object, query: str, cubes: list[str], suffix: str) -> None:
        """Read with no cube named, then with each."""
        user = self.user
        self.check((await self.mos.get_all(user=user, where=where)).items)
        self.check((await self.mos.get_all(user=user, where=where, as_of="2999-01-01")).items)
        for recipe in ("fast", "words"):
            found = await self.mos.search(query, user=user, where=where, recipe=recipe)
            self.check(hit.memory for hit in found.hits)
        for cube in cubes:
            if cube in self.readable:
                self.check((await self.mos.get_all(user=user, cube=cube, where=where)).items)
            else:
                await _refused(self.mos.get_all(user=user, cube=cube, where=where))
                await _refused(self.mos.search(query, user=user, cubes=[cube], where=where))
                await _refused(self.mos.get(f"m0{suffix}", user=user, cube=cube))
                await _refused(self.mos.cubes.get(cube, user=user))
            if cube not in self.writable:
                await self._cannot_change(cube, f"m0{suffix}", where)
        listed = {cube.id for cube in await self.mos.cubes.list(user=user)}
        assert listed & set(cubes) == self.readable & set(cubes)

    async def _cannot_change(self, cube: str, id: str, where: object) -> None:
        user = self.user
        await _refused(self.mos.add("intruder", user=user, cube=cube))
        await _refused(self.mos.update(id, text="intruder", user=user, cube=cube))
        await _refused(self.mos.forget(id, user=user, cube=cube, mode="erase"))
        await _refused(self.mos.forget(user=user, cubes=[cube], where={"id": id}))
        await _refused(self.mos.forget(user=user, cube=cube, where=where or {"id": id}))
        await _refused(self.mos.reindex(user=user, cube=cube))
        await _refused(self.mos.rebuild(user=user, cube=cube))

    async def look_for(self, id: str, homes: set[str]) -> None:
        """Ask for one memory that the cubes ``homes`` hold."""
        seen = homes & self.readable
        if len(seen) == 1:
            self.check([await self.mos.get(id, user=self.user)])
            self.check(await self.mos.history(id, user=self.user))
        elif not seen:
            await _refused(self.mos.get(id, user=self.user))
            await _refused(self.mos.history(id, user=self.user))


async def _snapshot(house: House, account: str, cubes: list[str]) -> list[object]:
    scope = Scope(account, "auditor", dict.fromkeys(cubes, "read"))
    assert house.opened.records is not None
    return list((await house.opened.records.scan(scope, EVERYTHING, Page(1000))).items)


@settings(max_examples=300, derandomize=False)
@given(
    grants=st.fixed_dictionaries(dict.fromkeys(USERS, GRANTS)),
    where=st.sampled_from(WHERES),
    query=some.sentences(3),
    shared=st.booleans(),
)
def test_api(
    house: House, grants: dict[str, dict[str, Access]], where: Any, query: str, shared: bool
) -> None:
    """Every user tries everything; then all that was there is still there."""
    suffix = f"-{next(house.numbers)}"

    async def visit() -> None:
        cubes = [f"c{n}{suffix}" for n in range(3)]
        homes = await _furnish(house, grants, suffix, shared=shared)
        before = [await _snapshot(house, account, cubes) for account in ACCOUNTS]
        for account in ACCOUNTS:
            for user in USERS:
                held = {f"{cube}{suffix}": access for cube, access in grants[user].items()}
                mine = held if account == "acme" else {}
                own = {f"{user}{suffix}"}
                writable = {cube for cube, access in mine.items() if access == "write"} | own
                visitor = Visitor(house, account, f"{user}{suffix}", set(mine) | own, writable)
                await visitor.look_around(where, query, [*cubes, f"ann{suffix}"], suffix)
                for id, there in homes.items():
                    await visitor.look_for(id, there if account == "acme" else set())
        assert [await _snapshot(house, account, cubes) for account in ACCOUNTS] == before

    house.portal.call(visit)


async def _furnish(
    house: House, grants: dict[str, dict[str, Access]], suffix: str, *, shared: bool
) -> dict[str, set[str]]:
    """Make users, cubes, memories and grants; return memory id -> acme's cubes that hold it."""
    homes: dict[str, set[str]] = {}
    for account, mos in house.mosses.items():
        for user in ("owner", *USERS):
            await mos.users.create(f"{user}{suffix}")
        for n in range(3):
            cube = f"c{n}{suffix}"
            await mos.cubes.create(cube, owner=f"owner{suffix}")
            ids = [f"m{n if not shared else 0}{suffix}", f"x{n}{suffix}"]
            items = [{"id": id, "memory": f"secret tea of {account} {cube}"} for id in ids]
            await mos.add(items, user=f"owner{suffix}", cube=cube)
            if account == "acme":
                for id in ids:
                    homes.setdefault(id, set()).add(cube)
    assert house.opened.accounts is not None
    for user, held in grants.items():
        for cube, access in held.items():
            who, what = f"{user}{suffix}", f"{cube}{suffix}"
            grant = Grant(f"{who}/{what}", "acme", who, what, access)
            await house.opened.accounts.put_entry(grant, expect=0)
    return homes


@settings(max_examples=300, derandomize=False)
@given(held=GRANTS, where=some.filters(), query=some.sentences(3), data=st.data())
def test_ports(
    engines: Engines, held: dict[str, Access], where: Filter, query: str, data: st.DataObject
) -> None:
    """Every reading method of every port, with any grants and filter."""
    account = engines.account()
    changes: list[Batch] = []
    for owner in (account, f"{account}-rival"):
        for cube in ("c0", "c1", "c2"):
            puts = data.draw(st.lists(some.puts(owner, cube), min_size=2, max_size=4))
            changes.append(Batch("fill", owner, cube, "hash-32", tuple(puts)))
    engines.each(lambda opened: _fill(opened, changes))
    scope = Scope(account, "eve", held)
    engines.each(lambda opened: _peek(opened, scope, where, query))


async def _fill(opened: Opened, changes: list[Batch]) -> None:
    assert opened.records is not None
    for batch in changes:
        ids = sorted({put.memory.id for put in batch.puts})
        links = tuple(Link(a, b, "next") for a in ids for b in ids)
        owner = Scope(batch.account, "owner", {batch.cube: "write"})
        receipt = await opened.records.apply(batch, owner)
        stored = set(receipt.ids)
        kept = tuple(link for link in links if {link.source, link.target} <= stored)
        await opened.records.apply(Batch("link", batch.account, batch.cube, links=kept), owner)


async def _peek(opened: Opened, scope: Scope, where: Filter, query: str) -> None:
    assert opened.records is not None
    assert opened.vectors is not None
    assert opened.text is not None
    assert opened.links is not None
    store, ids = opened.records, ("m0", "m1", "m2", "m3", "m4")
    seen = [*await store.get(ids, scope), *await store.around(ids, scope, 3)]
    for id in ids:
        seen += await store.history(id, scope)
    for as_of in (None, some.START):
        for wanted in (where, EVERYTHING):
            seen += (await store.scan(scope, wanted, Page(100), as_of)).items
    assert {memory.place.account for memory in seen} <= {scope.account}
    assert {memory.place.cube for memory in seen} <= set(scope.grants)
    lanes = await opened.vectors.nearest([hash_vector(query)], scope, where, 99)
    lanes.append(await opened.text.match(query.casefold().split(), scope, where, 99))
    lanes.append(await opened.links.expand(ids, scope, 3, [], 99))
    assert {scored.cube for lane in lanes for scored in lane} <= set(scope.grants)
    if not scope.grants:
        assert await store.vectors(ids, scope, "hash-32") == {}
        assert await opened.links.subgraph(ids, scope) == []
    for cube in ("c0", "c1", "c2"):
        if not scope.may(cube, "write"):
            with pytest.raises(Forbidden):
                await store.apply(Batch("intrude", scope.account, cube, erases=("m0",)), scope)
        if not scope.may(cube, "read"):
            for refused in (
                store.holders(cube, ["k0"], scope),
                store.tail(Place(scope.account, cube), scope, 5),
                store.embedder(cube, scope),
                store.unembedded(cube, scope, "x", 5),
                opened.text.statistics(["tea"], cube, scope),
            ):
                with pytest.raises(Forbidden):
                    await refused
