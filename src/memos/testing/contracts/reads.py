"""What the reading methods of ``RecordStore`` promise."""

from __future__ import annotations

import json

import pytest

from memos.errors import InvalidInput
from memos.filters import EVERYTHING, parse
from memos.ports.backend import Opened
from memos.testing.contracts.making import (
    FAR_OFF,
    LONG_AGO,
    apply,
    at,
    place,
    put,
    records,
    scope,
)
from memos.types import ChangeKind, Memory, Page, Place, Retire


def _ids(memories: tuple[Memory, ...] | list[Memory]) -> list[str]:
    return [memory.id for memory in memories]


@pytest.mark.anyio
class Reads:
    """``get``, ``tail``, ``around``."""

    async def test_get_in_the_order_of_the_ids(self, opened: Opened) -> None:
        """'In the order of ids. Unknown and erased ids are left out.'"""
        await apply(opened, put("a"), put("b"), put("c"))
        await apply(opened, erases=("b",), retires=(Retire("c"),))
        assert _ids(await records(opened).get(["c", "x", "b", "a"], scope())) == ["c", "a"]
        assert await records(opened).get([], scope()) == []

    async def test_get_from_several_cubes(self, opened: Opened) -> None:
        """'An id that several cubes hold comes once for each.'"""
        await apply(opened, put("a", "mine"))
        await apply(opened, put("a", "theirs", place=place(cube="other")), cube="other")
        both = await records(opened).get(["a"], scope(home="read", other="read"))
        assert {memory.text for memory in both} == {"mine", "theirs"}

    async def test_get_many(self, opened: Opened) -> None:
        """No number of ids is too many for one call."""
        await apply(opened, *(put(f"m{n}") for n in range(1200)))
        wanted = [f"m{n}" for n in reversed(range(1200))]
        assert _ids(await records(opened).get(wanted, scope())) == wanted

    async def test_tail(self, opened: Opened) -> None:
        """'The last ``limit`` live memories of a session ... oldest first.'"""
        await apply(
            opened, *(put(id, place=place("s")) for id in "abcd"), put("x", place=place("t"))
        )
        await apply(opened, retires=(Retire("c"),))
        tail = await records(opened).tail(place("s"), scope(), 2)
        assert (tail.position, _ids(tail.memories)) == (3, ["b", "d"])
        assert (await records(opened).tail(place("s"), scope(), 0)).memories == ()

    async def test_tail_of_nothing(self, opened: Opened) -> None:
        """A session that nobody wrote has no position."""
        tail = await records(opened).tail(place("s"), scope(), 2)
        assert (tail.position, tail.memories) == (None, ())

    async def test_sessions_are_told_apart_by_their_whole_place(self, opened: Opened) -> None:
        """Two users' or agents' session "s" are two; an empty name is not a missing one."""
        places = [
            Place("acme", "home", "tester", session="s"),
            Place("acme", "home", "other", session="s"),
            Place("acme", "home", "tester", agent="g", session="s"),
            Place("acme", "home", "tester", app="g", session="s"),
            Place("acme", "home", None, session="s"),
            Place("acme", "home", "", session="s"),
        ]
        await apply(opened, *(put(f"m{n}", place=where) for n, where in enumerate(places)))
        for n, where in enumerate(places):
            assert _ids((await records(opened).tail(where, scope(), 9)).memories) == [f"m{n}"]

    async def test_around(self, opened: Opened) -> None:
        """'The live memories up to ``span`` places before and after each id ... each once.'"""
        await apply(opened, *(put(id, place=place("s")) for id in "abcdefg"), put("loose"))
        await apply(opened, put("x", place=place("t")), retires=(Retire("d"),))
        near = await records(opened).around(["c", "e"], scope(), 1)
        assert _ids(near) == ["b", "c", "e", "f"]
        assert _ids(await records(opened).around(["c"], scope(), 0)) == ["c"]
        assert _ids(await records(opened).around(["a", "loose"], scope(), 9)) == [
            *"abcefg",
            "loose",
        ]
        assert await records(opened).around(["d", "nobody"], scope(), 9) == []

    async def test_around_with_equal_positions(self, opened: Opened) -> None:
        """'The named ones are among them': of turns at one position, the first recorded leads."""
        turns = [put(id, place=place("s"), position=5) for id in "abc"]
        await apply(opened, *turns)
        assert _ids(await records(opened).around(["b"], scope(), 0)) == ["b"]
        assert _ids(await records(opened).around(["a"], scope(), 1)) == ["a", "b"]
        assert _ids((await records(opened).tail(place("s"), scope(), 2)).memories) == ["b", "c"]


@pytest.mark.anyio
class Scans:
    """``scan``: order, pages, filters, expiry."""

    async def test_in_the_order_they_were_recorded(self, opened: Opened) -> None:
        """'In the order they were recorded': a new version is a new record."""
        await apply(opened, put("a"), put("b"))
        await apply(opened, put("c"), put("a", "two"))
        page = await records(opened).scan(scope(), EVERYTHING, Page())
        assert (_ids(page.items), page.next) == (["b", "c", "a"], None)

    async def test_over_several_cubes(self, opened: Opened) -> None:
        """Cubes are merged in that order, not one after the other."""
        await apply(opened, put("a"))
        await apply(opened, put("b", place=place(cube="other")), cube="other")
        await apply(opened, put("c"))
        page = await records(opened).scan(scope(home="read", other="read"), EVERYTHING, Page())
        assert _ids(page.items) == ["a", "b", "c"]

    async def test_pages(self, opened: Opened) -> None:
        """'``next`` continues, None ends.'"""
        await apply(opened, *(put(f"m{n}", tags=("odd",) if n % 2 else ()) for n in range(10)))
        for where, wanted in ((EVERYTHING, range(10)), (parse({"tags": "odd"}), range(1, 10, 2))):
            seen: list[str] = []
            page = Page(2)
            while True:
                found = await records(opened).scan(scope(), where, page)
                assert len(found.items) <= 2
                seen += _ids(found.items)
                if found.next is None:
                    break
                page = Page(2, found.next)
            assert seen == [f"m{n}" for n in wanted]

    async def test_full_last_page_ends(self, opened: Opened) -> None:
        """A page that happens to be full is the last when nothing follows."""
        await apply(opened, put("a"), put("b"))
        assert (await records(opened).scan(scope(), EVERYTHING, Page(2))).next is None

    async def test_malformed_cursor(self, opened: Opened) -> None:
        """A cursor that no page gave is refused."""
        with pytest.raises(InvalidInput):
            await records(opened).scan(scope(), EVERYTHING, Page(2, "first; drop"))

    async def test_only_live_ones(self, opened: Opened) -> None:
        """'Live ones': neither retired, nor erased, nor expired."""
        await apply(
            opened, put("a"), put("b"), put("c"), put("d", expires_at=LONG_AGO),
            put("e", expires_at=FAR_OFF),
        )  # fmt: skip
        await apply(opened, retires=(Retire("b"),), erases=("c",))
        page = await records(opened).scan(scope(), EVERYTHING, Page())
        assert _ids(page.items) == ["a", "e"]

    async def test_filters(self, opened: Opened) -> None:
        """``memos.filters.matches`` says what a filter means; engines follow."""
        await apply(
            opened,
            put("a", tags=("x", "y"), info={"n": 1, "deep": {"er": "Rust"}}, speaker="Zoe"),
            put("b", tags=("y",), info={"n": 2.5, "flag": True}, place=place("s")),
            put("c", title="Straße", recorded_at=at(9)),
        )
        wanted = {
            '{"tags": "y"}': ["a", "b"],
            '{"info.n": {"gte": 1}}': ["a", "b"],
            '{"n": {"gt": 1}}': ["b"],
            '{"deep.er": {"like": "RUST"}}': ["a"],
            '{"flag": true}': ["b"],
            '{"flag": 1}': [],
            '{"session": "s"}': ["b"],
            '{"not": {"session": {"exists": true}}}': ["a", "c"],
            '{"title": {"like": "STRASSE"}}': ["c"],
            '{"recorded_at": {"gte": "2025-01-05"}}': ["c"],
            '{"or": []}': [],
            '{"and": []}': ["a", "b", "c"],
        }
        for tree, ids in wanted.items():
            page = await records(opened).scan(scope(), parse(json.loads(tree)), Page())
            assert _ids(page.items) == ids, tree


@pytest.mark.anyio
class Log:
    """``changes``: what derived indexes follow."""

    async def test_latest_state_in_log_order(self, opened: Opened) -> None:
        """'The latest state of each memory, oldest change first.'"""
        first = await apply(opened, put("a", "one"), put("b"))
        last = await apply(opened, put("c"), put("a", "two"))
        log = await records(opened).changes(0, 100)
        assert [(c.kind, c.id) for c in log] == [("put", "b"), ("put", "c"), ("put", "a")]
        assert [c.cursor for c in log] == sorted({c.cursor for c in log})
        assert [c.put.memory.text for c in log if c.put] == ["something", "something", "two"]
        assert [c.id for c in await records(opened).changes(first.cursor, 100)] == ["c", "a"]
        assert await records(opened).changes(last.cursor, 100) == []

    async def test_holds_what_indexes_need(self, opened: Opened) -> None:
        """A put in the log has the words and the vector of the memory."""
        given = put("a", "peanut butter")
        await apply(opened, given)
        (change,) = await records(opened).changes(0, 10)
        assert change.put is not None
        assert (change.account, change.cube) == ("acme", "home")
        assert dict(change.put.terms) == dict(given.terms)
        assert change.put.vector is not None
        assert given.vector is not None
        assert change.put.vector.tolist() == given.vector.tolist()

    async def test_drops(self, opened: Opened) -> None:
        """Retired and erased memories are dropped, with nothing of their text."""
        first = await apply(opened, put("a"), put("b"), put("c"))
        await apply(opened, retires=(Retire("b"),))
        await apply(opened, erases=("a",))
        log = await records(opened).changes(first.cursor, 100)
        assert [(c.kind, c.id, c.put) for c in log] == [
            (ChangeKind.DROP, "b", None),
            (ChangeKind.DROP, "a", None),
        ]
        assert [c.id for c in await records(opened).changes(0, 100)] == ["c", "b", "a"]

    async def test_over_all_cubes_in_pieces(self, opened: Opened) -> None:
        """The log is one, over accounts and cubes, and can be followed in pieces."""
        await apply(opened, put("a"))
        await apply(opened, put("b", place=place(account="rival")), account="rival")
        await apply(opened, put("c", place=place(cube="other")), cube="other")
        seen: list[tuple[str, str, str]] = []
        cursor = 0
        while piece := await records(opened).changes(cursor, 1):
            seen += [(change.account, change.cube, change.id) for change in piece]
            cursor = piece[-1].cursor
        assert seen == [("acme", "home", "a"), ("rival", "home", "b"), ("acme", "other", "c")]
