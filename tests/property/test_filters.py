"""The JSON form of filters: there and back, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memos.errors import InvalidInput
from memos.filters import Filter, matches, parse, selects_everything
from memos.testing import strategies as some
from memos.types import Memory


@settings(max_examples=100)
@given(where=some.filters())
def test_round_trip(where: Filter) -> None:
    assert repr(parse(some.as_json(where))) == repr(where)


@settings(max_examples=100)
@given(where=some.filters(), memory=some.memories())
def test_algebra(where: Filter, memory: Memory) -> None:
    tree = some.as_json(where)
    held = matches(where, memory)
    assert matches(parse({"not": tree}), memory) is not held
    assert matches(parse({"and": [tree, {}]}), memory) is held
    assert matches(parse({"or": [tree, {"or": []}]}), memory) is held
    assert matches(parse({"AND": [tree, {"NOT": tree}]}), memory) is False
    assert matches(parse({"or": [tree, {"not": tree}]}), memory) is True


@settings(max_examples=100)
@given(memory=some.memories(), value=some.scalars())
def test_opposites(memory: Memory, value: object) -> None:
    for name in ("n", "info.topic", "deep.er", "title", "tags", "expires_at"):
        if name == "expires_at":
            value = datetime(2025, 1, 6, tzinfo=UTC).isoformat()
        equal = matches(parse({name: {"eq": value}}), memory)
        assert matches(parse({name: {"ne": value}}), memory) is not equal
        assert matches(parse({name: {"in": [value]}}), memory) is equal
        assert matches(parse({name: value}), memory) is equal


@given(
    tree=st.recursive(
        st.just({}), lambda inner: st.lists(inner, max_size=3).map(lambda parts: {"and": parts})
    )
)
def test_every_form_of_nothing_is_known_as_such(tree: object) -> None:  # fmt: skip
    assert selects_everything(parse(tree))


@pytest.mark.parametrize(
    ("tree", "everything"),
    [
        ({"or": [{}, {"tags": "x"}]}, True),
        ({"or": [{"tags": "x"}, {"and": []}]}, True),
        ({"not": {"or": []}}, True),
        ({"not": {"id": {"in": []}}}, True),
        ({"not": {"and": [{"tags": "x"}, {"or": []}]}}, True),
        ({"not": {"not": {}}}, True),
        ({"and": [{}, {"tags": "x"}]}, False),
        ({"or": []}, False),
        ({"not": {}}, False),
        ({"not": {"tags": "x"}}, False),
        ({"id": {"in": []}}, False),
    ],
)
def test_nothing_is_known_in_disguise_too(tree: object, everything: bool) -> None:
    assert selects_everything(parse(tree)) is everything


@settings(max_examples=100)
@given(where=some.filters(), memory=some.memories())
def test_what_selects_everything_selects_every_memory(where: Filter, memory: Memory) -> None:
    tree = some.as_json(where)
    for one in (where, parse({"not": tree}), parse({"or": [tree, {}]}), parse({"and": [tree]})):
        assert matches(one, memory) or not selects_everything(one)


MALFORMED: list[tuple[Any, str]] = [
    ([], "filter"),
    ("tags", "filter"),
    (7, "filter"),
    ({"": 1}, "filter"),
    ({3: 1}, "filter"),
    ({"and": {}}, "filter.and"),
    ({"or": "x"}, "filter.or"),
    ({"and": [1]}, "filter.and[0]"),
    ({"and": [{}, {"or": [{}, None]}]}, "filter.and[1].or[1]"),
    ({"not": []}, "filter.not"),
    ({"not": None}, "filter.not"),
    ({"tags": {}}, "filter.tags"),
    ({"tags": {"near": 1}}, "filter.tags"),
    ({"tags": {"in": "x"}}, "filter.tags"),
    ({"tags": {"in": [[1]]}}, "filter.tags"),
    ({"tags": {"exists": 1}}, "filter.tags"),
    ({"tags": {"like": 1}}, "filter.tags"),
    ({"n": {"gt": None}}, "filter.n"),
    ({"n": {"lt": [1]}}, "filter.n"),
    ({"n": float("nan")}, "filter.n"),
    ({"n": {"lt": float("inf")}}, "filter.n"),
    ({"n": b"x"}, "filter.n"),
    ({"n": {"eq": {"a": 1}}}, "filter.n"),
    ({"created_at": "soon"}, "filter.created_at"),
    ({"created_at": {"gte": True}}, "filter.created_at"),
    ({"created_at": {"in": ["2025-01-01", "soon"]}}, "filter.created_at"),
]


@pytest.mark.parametrize(("tree", "place"), MALFORMED)
def test_malformed(tree: object, place: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse(tree)
    assert caught.value.detail.startswith(f"{place}:"), caught.value.detail


@settings(max_examples=60)
@given(where=some.filters(), bad=st.sampled_from(MALFORMED), data=st.data())
def test_malformed_anywhere(where: Filter, bad: tuple[Any, str], data: st.DataObject) -> None:
    """A bad part is refused wherever it stands, and the message leads there."""
    tree, place = bad
    inside = place.removeprefix("filter")
    for _ in range(data.draw(st.integers(1, 4))):
        if data.draw(st.booleans()):
            word = data.draw(st.sampled_from(["and", "or"]))
            tree, inside = {word: [some.as_json(where), tree]}, f".{word}[1]{inside}"
        else:
            tree, inside = {"not": tree}, f".not{inside}"
    with pytest.raises(InvalidInput) as caught:
        parse(tree)
    assert caught.value.detail.startswith(f"filter{inside}:"), caught.value.detail


def test_deep_and_wide_trees() -> None:
    deep: dict[str, Any] = {"n": 1}
    for _ in range(40):
        deep = {"not": deep}
    wide = {"or": [{"n": n} for n in range(1001)]}
    for tree, code in ((deep, "filter_too_deep"), (wide, "filter_too_large")):
        with pytest.raises(InvalidInput) as caught:
            parse(tree)
        assert caught.value.code == code


JUNK = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                ["and", "or", "not", "n", "created_at", "eq", "in", "gt", "like", "exists"]
            ),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=8,
)


def _accepted(tree: object) -> Filter | None:
    try:
        return parse(tree)
    except InvalidInput as error:
        return None if error.detail.startswith("filter") else pytest.fail(error.detail)


@settings(max_examples=200)
@given(tree=JUNK, memory=some.memories())
def test_any_json_is_a_filter_or_invalid_input(tree: object, memory: Memory) -> None:
    where = _accepted(tree)
    assert where is None or matches(where, memory) in (True, False)
