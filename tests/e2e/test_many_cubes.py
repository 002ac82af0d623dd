"""What one cube costs does not depend on how many others there are: counted in SQLite's steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from memos import MOS
from memos.settings import Settings
from memos.testing.fakes import HashEmbedder

FEW, MANY = 3, 60


class Meter:
    """Counts what SQLite does, on every connection."""

    def __init__(self) -> None:
        self.steps = 0
        self.statements = 0

    def watch(self, db: apsw.Connection) -> None:
        """Follow a connection that was just opened."""
        db.trace_v2(apsw.SQLITE_TRACE_PROFILE, self._note)

    def _note(self, event: dict[str, dict[str, int]]) -> None:
        self.statements += 1
        self.steps += event["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"]

    def spent(self, call: Callable[[], object]) -> tuple[int, int]:
        """Return the steps and statements of a call."""
        before = self.steps, self.statements
        call()
        return self.steps - before[0], self.statements - before[1]


@pytest.fixture
def meter() -> Iterator[Meter]:
    made = Meter()
    apsw.connection_hooks.append(made.watch)
    yield made
    apsw.connection_hooks.remove(made.watch)


def _filled(home: Path, cubes: int) -> MOS:
    mos = MOS.open(Settings(home=home), embedder=HashEmbedder())
    mos.users.create("ann")
    mos.users.create("bob")
    for number in range(cubes):
        mos.cubes.create(f"c{number}", owner="ann")
        message = {"role": "user", "content": f"I like tea {number}", "message_id": "first"}
        mos.add([message], user="ann", cube=f"c{number}", session="s")
    mos.cubes.share("c1", "bob", user="ann")
    return mos


CALLS: dict[str, Callable[[MOS], object]] = {
    "add": lambda mos: mos.add("I like coffee", user="ann", cube="c1"),
    "search": lambda mos: mos.search("tea", user="ann", cube="c1"),
    "search of a guest": lambda mos: mos.search("tea", user="bob", cubes=["c1"]),
    "search of all a guest has": lambda mos: mos.search("tea", user="bob"),
    "list": lambda mos: mos.cubes.list(user="bob"),
    "get": lambda mos: mos.cubes.get("c1", user="ann"),
    "create": lambda mos: mos.cubes.create("new", owner="ann"),
    "share": lambda mos: mos.cubes.share("c0", "bob", user="ann"),
    "rebuild": lambda mos: mos.rebuild(user="ann", cube="c1"),
}


def _least(meter: Meter, name: str, mos: MOS) -> tuple[int, int]:
    """Return the steps and statements of a call; of a search, without opening a connection."""
    times = 5 if name.startswith("search") else 1
    return min(meter.spent(lambda: CALLS[name](mos)) for _ in range(times))


def test_a_call_costs_the_same_beside_many_cubes(tmp_path: Path, meter: Meter) -> None:
    spent: list[dict[str, tuple[int, int]]] = []
    for count in (FEW, MANY):
        with _filled(tmp_path / str(count), count) as mos:
            for cube in ("bob", "c1"):
                mos.search("tea", user="bob", cube=cube)  # their images are in memory from now on
            spent.append({name: _least(meter, name, mos) for name in CALLS})
    few, many = spent
    assert min(steps for steps, _ in few.values()) > 0
    for name, (steps, statements) in many.items():
        assert statements == few[name][1], name
        assert steps <= few[name][0] * 1.2 + 20, name


def test_rows_of_many_cubes_are_read_together(tmp_path: Path, meter: Meter) -> None:
    with _filled(tmp_path, MANY) as mos:
        everywhere = mos.search("tea", user="ann", limit=MANY)
        assert len(everywhere.hits) == MANY
        id = everywhere.hits[0].memory.id
        _, statements = meter.spent(lambda: mos.get(id, user="ann"))
        assert statements < 10
        assert mos.get(id, user="ann") == everywhere.hits[0].memory


def test_pages_over_many_cubes_hold_each_memory_once(mos: MOS) -> None:
    mos.users.create("ann")
    for number in range(12):
        mos.cubes.create(f"c{number}", owner="ann")
    for turn in range(5):
        for number in range(turn, 12):
            mos.add(f"turn {turn} of {number}", user="ann", cube=f"c{number}")
    seen: list[str] = []
    page = mos.get_all(user="ann", limit=7)
    while True:
        seen += [memory.text for memory in page.items]
        if page.next is None:
            break
        page = mos.get_all(user="ann", limit=7, cursor=page.next)
    assert seen == [f"turn {turn} of {number}" for turn in range(5) for number in range(turn, 12)]
