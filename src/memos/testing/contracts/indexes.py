"""What ``VectorIndex`` and ``TextIndex`` promise."""

from __future__ import annotations

import pytest

from memos.analysis import count_terms
from memos.filters import EVERYTHING, parse
from memos.ports.backend import Opened
from memos.testing.contracts.making import apply, need, place, plain, put, records, scope
from memos.testing.fakes import hash_vector
from memos.types import Put, Retire, Scored


async def _follow(opened: Opened) -> None:
    """Bring the indexes up to the log, twice: 'repeated changes are harmless'."""
    log = await records(opened).changes(0, 10_000)
    for _ in range(2):
        await need(opened.vectors).sync(log)
        await need(opened.text).sync(log)


async def _fill(opened: Opened, *puts: Put) -> None:
    await apply(opened, *puts)
    await _follow(opened)


def _ids(found: list[Scored]) -> list[str]:
    return [scored.id for scored in found]


def _terms(text: str) -> list[str]:
    return list(count_terms(text))


@pytest.mark.anyio
class Nearest:
    """``nearest``: 'nearest neighbours by inner product; filters apply before the limit'."""

    async def test_best_first(self, opened: Opened) -> None:
        """'For each query vector its nearest live memories, best first.'"""
        await _fill(opened, put("a", "green tea"), put("b", "green rain"), put("c", "old stone"))
        queries = [hash_vector("green tea"), hash_vector("stone")]
        first, second = await need(opened.vectors).nearest(queries, scope(), EVERYTHING, 2)
        assert _ids(first) == ["a", "b"]
        assert first[0].score == pytest.approx(1.0, abs=1e-5)
        assert first[1].score == pytest.approx(
            float(hash_vector("green tea") @ hash_vector("green rain")), abs=1e-5
        )
        assert _ids(second)[0] == "c"

    async def test_nothing_asked_or_stored(self, opened: Opened) -> None:
        """No query gives no list, no memory an empty one."""
        assert await need(opened.vectors).nearest([], scope(), EVERYTHING, 2) == []
        assert await need(opened.vectors).nearest([hash_vector("a")], scope(), EVERYTHING, 2) == [
            []
        ]

    async def test_filter_before_the_limit(self, opened: Opened) -> None:
        """A filter does not eat up the candidates."""
        await _fill(
            opened,
            *(put(f"near{n}", "green tea") for n in range(20)),
            *(put(f"far{n}", f"stone {n}", tags=("x",), place=place("s")) for n in range(3)),
        )
        for tree in ({"tags": "x"}, {"session": "s"}, {"and": [{"tags": "x"}, {"session": "s"}]}):
            (found,) = await need(opened.vectors).nearest(
                [hash_vector("green tea")], scope(), parse(tree), 3
            )
            assert sorted(_ids(found)) == ["far0", "far1", "far2"]

    async def test_live_ones_only(self, opened: Opened) -> None:
        """Retired, erased and superseded versions are not found."""
        await _fill(opened, put("a", "green tea"), put("b", "green tea"), put("c", "green tea"))
        await apply(opened, put("c", "old stone"), retires=(Retire("a"),), erases=("b",))
        await _follow(opened)
        (found,) = await need(opened.vectors).nearest(
            [hash_vector("green tea")], scope(), EVERYTHING, 9
        )
        assert _ids(found) == ["c"]
        assert found[0].score < 0.9

    async def test_without_a_vector(self, opened: Opened) -> None:
        """'None when it is not to be found by meaning.'"""
        await _fill(opened, plain("a", "green tea"))
        query = [hash_vector("green tea")]
        assert await need(opened.vectors).nearest(query, scope(), EVERYTHING, 9) == [[]]
        await _fill(opened, put("b", "old stone"))
        (found,) = await need(opened.vectors).nearest(query, scope(), EVERYTHING, 9)
        assert _ids(found) == ["b"]

    async def test_over_several_cubes(self, opened: Opened) -> None:
        """The cubes of a scope are ranked together."""
        await _fill(opened, put("a", "green tea"), put("b", "stone"))
        await apply(opened, put("a", "green rain", place=place(cube="other")), cube="other")
        await _follow(opened)
        held = scope(home="read", other="read")
        (found,) = await need(opened.vectors).nearest(
            [hash_vector("green tea")], held, EVERYTHING, 2
        )
        assert [(scored.cube, scored.id) for scored in found] == [("home", "a"), ("other", "a")]


@pytest.mark.anyio
class Match:
    """'Candidates by words; document frequencies are a cube's own.'"""

    async def test_any_of_the_terms(self, opened: Opened) -> None:
        """'Live memories that hold any of the terms, best first.'"""
        await _fill(
            opened,
            put("a", "tea and rain"),
            put("b", "tea"),
            put("c", "stone"),
            put("d", "rain tea rain"),
        )
        found = await need(opened.text).match(_terms("tea rain"), scope(), EVERYTHING, 9)
        assert set(_ids(found)) == {"a", "b", "d"}
        assert _ids(found)[0] == "d"
        assert all(scored.score > 0 for scored in found)
        assert await need(opened.text).match(["unheard"], scope(), EVERYTHING, 9) == []
        assert await need(opened.text).match([], scope(), EVERYTHING, 9) == []

    async def test_rare_words_count_more(self, opened: Opened) -> None:
        """BM25: the word that few memories hold decides."""
        common = [put(f"m{n}", "tea") for n in range(5)]
        await _fill(opened, *common, put("rare", "ruby"))
        found = await need(opened.text).match(_terms("tea ruby"), scope(), EVERYTHING, 1)
        assert _ids(found) == ["rare"]

    async def test_neighbours_do_not_take_the_places(self, opened: Opened) -> None:
        """Turns between others that hold the words are not matches, whatever an engine scores."""
        said = ["tea", "nothing", "tea", "nothing", "tea"]
        await _fill(opened, *(put(f"t{n}", text, place=place("s")) for n, text in enumerate(said)))
        for limit in (1, 2, 3, 9):
            found = await need(opened.text).match(["tea"], scope(), EVERYTHING, limit)
            assert len(found) == min(limit, 3)
            assert set(_ids(found)) <= {"t0", "t2", "t4"}

    async def test_filter_before_the_limit(self, opened: Opened) -> None:
        """A filter does not eat up the candidates."""
        await _fill(
            opened,
            *(put(f"good{n}", "tea") for n in range(20)),
            *(put(f"weak{n}", "tea with many other words around", tags=("x",)) for n in range(3)),
        )
        found = await need(opened.text).match(["tea"], scope(), parse({"tags": "x"}), 3)
        assert sorted(_ids(found)) == ["weak0", "weak1", "weak2"]

    async def test_languages(self, opened: Opened) -> None:
        """Terms are the analysis's; an index stores and compares them as they are."""
        await _fill(
            opened, put("zh", "我喜欢喝绿茶"), put("emoji", "party 🎉"), put("code", "user_id")
        )
        for text, id in (
            ("绿茶", "zh"),
            ("🎉", "emoji"),
            ("user_id", "code"),
            ("PARTIES", "emoji"),
        ):
            found = await need(opened.text).match(_terms(text), scope(), EVERYTHING, 9)
            assert _ids(found) == [id], text

    async def test_live_ones_only(self, opened: Opened) -> None:
        """Retired, erased and superseded versions are neither found nor counted."""
        await _fill(opened, put("a", "tea"), put("b", "tea"), put("c", "tea"), put("d", "tea"))
        await apply(opened, put("c", "stone"), retires=(Retire("a"),), erases=("b",))
        await _follow(opened)
        assert _ids(await need(opened.text).match(["tea"], scope(), EVERYTHING, 9)) == ["d"]
        counted = await need(opened.text).statistics(["tea"], "home", scope())
        assert (counted.documents, counted.frequencies) == (2, {"tea": 1})

    async def test_statistics(self, opened: Opened) -> None:
        """'The frequencies of ``terms`` among the live memories of a cube.'"""
        await _fill(opened, put("a", "tea tea rain"), put("b", "tea"), put("c", ""))
        await apply(opened, put("x", "tea", place=place(cube="other")), cube="other")
        await _follow(opened)
        held = scope(home="read", other="read")
        counted = await need(opened.text).statistics(["tea", "rain", "unheard"], "home", held)
        assert counted.documents == 3
        assert counted.mean_length == pytest.approx(4 / 3)
        assert counted.frequencies == {"tea": 2, "rain": 1, "unheard": 0}

    async def test_statistics_of_nothing(self, opened: Opened) -> None:
        """A cube without memories has no documents."""
        counted = await need(opened.text).statistics(["tea"], "home", scope())
        assert (counted.documents, counted.mean_length) == (0, 0.0)
        assert counted.frequencies == {"tea": 0}

    async def test_frequencies_are_the_cubes_own(self, opened: Opened) -> None:
        """A word that is common in one cube is rare in another."""
        await _fill(opened, *(put(f"m{n}", "tea") for n in range(9)), put("r", "ruby"))
        other = [put("t", "tea", place=place(cube="other"))]
        other += [put(f"r{n}", "ruby", place=place(cube="other")) for n in range(9)]
        await apply(opened, *other, cube="other")
        await _follow(opened)
        held = scope(home="read", other="read")
        found = await need(opened.text).match(["tea", "rubi"], held, EVERYTHING, 2)
        assert {(scored.cube, scored.id) for scored in found} == {("home", "r"), ("other", "t")}
