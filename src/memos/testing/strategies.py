"""Hypothesis strategies for the core's values: small pools, so that things meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, cast, get_args

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from msgspec import structs

from memos.analysis import count_terms, index_text
from memos.filters import And, Filter, Not, Operator, Or, Test
from memos.kinds import KINDS
from memos.testing.fakes import hash_vector
from memos.types import (
    Batch,
    Head,
    Job,
    Json,
    Link,
    Memory,
    Place,
    Put,
    Retire,
    Source,
    Tier,
)

START: Final = datetime(2025, 1, 1, tzinfo=UTC)
VOCABULARY: Final = (
    "tea", "green", "rain", "garden", "the", "Zoe", "Ann", "peanuts", "allergic", "running", "ran",
    "user_id", "3.11", "naïve", "café", "Straße", "绿茶", "我喜欢", "花园", "的",
    "さくら", "사과", "🎉", "İ",
)  # fmt: skip
"""Words in several languages and forms; common enough to meet in queries."""
SPEAKERS: Final = ("Zoe", "Ann", "小明", "Dr. Straße")
_IDS: Final = ("m0", "m1", "m2", "m3", "m4")
_TAGS: Final = ((), (), ("work",), ("home", "work"), ("",))
TIMES: Final = (
    "yesterday",
    "on 2025-01-02",
    "in January",
    "last month",
    "上周五",
    "12月20日",
    "this year",
    "two days before the tea",
    "two weeks after my train",
    "咖啡之后的第二天",
)
"""Expressions of time around ``START``."""
_TITLES: Final = (None, "Straße", "tea time")
_HELD: Final = ((), (), ("k0",), ("k1", "k2"), ("k2", "k0"))
_SOURCES: Final = ((), (), (Source(id="1"),), (Source(role="user", extra={"x": [None]}),))
_METADATA: Final[tuple[Mapping[str, Json], ...]] = (
    {},
    {"n": 1},
    {"n": True, "topic": "rust"},
    {"n": 1.0, "topic": ["rust", 2]},
    {"n": -2.5, "flag": False, "topic": None},
    {"n": "1", "deep.er": "Rust"},
    {"n": [1, True, ""], "deep": {"er": 1.5}},
    {"flag": True, "deep": {"er": ["rust", None]}, "topic": "2025-01-04"},
    {"topic": "2025-01-05T00:00:00+01:00", "deep": {"er": {"n": 0}}},
    {"topic": "", "n": 2, "deep": []},
)


def text(max_size: int = 40) -> SearchStrategy[str]:
    """Return any text that stores can hold: every plane, no null byte, no lone surrogate."""
    legal = st.characters(exclude_characters="\x00", exclude_categories=["Cs"])
    return st.text(legal, max_size=max_size)


def sentences(max_words: int = 8) -> SearchStrategy[str]:
    """Return words of the vocabulary with spaces between."""
    chosen = st.lists(st.sampled_from(VOCABULARY), min_size=1, max_size=max_words)
    return chosen.map(" ".join)


def moments() -> SearchStrategy[datetime]:
    """Return some of a few days."""
    return st.integers(0, 9).map(lambda day: START + timedelta(days=day))


def scalars() -> SearchStrategy[Json]:
    """Return values that metadata holds and filters compare."""
    return st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-2, 2),
        st.sampled_from([0.0, 1.0, 1.5, -2.5]),
        st.sampled_from(["rust", "Rust", "2025-01-04", "2025-01-05T00:00:00+01:00", "1", ""]),
    )


def metadata() -> SearchStrategy[Mapping[str, Json]]:
    """Return ``info`` and ``data``: scalars, lists and nested objects under a few names."""
    return st.sampled_from(_METADATA)


def places(account: str, cube: str) -> SearchStrategy[Place]:
    """Return places in a cube: a few users, agents and sessions."""
    owners = ((None, None), ("zoe", None), ("zoe", "bot"))
    return st.sampled_from(
        [
            Place(account, cube, user, agent, session=session)
            for user, agent in owners
            for session in (None, "s0", "s1")
        ]
    )


@st.composite
def memories(
    draw: st.DrawFn, account: str = "acme", cube: str = "home", ids: Sequence[str] = _IDS
) -> Memory:
    """Return a memory with any of its fields filled."""
    return Memory(
        id=draw(st.sampled_from(ids)),
        kind=draw(st.sampled_from(sorted(KINDS))),
        text=draw(st.one_of(sentences(), text())),
        place=draw(places(account, cube)),
        tier=draw(st.sampled_from(cast("tuple[Tier, ...]", get_args(Tier)))),
        status=draw(st.sampled_from(["activated", "resolving"])),
        tags=draw(st.sampled_from(_TAGS)),
        title=draw(st.sampled_from(_TITLES)),
        speaker=draw(st.sampled_from([None, *SPEAKERS])),
        position=draw(st.sampled_from([None, None, None, 0, 1, 4])),
        confidence=draw(st.sampled_from([None, 0.5, 99.0])),
        sources=draw(st.sampled_from(_SOURCES)),
        keys=draw(st.sampled_from(_HELD)),
        valid_from=draw(st.sampled_from([None, START, START + timedelta(days=3)])),
        recorded_at=draw(moments()),
        expires_at=draw(st.sampled_from([None, None, START + timedelta(days=5)])),
        info=draw(metadata()),
        data=draw(metadata()),
    )


@st.composite
def puts(draw: st.DrawFn, account: str = "acme", cube: str = "home") -> Put:
    """Return a put, mostly with a vector by ``HashEmbedder``."""
    memory = draw(memories(account, cube))
    words = index_text(memory)
    vector = hash_vector(words) if draw(st.integers(0, 4)) else None
    return Put(memory, vector, count_terms(words))


@st.composite
def batches(draw: st.DrawFn, account: str = "acme", cube: str = "home") -> Batch:
    """Return a change of a cube: often a sound one, sometimes one that must be refused."""
    some, chance = st.sampled_from(_IDS), st.integers(0, 9)
    batch = Batch(
        id=draw(st.sampled_from([None, *(f"b{n}" for n in range(20))])),
        account=account,
        cube=cube,
        embedder="hash-32" if draw(chance) else "another-32",
        puts=tuple(draw(st.lists(puts(account, cube), max_size=4))),
    )
    match draw(chance):
        case 0 | 1 | 2:
            retire = st.builds(Retire, some, st.sampled_from([None, "m0"]))
            return structs.replace(batch, retires=(draw(retire),))
        case 3 | 4:
            links = st.builds(Link, some, some, st.sampled_from(["cites", "next"]), st.just(0.5))
            return structs.replace(
                batch, links=tuple(draw(st.lists(links, min_size=1, max_size=2)))
            )
        case 5:
            return structs.replace(batch, erases=(draw(some),))
        case 6:
            return structs.replace(batch, expect={draw(some): draw(st.integers(0, 2))})
        case 7:
            head = st.builds(Head, places(account, cube), st.sampled_from([None, 0, 1]))
            return structs.replace(batch, heads=(draw(head),))
        case 8:
            job = Job(f"j-{batch.id}", "digest", account, cube, {}, memories=(draw(some),))
            return structs.replace(batch, jobs=(job,))
        case _:
            return batch


@st.composite
def histories(
    draw: st.DrawFn, account: str = "acme", cubes: Sequence[str] = ("home",)
) -> list[Batch]:
    """Return changes of some cubes: each is filled at first, then anything may happen to them."""
    changes: list[Batch] = []
    for cube in cubes:
        filling = tuple(draw(st.lists(puts(account, cube), min_size=3, max_size=8)))
        changes.append(Batch(f"filling {cube}", account, cube, "hash-32", filling))
    following = st.sampled_from(cubes).flatmap(lambda cube: batches(account, cube))
    return changes + draw(st.lists(following, max_size=6))


def filters() -> SearchStrategy[Filter]:
    """Return filters in the form that ``parse`` gives, over the fields that ``memories`` fills."""
    return st.recursive(
        _tests(),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3).map(lambda parts: And(tuple(parts))),
            st.lists(inner, max_size=3).map(lambda parts: Or(tuple(parts))),
            inner.map(Not),
        ),
        max_leaves=5,
    )


def _tests() -> SearchStrategy[Filter]:
    dates = moments().map(datetime.isoformat)
    ordered = st.one_of(st.integers(-2, 2), st.sampled_from(["rust", "2025-01-05"]))
    words = st.sampled_from(["m0", "tea", "fact", "user", "LongTermMemory", "Straße"])
    parts = st.sampled_from(["te", "STRASSE", "work", ""])
    owners = st.sampled_from(["s0", "s1", "zoe", "bot", None])
    return st.one_of(
        _leaf("session user agent app", "eq ne", owners),
        _leaf("session user agent", "in", _many(owners)),
        _leaf("id text kind tier title memory_type", "eq ne", words),
        _leaf("text title speaker tags", "like contains", parts),
        _leaf("tags keys n info.n data.topic deep.er topic", "eq ne contains", scalars()),
        _leaf("n info.n data.deep.er version position", "gt gte lt lte", ordered),
        _leaf("n info.flag topic position confidence", "in", _many(scalars())),
        _leaf("title session n info.deep expires_at tags", "exists", st.booleans()),
        _leaf("recorded_at expires_at valid_from", "gt gte lt lte eq ne", dates),
        _leaf("recorded_at retired_at valid_from", "in", _many(dates)),
    )


def _leaf(fields: str, operators: str, values: SearchStrategy[Json]) -> SearchStrategy[Filter]:
    chosen = st.sampled_from(cast("list[Operator]", operators.split()))
    return st.builds(Test, st.sampled_from(fields.split()), chosen, values)


def _many(values: SearchStrategy[Json]) -> SearchStrategy[Json]:
    return st.lists(values, max_size=3).map(tuple)


def as_json(where: Filter) -> dict[str, object]:
    """Return the JSON form of a filter; ``parse`` gives the filter back."""
    match where:
        case Test(field, operator, value):
            listed: object = list(cast("Sequence[object]", value)) if operator == "in" else value
            return {field: {operator: listed}}
        case And(parts):
            return {"and": [as_json(part) for part in parts]}
        case Or(parts):
            return {"or": [as_json(part) for part in parts]}
        case Not(part):
            return {"not": as_json(part)}
