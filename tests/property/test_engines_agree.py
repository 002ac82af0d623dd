"""Random changes leave the embedded engine and the reference in the same state."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from memos.errors import MemosError
from memos.filters import EVERYTHING, Filter, matches
from memos.ports.backend import Opened
from memos.testing import strategies as some
from memos.testing.fakes import hash_vector
from memos.types import Batch, Memory, Page, Place, Scope

if TYPE_CHECKING:
    from conftest import Engines

IDS = ("m0", "m1", "m2", "m3", "m4", "nobody")
KEYS = ("k0", "k1", "k2")
SECOND = timedelta(seconds=1)


def _scope(account: str) -> Scope:
    return Scope(account, "zoe", {"home": "write", "other": "write"})


def _timeless(memory: Memory) -> Memory:
    """Without the moment at which this very test retired it."""
    if memory.retired_at is None or memory.retired_at.year < 2026:
        return memory
    return structs.replace(memory, retired_at=datetime.max.replace(tzinfo=UTC))


async def _apply(opened: Opened, batch: Batch) -> object:
    assert opened.records is not None
    try:
        receipt = await opened.records.apply(batch, _scope(batch.account))
    except MemosError as error:
        return type(error).__name__, error.code, error.detail
    return receipt.ids, receipt.stored, receipt.repeated


async def _pages(
    opened: Opened, scope: Scope, where: Filter, as_of: datetime | None
) -> list[Memory]:
    assert opened.records is not None
    found: list[Memory] = []
    page = Page(3)
    while True:
        got = await opened.records.scan(scope, where, page, as_of)
        found += got.items
        if got.next is None:
            return found
        page = Page(3, got.next)


async def _log(opened: Opened, account: str, cursor: int) -> list[object]:
    assert opened.records is not None
    log = await opened.records.changes(cursor, 100_000)
    return [
        (c.kind, c.cube, c.id, c.put and (_timeless(c.put.memory), dict(c.put.terms),
         None if c.put.vector is None else c.put.vector.tolist()))
        for c in log
        if c.account == account
    ]  # fmt: skip


async def _everything(opened: Opened, account: str, cursor: int) -> dict[str, Any]:
    """Read the whole state through every method."""
    store, scope = opened.records, _scope(account)
    assert store is not None
    assert opened.links is not None
    assert opened.jobs is not None
    vectors = await store.vectors(IDS, scope, "hash-32")
    places = [
        Place(account, cube, user, agent, session=session)
        for cube in ("home", "other")
        for user, agent in ((None, None), ("zoe", None), ("zoe", "bot"))
        for session in (None, "s0", "s1")
    ]
    tails = [await store.tail(place, scope, 2) for place in places]
    return {
        "get": [_timeless(m) for m in await store.get(IDS, scope)],
        "history": [_timeless(m) for id in IDS for m in await store.history(id, scope)],
        "tombstones": sorted(stone.id for stone in await store.tombstones(IDS, scope)),
        "scan": [_timeless(m) for m in await _pages(opened, scope, EVERYTHING, None)],
        "tails": [(tail.position, [_timeless(m) for m in tail.memories]) for tail in tails],
        "holders": [await store.holders(cube, KEYS, scope) for cube in ("home", "other")],
        "around": [[m.id for m in await store.around([id], scope, 1)] for id in IDS],
        "vectors": {id: vector.tolist() for id, vector in vectors.items()},
        "embedder": await store.embedder("home", scope),
        "unembedded": [
            (m.id, m.version) for m in await store.unembedded("home", scope, "hash-32", 99)
        ],
        "lacking": await store.count_unembedded("home", scope, "another"),
        "links": sorted(map(repr, await opened.links.subgraph(IDS, scope))),
        "near": await opened.links.expand(["m0"], scope, 2, [], 9),
        "log": await _log(opened, account, cursor),
    }


async def _cursor(opened: Opened) -> int:
    assert opened.records is not None
    log = await opened.records.changes(0, 1_000_000)
    return log[-1].cursor if log else 0


@settings(max_examples=60)
@given(changes=some.histories(cubes=("home", "other")))
def test_same_state_after_any_changes(engines: Engines, changes: list[Batch]) -> None:
    account = engines.account()
    before = engines.each(_cursor)
    for change in changes:
        mine = _owned(change, account)
        one, two = engines.each(lambda opened, mine=mine: _apply(opened, mine))
        assert one == two
    one = engines.portal.call(_everything, engines.reference, account, before[0])
    two = engines.portal.call(_everything, engines.embedded, account, before[1])
    for name, state in one.items():
        assert state == two[name], name


def _owned(batch: Batch, account: str) -> Batch:
    def place(where: Place) -> Place:
        return structs.replace(where, account=account)

    return structs.replace(
        batch,
        account=account,
        puts=tuple(
            structs.replace(p, memory=structs.replace(p.memory, place=place(p.memory.place)))
            for p in batch.puts
        ),
        heads=tuple(structs.replace(head, place=place(head.place)) for head in batch.heads),
        jobs=tuple(structs.replace(j, account=account, id=f"{account}-{j.id}") for j in batch.jobs),
    )


@settings(max_examples=60)
@given(
    changes=some.histories(),
    wheres=st.lists(some.filters(), min_size=1, max_size=4),
    as_of=st.one_of(st.none(), some.moments()),
    query=some.sentences(3),
)
def test_filters_mean_what_matches_says(
    engines: Engines, changes: list[Batch], wheres: list[Filter], as_of: datetime | None, query: str
) -> None:
    account = engines.account()
    for change in changes:
        engines.each(lambda opened, change=change: _apply(opened, _owned(change, account)))
    for where in wheres:
        for opened in (engines.reference, engines.embedded):
            engines.portal.call(_check_filter, opened, _scope(account), where, as_of, query)


async def _check_filter(
    opened: Opened, scope: Scope, where: Filter, as_of: datetime | None, query: str
) -> None:
    assert opened.vectors is not None
    assert opened.text is not None
    for instant in (None, as_of):
        everyone = await _pages(opened, scope, EVERYTHING, instant)
        chosen = await _pages(opened, scope, where, instant)
        assert chosen == [memory for memory in everyone if matches(where, memory)]
    live = {memory.id: memory for memory in await opened.records.get(IDS, scope)}
    vector = [hash_vector(query)]
    (near,) = await opened.vectors.nearest(vector, scope, EVERYTHING, 9)
    (near_chosen,) = await opened.vectors.nearest(vector, scope, where, 9)
    assert near_chosen == [scored for scored in near if matches(where, live[scored.id])]
    terms = query.casefold().split()
    held = await opened.text.match(terms, scope, EVERYTHING, 9)
    held_chosen = await opened.text.match(terms, scope, where, 9)
    assert held_chosen == [scored for scored in held if matches(where, live[scored.id])]


@settings(max_examples=40)
@given(changes=some.histories(), query=some.sentences(4))
def test_lanes_agree(engines: Engines, changes: list[Batch], query: str) -> None:
    account = engines.account()
    for change in changes:
        engines.each(lambda opened, change=change: _apply(opened, _owned(change, account)))
    one, two = engines.each(lambda opened: _lanes(opened, _scope(account), query))
    for mine, theirs in zip(one[:2], two[:2], strict=True):
        assert mine.keys() == theirs.keys()
        assert all(abs(mine[id] - theirs[id]) < 1e-4 for id in mine)
    assert (one[2].documents, dict(one[2].frequencies)) == (
        two[2].documents,
        dict(two[2].frequencies),
    )
    assert abs(one[2].mean_length - two[2].mean_length) < 1e-4


async def _lanes(opened: Opened, scope: Scope, query: str) -> Any:
    terms = query.casefold().split()
    (near,) = await opened.vectors.nearest([hash_vector(query)], scope, EVERYTHING, 99)
    held = await opened.text.match(terms, scope, EVERYTHING, 99)
    counted = await opened.text.statistics(terms, "home", scope)
    return {s.id: s.score for s in near}, {s.id: s.score for s in held}, counted
