"""What ``RecordStore`` promises about the past: versions, retiring, erasing, ``as_of``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from memos.errors import NotFound
from memos.filters import EVERYTHING, parse
from memos.ports.backend import Opened
from memos.testing.contracts.making import (
    START,
    apply,
    at,
    need,
    place,
    put,
    records,
    scope,
)
from memos.types import Job, Link, Page, Retire, Source


async def _as_of(opened: Opened, instant: datetime, tree: object = None) -> list[str]:
    page = await records(opened).scan(scope(), parse(tree), Page(), instant)
    return [found.text for found in page.items]


@pytest.mark.anyio
class History:
    """Versions and retirement."""

    async def test_versions_oldest_first(self, opened: Opened) -> None:
        """'All versions, oldest first', each with the time at which it stopped to be current."""
        await apply(opened, put("a", "one"))
        await apply(opened, put("a", "two", recorded_at=at(2)))
        await apply(opened, put("a", "three", recorded_at=at(5)))
        history = await records(opened).history("a", scope())
        assert [(m.text, m.version, m.recorded_at, m.retired_at) for m in history] == [
            ("one", 1, START, at(2)),
            ("two", 2, at(2), at(5)),
            ("three", 3, at(5), None),
        ]

    async def test_of_nothing(self, opened: Opened) -> None:
        """'Empty for unknown and erased ids.'"""
        await apply(opened, put("a"))
        await apply(opened, erases=("a",))
        assert await records(opened).history("a", scope()) == []
        assert await records(opened).history("nobody", scope()) == []

    async def test_retire(self, opened: Opened) -> None:
        """'Hide a memory and keep its history.'"""
        before = datetime.now(UTC) - timedelta(seconds=1)
        await apply(opened, put("a", "one"))
        await apply(opened, retires=(Retire("a"),))
        (found,) = await records(opened).get(["a"], scope())
        assert (found.status, found.version, found.superseded_by) == ("archived", 1, None)
        assert found.retired_at is not None
        assert before < found.retired_at < datetime.now(UTC) + timedelta(seconds=1)
        assert [m.text for m in await records(opened).history("a", scope())] == ["one"]
        page = await records(opened).scan(scope(), EVERYTHING, Page())
        assert page.items == ()

    async def test_superseded_by(self, opened: Opened) -> None:
        """'``superseded_by`` names its successor.'"""
        await apply(opened, put("a"))
        await apply(opened, put("b"), retires=(Retire("a", superseded_by="b"),))
        (found,) = await records(opened).get(["a"], scope())
        assert found.superseded_by == "b"

    async def test_retire_again(self, opened: Opened) -> None:
        """Retiring a retired memory changes nothing."""
        await apply(opened, put("a"))
        first = await apply(opened, retires=(Retire("a"),))
        again = await apply(opened, retires=(Retire("a", superseded_by="b"),))
        (found,) = await records(opened).get(["a"], scope())
        assert (again.cursor, found.superseded_by) == (first.cursor, None)

    async def test_retire_unknown(self, opened: Opened) -> None:
        """'Retiring or erasing an unknown id is NotFound'; an erased one is unknown to it."""
        with pytest.raises(NotFound):
            await apply(opened, retires=(Retire("nobody"),))
        await apply(opened, put("a"))
        await apply(opened, erases=("a",))
        with pytest.raises(NotFound):
            await apply(opened, retires=(Retire("a"),))

    async def test_put_after_retire(self, opened: Opened) -> None:
        """A new version of a retired memory is live; what came before stays retired."""
        await apply(opened, put("a", "one"))
        await apply(opened, retires=(Retire("a"),))
        await apply(opened, put("a", "two"))
        history = await records(opened).history("a", scope())
        assert [m.retired_at is None for m in history] == [False, True]
        assert await _as_of(opened, datetime.now(UTC)) == ["two"]

    async def test_as_of(self, opened: Opened) -> None:
        """'Those live at ``as_of``': recorded by then, and not ended by then."""
        await apply(opened, put("a", "one"), put("b", "other", recorded_at=at(1)))
        await apply(opened, put("a", "two", recorded_at=at(2)))
        await apply(opened, retires=(Retire("b"),))
        assert await _as_of(opened, at(-1)) == []
        assert await _as_of(opened, at(0)) == ["one"]
        assert await _as_of(opened, at(1)) == ["one", "other"]
        assert await _as_of(opened, at(2)) == ["other", "two"]
        assert await _as_of(opened, datetime.now(UTC) + timedelta(seconds=1)) == ["two"]

    async def test_as_of_knows_nothing_of_later(self, opened: Opened) -> None:
        """Read as of then, a memory does not tell that it was retired since; filters agree."""
        await apply(opened, put("a"))
        await apply(opened, put("b"), retires=(Retire("a", superseded_by="b"),))
        page = await records(opened).scan(scope(), EVERYTHING, Page(), at(1))
        found = page.items[0]
        assert (found.status, found.retired_at, found.superseded_by) == ("activated", None, None)
        assert len(await _as_of(opened, at(1), {"status": "activated"})) == 2
        assert await _as_of(opened, at(1), {"retired_at": {"exists": True}}) == []

    async def test_as_of_expiry(self, opened: Opened) -> None:
        """Expiry is judged at ``as_of`` too."""
        await apply(opened, put("a", "milk", expires_at=at(3)))
        assert await _as_of(opened, at(2)) == ["milk"]
        assert await _as_of(opened, at(3)) == []

    async def test_as_of_pages(self, opened: Opened) -> None:
        """The past comes in pages as the present does."""
        await apply(opened, *(put(f"m{n}", str(n)) for n in range(5)))
        await apply(opened, *(put(f"m{n}", "new", recorded_at=at(4)) for n in range(5)))
        first = await records(opened).scan(scope(), EVERYTHING, Page(3), at(1))
        rest = await records(opened).scan(scope(), EVERYTHING, Page(3, first.next), at(1))
        assert [m.text for m in (*first.items, *rest.items)] == ["0", "1", "2", "3", "4"]
        assert rest.next is None


@pytest.mark.anyio
class Erasure:
    """``erases``: 'ids whose every trace goes, but for a tombstone'."""

    async def test_every_version_goes(self, opened: Opened) -> None:
        """No read finds it again, now or as of then."""
        await apply(
            opened, put("a", "one", keys=("k",), place=place("s")), put("b", place=place("s"))
        )
        await apply(opened, put("a", "two", recorded_at=at(2), place=place("s")))
        await apply(opened, erases=("a",))
        store = records(opened)
        assert await store.get(["a"], scope()) == []
        assert await store.history("a", scope()) == []
        assert await _as_of(opened, at(1)) == ["something"]
        assert [m.id for m in (await store.tail(place("s"), scope(), 5)).memories] == ["b"]
        assert [m.id for m in await store.around(["b"], scope(), 5)] == ["b"]
        assert await store.holders("home", ["k"], scope()) == {}
        assert await store.vectors(["a"], scope(), "hash-32") == {}

    async def test_tombstone(self, opened: Opened) -> None:
        """'All that is left of an erased memory.'"""
        before = datetime.now(UTC) - timedelta(seconds=1)
        await apply(opened, put("a"), put("b"))
        await apply(opened, erases=("a",))
        (stone,) = await records(opened).tombstones(["a", "b", "nobody"], scope())
        assert stone.id == "a"
        assert before < stone.erased_at < datetime.now(UTC) + timedelta(seconds=1)

    async def test_can_be_repeated(self, opened: Opened) -> None:
        """'Erasing an erased id does nothing, so that an interrupted erase can be repeated.'"""
        await apply(opened, put("a"))
        await apply(opened, erases=("a",))
        stones = await records(opened).tombstones(["a"], scope())
        await apply(opened, erases=("a",))
        assert await records(opened).tombstones(["a"], scope()) == stones

    async def test_unknown(self, opened: Opened) -> None:
        """'Retiring or erasing an unknown id is NotFound.'"""
        with pytest.raises(NotFound):
            await apply(opened, erases=("nobody",))
        await apply(opened, put("a"))
        await apply(opened, put("b", place=place(cube="other")), cube="other")
        with pytest.raises(NotFound):
            await apply(opened, erases=("b",))

    async def test_retired_ones_too(self, opened: Opened) -> None:
        """What was retired can be erased."""
        await apply(opened, put("a"))
        await apply(opened, retires=(Retire("a"),))
        await apply(opened, erases=("a",))
        assert await records(opened).history("a", scope()) == []

    async def test_links_go(self, opened: Opened) -> None:
        """No link leads to it or from it."""
        links = (Link("a", "b", "cites"), Link("b", "a", "cites"), Link("b", "c", "cites"))
        await apply(opened, put("a"), put("b"), put("c"), links=links)
        await apply(opened, erases=("a",))
        assert await need(opened.links).subgraph(["a", "b", "c"], scope()) == [links[2]]

    async def test_jobs_about_it_go(self, opened: Opened) -> None:
        """Waiting work about it is dropped; other work stays."""
        jobs = tuple(
            Job(id, "digest", "acme", "home", {}, scope_key=id, memories=(id,)) for id in "ab"
        )
        await apply(opened, put("a"), put("b"), jobs=jobs)
        await apply(opened, erases=("a",))
        leased = await need(opened.jobs).lease(5, timedelta(minutes=1))
        assert [job.id for job in leased] == ["b"]

    async def test_jobs_about_several_go_whole(self, opened: Opened) -> None:
        """What is left of a dropped job does not take later work with it."""
        first = Job("first", "digest", "acme", "home", {}, memories=("a", "b"))
        await apply(opened, put("a"), put("b"), jobs=(first,))
        await apply(opened, erases=("a",))
        await apply(opened, jobs=(Job("later", "digest", "acme", "home", {}),))
        await apply(opened, erases=("b",))
        leased = await need(opened.jobs).lease(5, timedelta(minutes=1))
        assert [job.id for job in leased] == ["later"]

    async def test_links_to_it_are_refused(self, opened: Opened) -> None:
        """An erased memory is unknown to new links."""
        await apply(opened, put("a"), put("b"))
        await apply(opened, erases=("a",))
        with pytest.raises(NotFound):
            await apply(opened, links=(Link("b", "a", "cites"),))

    async def test_files_behind_it_go(self, opened: Opened) -> None:
        """A file that holds the erased text is removed, whoever else cites it."""
        blobs = need(opened.blobs)
        digest = await blobs.put("acme", b"the whole document")
        kept = await blobs.put("acme", b"another one")
        cited = put("a", "document", sources=(Source(type="file", blob=digest),))
        await apply(opened, cited, put("b"))
        await apply(opened, erases=("a",))
        with pytest.raises(NotFound):
            await blobs.open("acme", digest)
        assert await blobs.open("acme", kept) == b"another one"
