"""``memos search``, ``get``, ``list`` and ``history``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Final, cast

import typer

from memos.cli.adding import read_json
from memos.cli.output import emit, say, source_of, table
from memos.cli.session import Session, command

if TYPE_CHECKING:
    from memos import MOS
    from memos.options import ListOptions, SearchOptions, Where
    from memos.retrieve.pipeline import Hit, SearchResult, Why
    from memos.types import Memory

_Cubes = Annotated[list[str] | None, typer.Option("--cube", help="Only in this cube; repeatable.")]
_Filter = Annotated[str | None, typer.Option("--filter", help="A filter, in JSON.")]
_Limit = Annotated[int | None, typer.Option(help="Results at most.")]
_AsOf = Annotated[
    str | None, typer.Option(help="Answer from what was known at that time, ISO 8601.")
]
_Id = Annotated[str, typer.Argument(help="Id of a memory.")]
_Cube = Annotated[str | None, typer.Option(help="The cube that holds it.")]

_SEARCH: Final = (
    'memos search "What must Zoe not eat?"',
    "memos search 什么时候报到 --limit 3 --explain",
    'memos search "When did we plan the trip?" --neighbours 2 --internet',
    """memos search rent --filter '{"tags": {"contains": "home"}}' --as-of 2026-03-01 --json""",
)
_GET: Final = ("memos get 0199f3c2-6a0e-7cc1-9d5e-0d6a3b0a4f11",)
_LIST: Final = (
    "memos list --limit 20",
    """memos list --all --filter '{"created_at": {"gte": "2026-01-01"}}' --json""",
)
_REASONS: Final[Mapping[str, str]] = {
    "no_chat": "no chat model is configured",
    "no_session": "no --session was named",
}
_HISTORY: Final = ("memos history 0199f3c2-6a0e-7cc1-9d5e-0d6a3b0a4f11",)


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    command(app, "search", examples=_SEARCH)(search)
    command(app, "get", examples=_GET)(get)
    command(app, "list", examples=_LIST)(list_)
    command(app, "history", examples=_HISTORY)(history)


def search(  # noqa: PLR0913 - typer reads the options from the signature
    session: Session,
    *,
    query: Annotated[str, typer.Argument(help="What is asked, in any language.")],
    limit: _Limit = None,
    cube: _Cubes = None,
    filter_: _Filter = None,
    as_of: _AsOf = None,
    budget: Annotated[int | None, typer.Option(help="Tokens of all results together.")] = None,
    recipe: Annotated[
        str | None, typer.Option(help="fast, balanced, fine, mixture, words or meaning.")
    ] = None,
    dedup: Annotated[str | None, typer.Option(help="exact, none, sim or mmr.")] = None,
    neighbours: Annotated[
        int | None, typer.Option(help="Turns before and after each result.")
    ] = None,
    internet: Annotated[bool, typer.Option("--internet", help="Ask the web, too.")] = False,
    conversation: Annotated[
        str | None, typer.Option("--session", help="The conversation that asks, for mixture.")
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say why each was found.")] = False,
) -> None:
    """Find what answers a question, best first."""
    given = {
        "limit": limit,
        "cubes": cube or None,
        "where": None if filter_ is None else read_json(filter_, "--filter"),
        "as_of": as_of,
        "budget": budget,
        "recipe": recipe,
        "dedup": dedup,
        "neighbours": neighbours,
        "internet": internet or None,
        "session": conversation,
    }
    options = cast("SearchOptions", {name: v for name, v in given.items() if v is not None})
    with session.open() as mos:
        result = mos.search(query, **options)
    if session.as_json:
        emit(result)
        return
    _show_hits(result)
    if explain:
        _explain(result)


def get(session: Session, *, id: _Id, cube: _Cube = None) -> None:
    """Show one memory with all that is known of it."""
    who: Where = {} if cube is None else {"cube": cube}
    with session.open() as mos:
        memory = mos.get(id, **who)
    if session.as_json:
        emit(memory)
        return
    say(memory.text)
    table({"field": "dim", "value": ""}, _facts(memory))


def list_(
    session: Session,
    *,
    filter_: _Filter = None,
    limit: _Limit = None,
    cursor: Annotated[str | None, typer.Option(help="Go on where a page ended.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every page.")] = False,
    cube: _Cubes = None,
    as_of: _AsOf = None,
) -> None:
    """List memories in the order in which they were recorded."""
    options: ListOptions = {}
    if filter_ is not None:
        options["where"] = read_json(filter_, "--filter")
    if limit is not None:
        options["limit"] = limit
    if cube:
        options["cubes"] = cube
    if as_of is not None:
        options["as_of"] = as_of
    with session.open() as mos:
        items, following = _pages(mos, options, cursor, every=all_)
    if session.as_json:
        emit({"items": items, "next": following})
        return
    table(
        {"memory": "", "kind": "dim", "source and id": "cyan"},
        [(memory.text, memory.kind, _where(memory)) for memory in items],
    )
    if following is not None:
        say(f"more: --cursor {following}")


def history(session: Session, *, id: _Id, cube: _Cube = None) -> None:
    """Show every version of a memory, oldest first."""
    who: Where = {} if cube is None else {"cube": cube}
    with session.open() as mos:
        versions = mos.history(id, **who)
    if session.as_json:
        emit({"items": versions})
        return
    table(
        {"version": "", "recorded": "cyan", "until": "cyan", "memory": ""},
        [(m.version, m.recorded_at, m.retired_at, m.text) for m in versions],
    )


def _pages(
    mos: MOS, options: ListOptions, cursor: str | None, *, every: bool
) -> tuple[list[Memory], str | None]:
    found: list[Memory] = []
    while True:
        here: ListOptions = options if cursor is None else {**options, "cursor": cursor}
        page = mos.get_all(**here)
        found += page.items
        cursor = page.next
        if cursor is None or not every:
            return found, cursor


def _show_hits(result: SearchResult) -> None:
    if not result.hits:
        say("nothing found")
    else:
        rows = [
            (number, f"{hit.score:.3f}", _said(hit), _where(hit.memory))
            for number, hit in enumerate(result.hits, 1)
        ]
        table({"": "dim", "score": "dim", "memory": "", "source and id": "cyan"}, rows)
    for failure in result.degraded:
        lane, _, code = failure.partition(": ")
        say(f"without {lane}: {_REASONS.get(code, code)}")


def _said(hit: Hit) -> str:
    """Return a memory between its neighbours; what the web says has its title."""
    if hit.memory.kind == "page":
        return f"{hit.memory.title}\n{hit.memory.text}" if hit.memory.title else hit.memory.text
    if not hit.neighbours:
        return hit.memory.text
    here = hit.memory.position or 0
    before = [one for one in hit.neighbours if (one.position or 0) < here]
    lines = [_line(one, " ") for one in before]
    lines += [_line(hit.memory, ">")]
    lines += [_line(one, " ") for one in hit.neighbours[len(before) :]]
    return "\n".join(lines)


def _line(memory: Memory, mark: str) -> str:
    speaker = f"{memory.speaker}: " if memory.speaker else ""
    return f"{mark} {speaker}{memory.text}"


def _explain(result: SearchResult) -> None:
    trace = result.trace
    took = ", ".join(f"{step} {ms:.1f} ms" for step, ms in trace.timings_ms.items())
    say(f"\nrecipe {trace.recipe}: {trace.candidates} candidates; {took}")
    say(f"answerable: {result.answerable:.2f}")
    for number, text in enumerate(trace.asked, 1):
        say(f"also asked, as query {number}: {text}")
    for number, hit in enumerate(result.hits, 1):
        why = hit.why
        say(f"\n{number}. {' '.join(hit.memory.text.split())[:80]}")
        say(f"   score {hit.score:.4f}, the sum of what its parts add; relativity "
            f"{hit.relativity:.2f}")  # fmt: skip
        say(f"   lanes: {', '.join(_lane(why, lane) for lane in why.lanes) or 'none'}")
        say(f"   words: {', '.join(why.words) or 'none'}")
        if hit.repeats:
            say(f"   said again: {', '.join(memory.id for memory in hit.repeats)}")
        if why.parts or why.features:
            _parts(why)


def _lane(why: Why, lane: str) -> str:
    score = f" ({why.scores[lane]:.3f})" if lane in why.scores else ""
    return f"{lane} #{why.lanes[lane] + 1}{score}"


def _parts(why: Why) -> None:
    """Show what adds to the score, the most first, and then what was only looked at."""
    adding = sorted(why.parts, key=lambda name: -abs(why.parts[name]))
    table(
        {"feature": "", "value": "", "adds to the score": ""},
        [
            (name, _number(why.features, name), _number(why.parts, name, "+"))
            for name in dict.fromkeys((*adding, *why.features))
            if why.parts.get(name) or why.features.get(name)
        ],
    )


def _number(values: Mapping[str, float], name: str, sign: str = "") -> str:
    return format(values[name], f"{sign}.4f") if name in values else ""


def _where(memory: Memory) -> str:
    return f"{source_of(memory)}\n{memory.id}"


def _facts(memory: Memory) -> list[tuple[str, object]]:
    place = memory.place
    facts: list[tuple[str, object]] = [
        ("id", memory.id),
        ("kind", memory.kind),
        ("tier", memory.tier),
        ("status", memory.status),
        ("source", source_of(memory)),
        ("place", " / ".join(filter(None, (place.account, place.cube, place.user, place.session)))),
        ("title", memory.title),
        ("tags", ", ".join(memory.tags)),
        ("version", memory.version),
        ("created", memory.created_at),
        ("recorded", memory.recorded_at),
        ("retired", memory.retired_at),
        ("expires", memory.expires_at),
        ("superseded by", memory.superseded_by),
        *((f"info.{name}", value) for name, value in memory.info.items()),
    ]
    return [(name, value) for name, value in facts if value not in (None, "")]
