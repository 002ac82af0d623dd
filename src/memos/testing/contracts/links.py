"""What ``LinkIndex`` promises."""

from __future__ import annotations

import pytest

from memos.ports.backend import Opened
from memos.ports.stores import LinkIndex
from memos.testing.contracts.making import apply, need, place, put, scope
from memos.types import Link, Put, Retire


async def _linked(opened: Opened, *links: Link) -> LinkIndex:
    """Store a memory for every letter and the links."""
    ids = sorted({end for link in links for end in (link.source, link.target)})
    await apply(opened, *(put(id) for id in ids), links=links)
    return need(opened.links)


@pytest.mark.anyio
class Links:
    """Neighbourhoods over links, 'within a cube and the scope'."""

    async def test_both_ways_without_the_seeds(self, opened: Opened) -> None:
        """'Links are followed both ways; seeds are left out.'"""
        index = await _linked(opened, Link("a", "b", "cites"), Link("c", "a", "cites"))
        found = await index.expand(["a"], scope(), 1, [], 9)
        assert sorted(scored.id for scored in found) == ["b", "c"]
        assert await index.expand(["nobody"], scope(), 1, [], 9) == []
        assert await index.expand([], scope(), 1, [], 9) == []

    async def test_hops(self, opened: Opened) -> None:
        """'Live memories within ``hops`` links of the seeds, nearest ... first.'"""
        chain = [Link(a, b, "next") for a, b in ("ab", "bc", "cd", "da")]
        index = await _linked(opened, *chain, Link("c", "e", "next"))
        assert await index.expand(["a"], scope(), 0, [], 9) == []
        one = await index.expand(["a"], scope(), 1, [], 9)
        assert [scored.id for scored in one] == ["b", "d"]
        two = await index.expand(["a"], scope(), 2, [], 9)
        assert [scored.id for scored in two] == ["b", "d", "c"]
        three = await index.expand(["a"], scope(), 3, [], 9)
        assert [scored.id for scored in three] == ["b", "d", "c", "e"]
        assert await index.expand(["a"], scope(), 3, [], 2) == one

    async def test_heaviest_first(self, opened: Opened) -> None:
        """'Nearest and heaviest first.'"""
        index = await _linked(opened, Link("a", "b", "cites", 0.2), Link("a", "c", "cites", 0.9))
        found = await index.expand(["a"], scope(), 1, [], 9)
        assert [scored.id for scored in found] == ["c", "b"]
        assert found[0].score > found[1].score

    async def test_relations(self, opened: Opened) -> None:
        """'No relation named means any.'"""
        index = await _linked(
            opened, Link("a", "b", "cites"), Link("a", "c", "knows"), Link("c", "d", "cites")
        )
        cites = await index.expand(["a"], scope(), 2, ["cites"], 9)
        assert [scored.id for scored in cites] == ["b"]
        both = await index.expand(["a"], scope(), 2, ["cites", "knows"], 9)
        assert [scored.id for scored in both] == ["b", "c", "d"]

    async def test_live_ones_only(self, opened: Opened) -> None:
        """A retired memory is not returned, and still leads on."""
        index = await _linked(opened, Link("a", "b", "cites"), Link("b", "c", "cites"))
        await apply(opened, retires=(Retire("b"),))
        found = await index.expand(["a"], scope(), 2, [], 9)
        assert [scored.id for scored in found] == ["c"]

    async def test_within_a_cube(self, opened: Opened) -> None:
        """The same id in another cube is another memory."""
        index = await _linked(opened, Link("a", "b", "cites"))
        there: list[Put] = [put(id, place=place(cube="other")) for id in "ac"]
        await apply(opened, *there, links=(Link("a", "c", "cites"),), cube="other")
        found = await index.expand(["a"], scope(home="read", other="read"), 3, [], 9)
        assert {(scored.cube, scored.id) for scored in found} == {("home", "b"), ("other", "c")}
        mine = await index.expand(["a"], scope(), 3, [], 9)
        assert [scored.id for scored in mine] == ["b"]

    async def test_subgraph(self, opened: Opened) -> None:
        """'The links that touch one of the ids.'"""
        links = [
            Link("a", "b", "cites", 0.5), Link("a", "b", "knows"), Link("b", "a", "cites"),
            Link("b", "c", "cites"), Link("c", "c", "self"),
        ]  # fmt: skip
        index = await _linked(opened, *links)
        touching = await index.subgraph(["a"], scope())
        assert set(touching) == set(links[:3])
        assert len(touching) == 3
        assert set(await index.subgraph(["a", "c"], scope())) == set(links)
        assert await index.subgraph([], scope()) == []

    async def test_link_again(self, opened: Opened) -> None:
        """Source, target and relation name a link; adding it again sets its weight."""
        index = await _linked(opened, Link("a", "b", "cites", 0.5))
        await apply(opened, links=(Link("a", "b", "cites", 0.7),))
        assert await index.subgraph(["a"], scope()) == [Link("a", "b", "cites", 0.7)]
