"""What ``RecordStore`` promises about vectors, and about changing the model behind them."""

from __future__ import annotations

import pytest

from memos.errors import Conflict, Forbidden
from memos.filters import EVERYTHING
from memos.ports.backend import Opened
from memos.testing.contracts.making import (
    EMBEDDER,
    apply,
    at,
    need,
    plain,
    put,
    records,
    scope,
)
from memos.testing.fakes import hash_vector
from memos.types import Memory, Retire, Vector

NEW = "newer-8"


def _embedded(memories: list[Memory]) -> dict[tuple[str, int], Vector]:
    return {(m.id, m.version): hash_vector(m.text, 8) for m in memories}


@pytest.mark.anyio
class Embedders:
    """``vectors``, ``unembedded``, ``add_vectors``, ``switch_embedder``."""

    async def test_vectors(self, opened: Opened) -> None:
        """'Id -> vector by that embedder, for those that have one.'"""
        await apply(opened, put("a", "tea"), plain("b"))
        found = await records(opened).vectors(["a", "b", "nobody"], scope(), EMBEDDER)
        assert list(found) == ["a"]
        assert found["a"].tolist() == hash_vector("tea").tolist()
        assert await records(opened).vectors(["a"], scope(), NEW) == {}

    async def test_embedder(self, opened: Opened) -> None:
        """'The name of the embedder behind the cube's vectors, None while it has none.'"""
        assert await records(opened).embedder("home", scope()) is None
        await apply(opened, plain("a"))
        assert await records(opened).embedder("home", scope()) is None
        await apply(opened, put("b"))
        assert await records(opened).embedder("home", scope()) == EMBEDDER

    async def test_unembedded(self, opened: Opened) -> None:
        """'Memory versions of the cube without a vector by ``embedder``.'"""
        await apply(opened, put("a", "one"), plain("b"))
        await apply(opened, put("a", "two", recorded_at=at(1)), retires=(Retire("b"),))
        store = records(opened)
        lacking = await store.unembedded("home", scope(), NEW, 10)
        assert [(m.id, m.version) for m in lacking] == [("a", 1), ("b", 1), ("a", 2)]
        assert await store.count_unembedded("home", scope(), NEW) == 3
        assert len(await store.unembedded("home", scope(), NEW, 2)) == 2
        assert [m.id for m in await store.unembedded("home", scope(), EMBEDDER, 10)] == ["b"]

    async def test_old_vectors_serve_until_the_switch(self, opened: Opened) -> None:
        """'Store (id, version) -> vector beside the serving ones.'"""
        await apply(opened, put("a", "tea"), put("b", "rain"))
        store, nearest = records(opened), need(opened.vectors).nearest
        await store.add_vectors(
            "home", scope(), NEW, _embedded(await store.unembedded("home", scope(), NEW, 1))
        )
        assert await store.embedder("home", scope()) == EMBEDDER
        assert await store.count_unembedded("home", scope(), NEW) == 1
        assert not await store.switch_embedder("home", scope(), NEW)
        (found,) = await nearest([hash_vector("tea")], scope(), EVERYTHING, 5)
        assert [scored.id for scored in found] == ["a", "b"]

    async def test_switch(self, opened: Opened) -> None:
        """'Let ``embedder`` serve the cube, drop other vectors.'"""
        await apply(opened, put("a", "tea"), put("b", "rain"))
        store, nearest = records(opened), need(opened.vectors).nearest
        await store.add_vectors(
            "home", scope(), NEW, _embedded(await store.unembedded("home", scope(), NEW, 9))
        )
        assert await store.switch_embedder("home", scope(), NEW)
        assert await store.embedder("home", scope()) == NEW
        assert await store.vectors(["a"], scope(), EMBEDDER) == {}
        (found,) = await nearest([hash_vector("rain", 8)], scope(), EVERYTHING, 5)
        assert [scored.id for scored in found] == ["b", "a"]
        with pytest.raises(Conflict):
            await nearest([hash_vector("rain")], scope(), EVERYTHING, 5)
        with pytest.raises(Conflict):
            await apply(opened, put("c"))
        assert await store.switch_embedder("home", scope(), NEW)

    async def test_versions_that_are_gone(self, opened: Opened) -> None:
        """'Skips versions that are gone.'"""
        await apply(opened, put("a"), put("b"))
        store = records(opened)
        vectors = _embedded(await store.unembedded("home", scope(), NEW, 9))
        await apply(opened, erases=("a",))
        await store.add_vectors("home", scope(), NEW, vectors)
        await store.add_vectors("home", scope(), NEW, {})
        assert await store.switch_embedder("home", scope(), NEW)
        assert list(await store.vectors(["a", "b"], scope(), NEW)) == ["b"]

    async def test_cube_without_memories(self, opened: Opened) -> None:
        """'A cube without memories takes any embedder', one whose memories are all erased too."""
        store = records(opened)
        assert await store.switch_embedder("home", scope(), NEW)
        await apply(opened, put("a"))
        await apply(opened, erases=("a",))
        assert await store.switch_embedder("home", scope(), "third")
        await apply(opened, put("b"), embedder="fourth")
        assert await store.embedder("home", scope()) == "fourth"

    async def test_needs_a_write_grant(self, opened: Opened) -> None:
        """Changing vectors is writing."""
        await apply(opened, put("a"))
        held, store = scope(home="read"), records(opened)
        with pytest.raises(Forbidden):
            await store.add_vectors("home", held, NEW, {("a", 1): hash_vector("a", 8)})
        with pytest.raises(Forbidden):
            await store.switch_embedder("home", held, NEW)
        assert await store.count_unembedded("home", held, NEW) == 1
