"""What every reading port promises: 'All reads take a Scope and see nothing outside it.'"""

from __future__ import annotations

import pytest

from memos.errors import Forbidden
from memos.filters import EVERYTHING
from memos.ports.backend import Opened
from memos.testing.contracts.making import EMBEDDER, apply, at, need, place, put, records, scope
from memos.testing.fakes import hash_vector
from memos.types import Link, Page, Retire, Scope

_OUTSIDE = {
    "another account": Scope("rival", "tester", {"home": "write", "other": "write"}),
    "no grant": Scope("acme", "tester", {"other": "write"}),
    "no grants at all": Scope("acme", "tester", {}),
}


async def _fill(opened: Opened) -> None:
    await apply(
        opened,
        put("a", "secret tea", keys=("k",), place=place("s")),
        put("b", "secret rain", place=place("s")),
        put("gone"),
        put("old"),
        links=(Link("a", "b", "cites"),),
    )
    await apply(opened, retires=(Retire("old"),), erases=("gone",))


@pytest.mark.anyio
@pytest.mark.parametrize("who", sorted(_OUTSIDE))
class Scopes:
    """A cube without a grant does not exist; naming it is Forbidden."""

    async def test_records(self, opened: Opened, who: str) -> None:
        """Nothing comes back from reads that name memories."""
        await _fill(opened)
        store, outside = records(opened), _OUTSIDE[who]
        ids = ["a", "b", "old", "gone"]
        assert await store.get(ids, outside) == []
        assert await store.history("a", outside) == []
        assert await store.tombstones(ids, outside) == []
        assert await store.around(ids, outside, 5) == []
        assert await store.vectors(ids, outside, EMBEDDER) == {}
        assert (await store.scan(outside, EVERYTHING, Page())).items == ()
        assert (await store.scan(outside, EVERYTHING, Page(), at(1))).items == ()

    async def test_named_cubes(self, opened: Opened, who: str) -> None:
        """Reads that name a cube are Forbidden without a grant, and never cross accounts."""
        await _fill(opened)
        store, outside = records(opened), _OUTSIDE[who]
        if outside.may("home", "read"):
            assert await store.holders("home", ["k"], outside) == {}
            assert await store.embedder("home", outside) is None
            assert await store.unembedded("home", outside, "x", 5) == []
            assert await store.count_unembedded("home", outside, "x") == 0
            found = await need(opened.text).statistics(["secret"], "home", outside)
            assert (found.documents, found.frequencies) == (0, {"secret": 0})
        else:
            with pytest.raises(Forbidden):
                await store.holders("home", ["k"], outside)
            with pytest.raises(Forbidden):
                await store.embedder("home", outside)
            with pytest.raises(Forbidden):
                await store.unembedded("home", outside, "x", 5)
            with pytest.raises(Forbidden):
                await store.count_unembedded("home", outside, "x")
            with pytest.raises(Forbidden):
                await need(opened.text).statistics(["secret"], "home", outside)
        with pytest.raises(Forbidden):
            await store.tail(place("s"), outside, 5)

    async def test_indexes(self, opened: Opened, who: str) -> None:
        """No lane nominates what the scope does not hold."""
        await _fill(opened)
        outside = _OUTSIDE[who]
        vector = hash_vector("secret tea")
        assert await need(opened.vectors).nearest([vector], outside, EVERYTHING, 9) == [[]]
        assert await need(opened.text).match(["secret"], outside, EVERYTHING, 9) == []
        assert await need(opened.links).expand(["a"], outside, 2, [], 9) == []
        assert await need(opened.links).subgraph(["a", "b"], outside) == []

    async def test_own_data_beside_it(self, opened: Opened, who: str) -> None:
        """The same ids in a cube of one's own are other memories."""
        await _fill(opened)
        outside = _OUTSIDE[who]
        mine = place(cube="other", account=outside.account)
        await apply(opened, put("a", "mine", place=mine), account=outside.account, cube="other")
        found = await records(opened).get(["a"], scope(outside.account, other="read"))
        assert [memory.text for memory in found] == ["mine"]
        whole = await records(opened).scan(outside, EVERYTHING, Page())
        assert [memory.text for memory in whole.items] == (["mine"] if outside.grants else [])
