"""Many cubes in one store: what one of them costs beside few others, and beside many.

One user owns all cubes, the harshest case; another may read some of them. Every step is timed in
turns in a store with few cubes and in one with many, so that a busy machine slows both.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.corpus import Corpus, HashEmbedder
from benchmarks.probe import resident_mb
from benchmarks.speed import Check, Driver, Report, Say, disk_mb
from memos import MOS, __version__
from memos.settings import Settings

_OWNER: Final = "alice"
_READER: Final = "bob"
_BOUND: Final = 1.5
"""How much longer a step may take beside many cubes than beside few."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to measure.

    Attributes:
        cubes: Cubes in the store at the end.
        memories: Memories in each, added at once.
        granted: Cubes that another user may read, and searches all at once.
        few: Cubes in the smaller store, and how often each step is timed.
        image_mb: Memory that images may take while all cubes are searched one after the other.
    """

    cubes: int
    memories: int = 20
    granted: int = 100
    few: int = 100
    image_mb: int = 16


def run(plan: Plan, say: Say) -> Report:
    """Measure everything."""
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="memos-cubes-") as folder:
        home, other = Path(folder) / "home", Path(folder) / "few"
        with _opened(other) as few, _opened(home) as many:
            for store in (_Store(few, plan.few), _Store(many, plan.cubes)):
                store.fill(plan, say)
        say("searching every cube with little memory for images")
        with _opened(home, plan.image_mb) as mos:
            _pass(plan, mos, figures)
        say("opening the filled store")
        with _timed(figures, "open_s"), _opened(home) as mos:
            mos.cubes.get(_name(0), user=_OWNER)
        with _opened(home) as many, _opened(other) as few:
            say("single steps")
            _compare(plan, _Store(many, plan.cubes), _Store(few, plan.few), figures)
            _measure(plan, many, figures, say)
        figures["disk_mb"] = disk_mb(home)
        found = list(home.rglob("*"))
        figures["files"] = sum(path.is_file() for path in found)
        figures["directories"] = sum(path.is_dir() for path in found)
    config: dict[str, object] = {
        "items": plan.cubes * plan.memories,
        "cubes": plan.cubes,
        "memories": plan.memories,
        "granted": plan.granted,
        "memos": __version__,
    }
    return Report(suite="cubes", config=config, figures=figures, checks=_checks(figures))


class _Store:
    """A store of so many cubes, whose calls are timed."""

    def __init__(self, mos: MOS, cubes: int) -> None:
        self.mos = mos
        self.cubes = cubes
        self._driver = Driver(mos)
        self._corpus = Corpus()

    def fill(self, plan: Plan, say: Say) -> None:
        """Create the cubes with their memories."""
        self.mos.users.create(_OWNER)
        for number in range(self.cubes):
            if number % plan.few == 0:
                say(f"creating cubes: {number:,} of {self.cubes:,}")
            self.create(number)
            self.add(number, plan.memories, "first")

    def create(self, number: int) -> float:
        """Create a cube; return the seconds."""
        start = time.perf_counter()
        self.mos.cubes.create(_name(number), owner=_OWNER)
        return time.perf_counter() - start

    def add(self, number: int, count: int, prefix: str) -> float:
        """Add messages to a cube; return the seconds until they were durable."""
        turns = list(self._corpus.turns(count, prefix=f"{prefix}-{number}-", length=count))
        return self._driver.add(_OWNER, turns, cube=_name(number))

    def search(self, number: int) -> float:
        """Search in a cube; return the seconds."""
        return self._driver.search(_OWNER, self._corpus.query(), cube=_name(number))


def _compare(plan: Plan, many: _Store, few: _Store, figures: dict[str, float]) -> None:
    """Take each step in both stores in turns, in as many cubes as the smaller one has."""
    steps: dict[str, Callable[[_Store, int], float]] = {
        "create": lambda store, n: store.create(store.cubes + n),
        "add": lambda store, n: store.add(n * (store.cubes // plan.few), 1, "single"),
        "search_cold": lambda store, n: store.search(n * (store.cubes // plan.few)),
        "search": lambda store, n: store.search(n * (store.cubes // plan.few)),
    }
    for name, call in steps.items():
        pairs = [(call(many, n), call(few, n)) for n in range(plan.few)]
        for store, seconds in zip(("many", "few"), zip(*pairs, strict=True), strict=True):
            _spread(figures, f"{store}.{name}", seconds)


def _measure(plan: Plan, mos: MOS, figures: dict[str, float], say: Say) -> None:
    """Time what looks at many cubes."""
    driver, corpus = Driver(mos), Corpus()
    mos.users.create(_READER)
    for number in range(plan.granted):
        mos.cubes.share(_name(number), _READER, user=_OWNER)
    say(f"searching {plan.granted} cubes at once")
    queries = [corpus.query() for _ in range(20)]
    figures["search_granted.first_s"] = driver.search(_READER, queries[0])
    _spread(figures, "search_granted", [driver.search(_READER, query) for query in queries])
    say("searching all cubes at once")
    for name in ("search_all.first_s", "search_all_s"):
        figures[name] = driver.search(_OWNER, queries[0])
    figures["rss_mb"] = resident_mb()
    figures["descriptors"] = _descriptors()
    say("listing and checking")
    with _timed(figures, "list_s"):
        assert len(mos.cubes.list(user=_OWNER)) > plan.cubes
    with _timed(figures, "memories.page_s"):
        assert mos.get_all(user=_OWNER, limit=10).items
    with _timed(figures, "check_s"):
        assert all(finding.ok for finding in mos.check())


def _pass(plan: Plan, mos: MOS, figures: dict[str, float]) -> None:
    """Search every cube once, and note how memory grew from the first tenth to the end."""
    driver, query = Driver(mos), Corpus().query()
    figures["pass.before.rss_mb"] = resident_mb()
    for number in range(plan.cubes):
        driver.search(_OWNER, query, cube=_name(number))
        if number == plan.cubes // 10:
            figures["pass.tenth.rss_mb"] = resident_mb()
    figures["pass.rss_mb"] = resident_mb()
    figures["pass.descriptors"] = _descriptors()


def _checks(figures: dict[str, float]) -> dict[str, Check]:
    steps = ("create", "add", "search_cold", "search")
    values = {s: figures[f"many.{s}.p50_ms"] / figures[f"few.{s}.p50_ms"] for s in steps}
    return {
        f"{step}.many/few": Check(value=value, bound=_BOUND, ok=value <= _BOUND)
        for step, value in values.items()
    }


def _opened(home: Path, image_mb: int = 1024) -> MOS:
    store = {"kind": "sqlite", "image_memory_mb": image_mb}
    return MOS.open(Settings(home=home, store=store), embedder=HashEmbedder())


def _spread(figures: dict[str, float], name: str, seconds: Sequence[float]) -> None:
    for label, value in zip(("p50", "p95"), np.quantile(seconds, (0.5, 0.95)), strict=True):
        figures[f"{name}.{label}_ms"] = float(value) * 1000


def _name(number: int) -> str:
    return f"cube-{number}"


def _descriptors() -> int:
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else -1


@contextmanager
def _timed(figures: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    figures[name] = time.perf_counter() - start
