"""What moving whole cubes promises."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from msgspec import structs

from memos.errors import Conflict, DataError, Forbidden, NotFound
from memos.filters import EVERYTHING
from memos.ports.backend import Opened
from memos.ports.transfer import Piece, Transfer, Version
from memos.testing.contracts.making import (
    ACCOUNT,
    EMBEDDER,
    START,
    apply,
    at,
    need,
    put,
    records,
    scope,
)
from memos.testing.contracts.making import place as place_of
from memos.types import Cube, Link, Page, Place, Put, Retire, Scope, Tombstone

pytestmark = pytest.mark.anyio


def moving(opened: Opened) -> Transfer:
    """Return the port."""
    return need(opened.transfer)


async def everything(opened: Opened, cube: str = "home") -> list[Version]:
    """Return every version of a cube, a page of two at a time."""
    found: list[Version] = []
    async with moving(opened).snapshot(cube, Scope(ACCOUNT, "tester", {cube: "read"})) as state:
        after: int | None = 0
        while after is not None:
            page = await state.versions(after, 2)
            found += page.versions
            after = page.next
    return found


def version(made: Put, cube: str = "copy") -> Version:
    """Return a put as a version of another cube."""
    memory = structs.replace(made.memory, place=structs.replace(made.memory.place, cube=cube))
    return Version(memory, memory.retired_at, memory.keys, made.vector, made.terms)


async def staged(opened: Opened, *versions: Version, links: Sequence[Link] = ()) -> str:
    """Return a staging cube that is to become ``copy``."""
    token = await moving(opened).stage("copy", scope(copy="write"), EMBEDDER)
    await moving(opened).restore(token, Piece(versions, links))
    return token


async def ids(opened: Opened, cube: str = "copy") -> set[str]:
    """Return the ids of the memories that a cube shows."""
    page = await records(opened).scan(
        Scope(ACCOUNT, "tester", {cube: "read"}), EVERYTHING, Page(100)
    )
    return {memory.id for memory in page.items}


@pytest.mark.anyio
class Snapshots:
    """Reading one state of a cube."""

    async def test_versions_in_the_order_they_were_written(self, opened: Opened) -> None:
        """'Return versions in the order they were written.'"""
        await apply(opened, put("a", keys=("k",)), put("b"))
        await apply(opened, put("a", "changed", keys=("k",)), retires=(Retire("b"),))
        found = await everything(opened)
        told = [(v.memory.id, v.memory.version, v.ended is None, v.holds) for v in found]
        assert told == [
            ("a", 1, False, ()),
            ("b", 1, False, ()),
            ("a", 2, True, ("k",)),
        ]
        assert all(v.vector is not None for v in found)

    async def test_it_does_not_see_what_comes_later(self, opened: Opened) -> None:
        """'One state of one cube, whatever is written meanwhile.'"""
        await apply(opened, put("a"))
        async with moving(opened).snapshot("home", scope()) as state:
            await apply(opened, put("b"), erases=("a",) if opened.features is None else ())
            page = await state.versions(0, 10)
            assert [v.memory.id for v in page.versions] == ["a"]
            assert (await state.counts()).versions == 1

    async def test_links_and_tombstones_are_ordered(self, opened: Opened) -> None:
        """'Return links ordered by source, target and relation.'"""
        links = (Link("b", "a", "cites", 0.5), Link("a", "b", "next"))
        await apply(opened, put("a"), put("b"), put("z"), put("c"), links=links)
        await apply(opened, erases=("z", "c"))
        async with moving(opened).snapshot("home", scope()) as state:
            first = await state.links(None, 1)
            assert first == [links[1]]
            assert await state.links(first[0], 5) == [links[0]]
            assert [stone.id for stone in await state.tombstones("", 5)] == ["c", "z"]
            assert [stone.id for stone in await state.tombstones("c", 5)] == ["z"]
            counts = await state.counts()
        assert (counts.memories, counts.links, counts.tombstones) == (2, 2, 2)
        assert (counts.embedder, counts.dimensions) == (EMBEDDER, 32)

    async def test_nothing_outside_the_scope(self, opened: Opened) -> None:
        """'Forbidden: The scope may not read or write the cube.'"""
        with pytest.raises(Forbidden):
            async with moving(opened).snapshot("other", scope()):
                pass
        with pytest.raises(Forbidden):
            await moving(opened).stage("home", scope(home="read"), EMBEDDER)
        with pytest.raises(Forbidden):
            await moving(opened).stats("other", scope())

    async def test_stats(self, opened: Opened) -> None:
        """'Return what the cube holds, in figures.'"""
        session = place_of("s1")
        await apply(opened, put("a", place=session), put("b", kind="turn", recorded_at=at(3)))
        await apply(opened, put("a", "new", place=session, recorded_at=at(1)), put("c"))
        await apply(opened, retires=(Retire("c"),))
        found = await moving(opened).stats("home", scope())
        assert (found.memories, found.retired, found.versions, found.sessions) == (2, 1, 4, 1)
        assert dict(found.kinds) == {"fact": 1, "turn": 1}
        assert dict(found.statuses) == {"activated": 2, "archived": 1}
        assert (found.first, found.last) == (at(1), at(3))


@pytest.mark.anyio
class Stagings:
    """Putting a cube together unseen."""

    async def test_nothing_shows_before_it_is_published(self, opened: Opened) -> None:
        """'Before, nothing of it can be seen, and after, all of it.'"""
        token = await staged(opened, version(put("a")), version(put("b")))
        assert await ids(opened) == set()
        assert await records(opened).changes(0, 10) == []
        published = await moving(opened).publish(token, "fail", ())
        assert published.memories == 2
        assert await ids(opened) == {"a", "b"}

    async def test_what_is_discarded_is_gone(self, opened: Opened) -> None:
        """'Throw a staging cube away; an unknown one is ignored.'"""
        token = await staged(opened, version(put("a")))
        await moving(opened).discard(token)
        await moving(opened).discard(token)
        with pytest.raises(NotFound):
            await moving(opened).publish(token, "fail", ())
        with pytest.raises(NotFound):
            await moving(opened).restore(token, Piece())
        assert await ids(opened) == set()

    async def test_histories_must_be_possible(self, opened: Opened) -> None:
        """'DataError: Versions out of order, or a link between memories that are not there.'"""
        first = version(put("a"))
        with pytest.raises(DataError):
            await staged(opened, first, first)
        with pytest.raises(DataError):
            await staged(
                opened, first, replace(first, memory=structs.replace(first.memory, version=2))
            )
        with pytest.raises(DataError):
            await staged(opened, first, links=[Link("a", "b", "cites")])


@pytest.mark.anyio
class Publications:
    """Becoming visible, alone or merged."""

    async def test_entries_come_with_it(self, opened: Opened) -> None:
        """'New entries of the account, stored in the same transaction.'"""
        cube = Cube("copy", "acme", "Copy", "tester", START)
        await moving(opened).publish(await staged(opened, version(put("a"))), "fail", (cube,))
        assert await need(opened.accounts).get_entry(Cube, "acme", "copy") is not None
        token = await staged(opened, version(put("b")))
        with pytest.raises(Conflict):
            await moving(opened).publish(token, "fail", (cube,))
        assert await ids(opened) == {"a"}

    async def test_the_log_tells_of_all(self, opened: Opened) -> None:
        """Who follows the log meets every memory, though others were written meanwhile."""
        token = await staged(opened, version(put("a")), version(put("b")))
        seen = await apply(opened, put("later"))
        await moving(opened).publish(token, "fail", ())
        log = await records(opened).changes(seen.cursor, 10)
        assert [change.id for change in log] == ["a", "b"]
        assert [c.id for c in await records(opened).changes(log[0].cursor, 10)] == ["b"]
        last = await apply(opened, put("last"))
        assert last.cursor > log[-1].cursor

    async def test_new_ones_join_and_equal_ones_stay(self, opened: Opened) -> None:
        """'Those with the content that it has are left out.'"""
        target: Place = place_of(cube="copy")
        await apply(opened, put("a", place=target), put("c", place=target), cube="copy")
        token = await staged(
            opened, version(put("a")), version(put("b")), links=[Link("b", "a", "cites")]
        )
        published = await moving(opened).publish(token, "fail", ())
        assert (published.memories, published.same, published.conflicts.count) == (1, 1, 0)
        assert await ids(opened) == {"a", "b", "c"}
        links = await need(opened.links).subgraph(["a"], scope(copy="read"))
        assert links == [Link("b", "a", "cites")]

    async def test_conflicts(self, opened: Opened) -> None:
        """'fail ends all, keep leaves the cube's own, and replace makes the other a version.'"""
        target = place_of(cube="copy")
        await apply(opened, put("a", "own", place=target, keys=("k",)), cube="copy")
        other = version(put("a", "other", keys=("k2",)))
        token = await staged(opened, other, version(put("b")))
        with pytest.raises(Conflict) as refused:
            await moving(opened).publish(token, "fail", ())
        assert refused.value.code == "memory_conflict"
        assert await ids(opened) == {"a"}
        kept = await moving(opened).publish(token, "keep", ())
        assert (kept.memories, kept.conflicts.ids) == (1, ("a",))
        await moving(opened).publish(await staged(opened, other), "replace", ())
        history = await records(opened).history("a", scope(copy="read"))
        assert [memory.text for memory in history] == ["own", "other"]
        assert await records(opened).holders("copy", ["k", "k2"], scope(copy="read")) == {"k2": "a"}

    async def test_what_was_erased_stays_erased(self, opened: Opened) -> None:
        """'Left out, as are those erased in it.' 'Nothing is ever erased.'"""
        target = place_of(cube="copy")
        await apply(opened, put("a", place=target), put("b", place=target), cube="copy")
        await apply(opened, erases=("a",), cube="copy")
        token = await staged(opened, version(put("a")))
        stones = [Tombstone("copy", "b", START), Tombstone("copy", "z", START)]
        await moving(opened).restore(token, Piece(tombstones=stones))
        published = await moving(opened).publish(token, "replace", ())
        assert (published.memories, published.erased) == (0, 1)
        assert await ids(opened) == {"b"}
        stones = await records(opened).tombstones(["a", "b", "z"], scope(copy="read"))
        assert {stone.id for stone in stones} == {"a", "z"}

    async def test_held_keys(self, opened: Opened) -> None:
        """'And those whose keys it holds.'"""
        target = place_of(cube="copy")
        await apply(opened, put("a", place=target, keys=("k",)), cube="copy")
        token = await staged(opened, version(put("b", keys=("k",))))
        assert (await moving(opened).publish(token, "fail", ())).same == 1
        assert await ids(opened) == {"a"}

    async def test_another_embedder(self, opened: Opened) -> None:
        """'Conflict: the cube's vectors are another model's.'"""
        target = place_of(cube="copy")
        await apply(opened, put("a", place=target), cube="copy", embedder="another-32")
        token = await staged(opened, version(put("b")))
        with pytest.raises(Conflict):
            await moving(opened).publish(token, "fail", ())
        assert await ids(opened) == {"a"}
