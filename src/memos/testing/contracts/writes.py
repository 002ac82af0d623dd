"""What ``RecordStore.apply`` promises."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from memos.errors import Conflict, Forbidden, InvalidInput, MemosError, NotFound
from memos.filters import EVERYTHING
from memos.ports.backend import Opened
from memos.testing.contracts.making import (
    FAR_OFF,
    START,
    apply,
    at,
    batch,
    need,
    place,
    plain,
    put,
    records,
    scope,
    texts,
)
from memos.testing.fakes import hash_vector
from memos.types import Batch, Head, Job, Link, Page, Put, Retire


def _failing() -> dict[str, Callable[[], Batch]]:
    """Return batches that fail at their very end, each after a put that would have been fine."""
    return {
        "retire": lambda: batch(put("new"), retires=(Retire("nobody"),)),
        "erase": lambda: batch(put("new"), erases=("known", "nobody")),
        "link": lambda: batch(put("new"), links=(Link("new", "nobody", "cites"),)),
        "expect": lambda: batch(put("new"), expect={"known": 7}),
        "head": lambda: batch(put("new"), heads=(Head(place("s"), 3),)),
        "embedder": lambda: batch(put("new"), embedder="another"),
    }


@pytest.mark.anyio
class Atomicity:
    """``apply`` writes all of a batch or nothing of it, and once."""

    @pytest.mark.parametrize("part", sorted(_failing()))
    async def test_failing_batch_writes_nothing(self, opened: Opened, part: str) -> None:
        """'Applied as a whole or not at all.'"""
        before = await apply(opened, put("known", keys=("k",)))
        with pytest.raises(MemosError):
            await records(opened).apply(_failing()[part](), scope())
        assert await texts(opened, ["known", "new"]) == ["something"]
        assert await records(opened).changes(before.cursor, 10) == []
        assert await records(opened).holders("home", ["k"], scope()) == {"k": "known"}

    async def test_failing_batch_can_be_repeated(self, opened: Opened) -> None:
        """A batch id is spent by success alone."""
        with pytest.raises(NotFound):
            await apply(opened, put("a"), id="b1", retires=(Retire("nobody"),))
        assert not (await apply(opened, put("a"), id="b1")).repeated

    async def test_jobs_are_committed_with_the_change(self, opened: Opened) -> None:
        """'Follow-up work, committed with the change.'"""
        job = Job("j1", "digest", "acme", "home", {})
        with pytest.raises(NotFound):
            await apply(opened, retires=(Retire("nobody"),), jobs=(job,))
        assert (await need(opened.jobs).stats()).waiting == 0
        await apply(opened, put("a"), jobs=(job,))
        assert (await need(opened.jobs).stats()).waiting == 1

    async def test_once_per_batch_id(self, opened: Opened) -> None:
        """'Once per cube and batch id.'"""
        first = await apply(opened, put("a"), put("b"), id="b1")
        again = await apply(opened, put("c"), id="b1")
        assert (again.repeated, again.ids, again.cursor) == (True, ("a", "b"), first.cursor)
        assert await texts(opened, ["c"]) == []
        assert [m.version for m in await records(opened).get(["a"], scope())] == [1]

    async def test_without_a_batch_id(self, opened: Opened) -> None:
        """A batch without an id is a change of its own every time."""
        await apply(opened, put("a", "one"), id=None)
        again = await apply(opened, put("a", "two"), id=None)
        assert not again.repeated
        assert await texts(opened, ["a"]) == ["two"]

    async def test_batch_ids_belong_to_their_cube(self, opened: Opened) -> None:
        """Two users who call their batches alike do not swallow each other's."""
        await apply(opened, put("a"), id="b1")
        other = put("b", place=place(cube="other"))
        assert not (await apply(opened, other, id="b1", cube="other")).repeated
        far = put("c", place=place(account="rival"))
        assert not (await apply(opened, far, id="b1", account="rival")).repeated

    async def test_empty_batch(self, opened: Opened) -> None:
        """A batch without parts changes nothing, and has a receipt."""
        first = await apply(opened, put("a"))
        assert (await apply(opened)).cursor == first.cursor

    async def test_parts_belong_together(self, opened: Opened) -> None:
        """'The cube that every part of the batch belongs to.'"""
        strange: list[Batch] = [
            batch(put("a", place=place(cube="other"))),
            batch(put("a", place=place(account="rival"))),
            batch(put("a"), jobs=(Job("j", "l", "acme", "other", {}),)),
            batch(put("a"), embedder=None),
            batch(put("a"), Put(put("b").memory, hash_vector("b", 8), {})),
        ]
        for wrong in strange:
            with pytest.raises(InvalidInput):
                await records(opened).apply(wrong, scope())
        assert await texts(opened, ["a", "b"]) == []

    async def test_needs_a_write_grant(self, opened: Opened) -> None:
        """'Forbidden: The scope may not write the cube.'"""
        for held in (scope(home="read"), scope(other="write"), scope("rival", home="write")):
            with pytest.raises(Forbidden):
                await records(opened).apply(batch(put("a")), held)
        assert await texts(opened, ["a"]) == []


@pytest.mark.anyio
class Puts:
    """What becomes of a put: versions, duplicate keys, expectations."""

    async def test_known_id_makes_a_new_version(self, opened: Opened) -> None:
        """'A put whose id exists makes a new version.'"""
        await apply(opened, put("a", "one"))
        receipt = await apply(opened, put("a", "two", recorded_at=at(1)))
        (found,) = await records(opened).get(["a"], scope())
        assert (found.text, found.version, found.recorded_at) == ("two", 2, at(1))
        assert (receipt.ids, receipt.stored) == (("a",), (True,))

    async def test_same_id_twice_in_a_batch(self, opened: Opened) -> None:
        """Puts happen in their order."""
        await apply(opened, put("a", "one"), put("a", "two"))
        assert await texts(opened, ["a"]) == ["two"]

    @pytest.mark.parametrize("fresh", [False, True])
    async def test_held_key(self, opened: Opened, *, fresh: bool) -> None:
        """'A put of a new id one of whose keys is held ... writes nothing.'"""
        await apply(opened, put("a", keys=("k1", "k2")))
        puts = put("b", keys=("k0", "k2")), put("c", keys=("k0",))
        receipt = await apply(opened, *(replace(put, fresh=fresh) for put in puts))
        assert (receipt.ids, receipt.stored) == (("a", "c"), (False, True))
        assert await texts(opened, ["b"]) == []
        held = await records(opened).holders("home", ["k0", "k1", "k2", "k9"], scope())
        assert held == {"k0": "c", "k1": "a", "k2": "a"}

    @pytest.mark.parametrize("fresh", [False, True])
    async def test_held_key_within_a_batch(self, opened: Opened, *, fresh: bool) -> None:
        """The first put of a batch holds a key against the later ones."""
        puts = put("a", keys=("k",)), put("b", keys=("k",)), put("c", keys=("k2",))
        receipt = await apply(opened, *(replace(put, fresh=fresh) for put in puts))
        assert (receipt.ids, receipt.stored) == (("a", "a", "c"), (True, False, True))
        held = await records(opened).holders("home", ["k", "k2"], scope())
        assert held == {"k": "a", "k2": "c"}

    async def test_held_key_takes_no_others(self, opened: Opened) -> None:
        """A put that writes nothing takes no keys, and one key named twice is one."""
        await apply(opened, put("a", keys=("k1", "k1")))
        await apply(opened, put("b", keys=("k0", "k1", "k2")))
        held = await records(opened).holders("home", ["k0", "k1", "k2"], scope())
        assert held == {"k1": "a"}
        assert await texts(opened, ["a", "b"]) == ["something"]

    async def test_new_version_takes_its_keys_over(self, opened: Opened) -> None:
        """'A new version takes its keys over from whoever held them.'"""
        await apply(opened, put("a", keys=("k0", "k1")), put("b"))
        await apply(opened, put("b", keys=("k1",)))
        assert await records(opened).holders("home", ["k0", "k1"], scope()) == {
            "k0": "a",
            "k1": "b",
        }
        await apply(opened, retires=(Retire("a"),))
        assert await records(opened).holders("home", ["k0", "k1"], scope()) == {"k1": "b"}

    async def test_keys_end_with_their_memory(self, opened: Opened) -> None:
        """'Held by a live memory': retiring, erasing and new versions let go of keys."""
        await apply(opened, *(put(id, keys=(f"k-{id}",)) for id in ("a", "b", "c")))
        await apply(opened, put("c"), retires=(Retire("a"),), erases=("b",))
        assert await records(opened).holders("home", ["k-a", "k-b", "k-c"], scope()) == {}
        receipt = await apply(opened, put("d", keys=("k-a", "k-b", "k-c")))
        assert receipt.stored == (True,)

    async def test_retired_from_the_start(self, opened: Opened) -> None:
        """A put may bring a memory that is history already; it holds no keys."""
        await apply(opened, put("a", keys=("k",), retired_at=at(3)))
        assert await records(opened).holders("home", ["k"], scope()) == {}
        found = await records(opened).scan(scope(), EVERYTHING, Page())
        assert found.items == ()

    async def test_keys_belong_to_their_cube(self, opened: Opened) -> None:
        """'Unique within a cube.'"""
        await apply(opened, put("a", keys=("k",)))
        receipt = await apply(
            opened, put("b", keys=("k",), place=place(cube="other")), cube="other"
        )
        assert receipt.stored == (True,)

    async def test_expected_versions(self, opened: Opened) -> None:
        """'Memory id -> the version it must have now (0: must not exist).'"""
        await apply(opened, put("a"), expect={"a": 0})
        await apply(opened, put("a"), expect={"a": 1})
        for wrong in ({"a": 0}, {"a": 1}, {"a": 3}, {"b": 1}):
            with pytest.raises(Conflict) as caught:
                await apply(opened, put("c"), expect=wrong)
            assert caught.value.code == ("exists" if 0 in wrong.values() else "version_moved")

    async def test_other_embedder(self, opened: Opened) -> None:
        """'Conflict: ... the embedder of the cube does not hold.'"""
        await apply(opened, plain("a"), embedder="another")
        await apply(opened, put("b"))
        with pytest.raises(Conflict) as caught:
            await apply(opened, put("c"), embedder="another")
        assert caught.value.code == "embedder_mismatch"
        assert "reindex" in caught.value.detail
        await apply(opened, plain("d"), embedder="another")
        assert await records(opened).embedder("home", scope()) == "hash-32"

    async def test_other_dimensions(self, opened: Opened) -> None:
        """Equal names promise comparable vectors."""
        await apply(opened, put("a"))
        with pytest.raises(Conflict):
            await apply(opened, Put(put("b").memory, hash_vector("b", 8), {}))

    async def test_erased_id(self, opened: Opened) -> None:
        """The id of an erased memory is not used again."""
        await apply(opened, put("a"))
        await apply(opened, erases=("a",))
        with pytest.raises(Conflict) as caught:
            await apply(opened, put("a"))
        assert caught.value.code == "erased"

    async def test_everything_comes_back(self, opened: Opened) -> None:
        """A memory is read as it was written, whatever its text."""
        text = "naïve 記憶 👩‍👩‍👧 \u202e \U0010fffd\n\t\\\" '"
        given = put(
            text, text, title=text, tags=(text,), speaker=text, keys=(text,), expires_at=FAR_OFF,
            place=place(text), info={text: [None, True, -1.5, {"": text}], "n": 2**53},
        )  # fmt: skip
        await apply(opened, given)
        (found,) = await records(opened).get([text], scope())
        assert found.position == 0
        assert found.recorded_at == START
        assert (found.text, found.title, found.tags, found.speaker) == (text, text, (text,), text)
        assert (found.keys, found.place, found.info) == ((text,), place(text), given.memory.info)
        assert found.expires_at == FAR_OFF


@pytest.mark.anyio
class Positions:
    """The order of memories in their sessions."""

    async def test_positions_follow_the_session(self, opened: Opened) -> None:
        """'Positions left open are given out in the order of the puts.'"""
        await apply(opened, put("a", place=place("s")), put("b", place=place("s")))
        await apply(opened, put("x", place=place("t")), put("c", place=place("s")), put("loose"))
        found = await records(opened).get(["a", "b", "c", "x", "loose"], scope())
        assert [memory.position for memory in found] == [0, 1, 2, 0, None]

    async def test_positions_can_be_given(self, opened: Opened) -> None:
        """A given position stands, and the next open one follows the last."""
        await apply(opened, put("a", place=place("s"), position=10), put("b", place=place("s")))
        await apply(opened, put("c", place=place("s"), position=4), put("d", place=place("s")))
        found = await records(opened).get(["a", "b", "c", "d"], scope())
        assert [memory.position for memory in found] == [10, 11, 4, 12]

    async def test_new_version_keeps_its_position(self, opened: Opened) -> None:
        """A change does not move a memory to the end of its session."""
        await apply(opened, put("a", place=place("s")), put("b", place=place("s")))
        await apply(opened, put("a", "two", place=place("s")))
        tail = await records(opened).tail(place("s"), scope(), 5)
        assert [(m.id, m.position) for m in tail.memories] == [("a", 0), ("b", 1)]

    async def test_heads(self, opened: Opened) -> None:
        """'Sessions that must not have grown meanwhile.'"""
        await apply(opened, put("a", place=place("s")), heads=(Head(place("s"), None),))
        await apply(opened, put("b", place=place("s")), heads=(Head(place("s"), 0),))
        for position in (None, 0, 2):
            with pytest.raises(Conflict) as caught:
                await apply(opened, put("c"), heads=(Head(place("s"), position),))
            assert caught.value.code == "head_moved"

    async def test_retired_turns_still_count_for_the_head(self, opened: Opened) -> None:
        """Retiring the last turn does not give its position away."""
        await apply(opened, put("a", place=place("s")))
        await apply(opened, put("b", place=place("s")), retires=(Retire("a"),))
        (found,) = await records(opened).get(["b"], scope())
        assert found.position == 1
