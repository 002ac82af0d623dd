"""Many cubes in one store: what one of them costs when there are few others, and when many.

One user owns all cubes, the harshest case; another may read some of them. Every step is timed
while the store is nearly empty and again when it is full, in the same run.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
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
"""How much longer a step may take in a full store than in a nearly empty one."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to measure.

    Attributes:
        cubes: Cubes in the store at the end.
        memories: Memories in each, added at once.
        granted: Cubes that another user may read, and searches all at once.
        few: Cubes in the store when a step is timed for the first time; as often it is repeated.
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
        home = Path(folder) / "home"
        embedder = HashEmbedder()
        with MOS.open(Settings(home=home), embedder=embedder) as mos:
            store = _Store(plan, mos, Driver(mos, embedder), figures)
            store.fill(say)
            store.measure(say)
        figures["disk_mb"] = disk_mb(home)
        found = list(home.rglob("*"))
        figures["files"] = sum(path.is_file() for path in found)
        figures["directories"] = sum(path.is_dir() for path in found)
        say("opening the filled store")
        with _timed(figures, "open_s"), _small(plan, home, embedder) as mos:
            mos.cubes.get(_name(0), user=_OWNER)
        say("searching every cube with little memory for images")
        with _small(plan, home, embedder) as mos:
            _pass(plan, mos, embedder, figures)
    config: dict[str, object] = {
        "items": plan.cubes * plan.memories,
        "cubes": plan.cubes,
        "memories": plan.memories,
        "granted": plan.granted,
        "memos": __version__,
    }
    return Report(suite="cubes", config=config, figures=figures, checks=_checks(figures))


class _Store:
    """A store that fills up, and the figures of it."""

    def __init__(self, plan: Plan, mos: MOS, driver: Driver, figures: dict[str, float]) -> None:
        self._plan = plan
        self._mos = mos
        self._driver = driver
        self._figures = figures
        self._corpus = Corpus()

    def fill(self, say: Say) -> None:
        """Create the cubes with their memories; time the first, and the last."""
        plan, mos = self._plan, self._mos
        mos.users.create(_OWNER)
        created: list[float] = []
        added: list[float] = []
        for number in range(plan.cubes):
            if number % plan.few == 0:
                say(f"creating cubes: {number:,} of {plan.cubes:,}")
            start = time.perf_counter()
            mos.cubes.create(_name(number), owner=_OWNER)
            created.append(time.perf_counter() - start)
            added.append(self._add(number, plan.memories, "first"))
            if number == plan.few - 1:
                self._steps("few", range(plan.few))
        for name, seconds in (("create", created), ("fill", added)):
            self._spread(f"few.{name}", seconds[: plan.few])
            self._spread(f"many.{name}", seconds[-plan.few :])
        self._steps("many", range(plan.cubes - plan.few, plan.cubes))

    def _steps(self, when: str, cubes: Sequence[int]) -> None:
        """Time single steps in some cubes, each once."""
        query = self._corpus.query()
        self._spread(f"{when}.add", [self._add(number, 1, when) for number in cubes])
        for name in ("search_cold", "search"):
            self._spread(f"{when}.{name}", [self._search(query, number) for number in cubes])

    def measure(self, say: Say) -> None:
        """Time what looks at many cubes."""
        plan, mos, figures = self._plan, self._mos, self._figures
        mos.users.create(_READER)
        step = plan.cubes // plan.granted
        for number in range(0, step * plan.granted, step):
            mos.cubes.share(_name(number), _READER, user=_OWNER)
        say(f"searching {plan.granted} cubes at once")
        queries = [self._corpus.query() for _ in range(20)]
        with _timed(figures, "search_granted.first_s"):
            self._driver.search(_READER, queries[0])
        seconds = [self._driver.search(_READER, query) for query in queries]
        self._spread("search_granted", seconds)
        say("searching all cubes at once")
        for name in ("search_all.first_s", "search_all_s"):
            figures[name] = self._driver.search(_OWNER, queries[0])
        figures["rss_mb"] = resident_mb()
        figures["descriptors"] = _descriptors()
        say("listing and checking")
        with _timed(figures, "list_s"):
            assert len(mos.cubes.list(user=_OWNER)) == plan.cubes + 1
        with _timed(figures, "check_s"):
            assert all(finding.ok for finding in mos.check())

    def _add(self, number: int, count: int, prefix: str) -> float:
        turns = list(self._corpus.turns(count, prefix=f"{prefix}-{number}-", length=count))
        return self._driver.add(_OWNER, turns, cube=_name(number))

    def _search(self, query: str, number: int) -> float:
        return self._driver.search(_OWNER, query, cube=_name(number))

    def _spread(self, name: str, seconds: Sequence[float]) -> None:
        for label, value in zip(("p50", "p95"), np.quantile(seconds, (0.5, 0.95)), strict=True):
            self._figures[f"{name}.{label}_ms"] = float(value) * 1000


def _pass(plan: Plan, mos: MOS, embedder: HashEmbedder, figures: dict[str, float]) -> None:
    """Search every cube once, and note how memory grew from the first tenth to the end."""
    driver, query = Driver(mos, embedder), Corpus().query()
    for number in range(plan.cubes):
        driver.search(_OWNER, query, cube=_name(number))
        if number == plan.cubes // 10:
            figures["pass.tenth.rss_mb"] = resident_mb()
    figures["pass.rss_mb"] = resident_mb()
    figures["pass.descriptors"] = _descriptors()


def _checks(figures: dict[str, float]) -> dict[str, Check]:
    steps = ("create", "fill", "add", "search_cold", "search")
    values = {s: figures[f"many.{s}.p50_ms"] / figures[f"few.{s}.p50_ms"] for s in steps}
    return {
        f"{step}.many/few": Check(value=value, bound=_BOUND, ok=value <= _BOUND)
        for step, value in values.items()
    }


def _small(plan: Plan, home: Path, embedder: HashEmbedder) -> MOS:
    store = {"kind": "sqlite", "image_memory_mb": plan.image_mb}
    return MOS.open(Settings(home=home, store=store), embedder=embedder)


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
