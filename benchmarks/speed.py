"""Time adding and searching without and with a model, beside what the machine can do at all.

Every ratio compares two things measured in turns within one run, so that a busy machine slows both.
"""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TypedDict

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.cases import Turn
from benchmarks.corpus import Corpus, HashEmbedder
from benchmarks.limits import BareFile, SearchLimit, rows_of, segmenting
from benchmarks.quantised import recall
from benchmarks.reporting import rows as table
from benchmarks.subject import message
from memos import MOS, __version__
from memos.backends.sqlite.matrix import ROUNDED_FROM
from memos.settings import Settings

Say = Callable[[str], None]

_BATCH = 500
_USER = "alice"
_WRITERS = 8


class Check(TypedDict):
    """A figure that has a bound."""

    value: float
    bound: float
    ok: bool


class Report(TypedDict):
    """The JSON that ``--json`` writes."""

    suite: str
    config: dict[str, object]
    figures: dict[str, float]
    checks: dict[str, Check]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to measure.

    Attributes:
        items: Memories in the file while searching.
        cubes: Over how many cubes they are spread in the second part.
        repeats: Searches of each kind.
        singles: Single adds, each beside one bare commit.
        batch: Messages of the batch that is compared with bare inserts.
        embedded: Samples with the configured embedder.
        chinese_share: Share of Chinese messages.
    """

    items: int
    cubes: int = 50
    repeats: int = 200
    singles: int = 200
    batch: int = 2000
    embedded: int = 200
    chinese_share: float = 0.0


@dataclass
class Figures:
    """What was measured so far."""

    values: dict[str, float] = field(default_factory=dict[str, float])
    checks: dict[str, Check] = field(default_factory=dict[str, Check])

    def spread(self, name: str, seconds: Sequence[float]) -> float:
        """Note the median and 95th percentile in ms, and return the median in seconds."""
        p50, p95 = np.quantile(np.array(seconds), (0.5, 0.95))
        self.values[f"{name}.p50_ms"] = float(p50) * 1000
        self.values[f"{name}.p95_ms"] = float(p95) * 1000
        return float(p50)

    def at_most(self, name: str, value: float, bound: float) -> None:
        """Note a figure that must not exceed ``bound``."""
        self.checks[name] = Check(value=value, bound=bound, ok=value <= bound)

    def at_least(self, name: str, value: float, bound: float) -> None:
        """Note a figure that must reach ``bound``."""
        self.checks[name] = Check(value=value, bound=bound, ok=value >= bound)


def run(plan: Plan, say: Say) -> Report:
    """Measure everything."""
    figures = Figures()
    _measure_processes(figures, say)
    with tempfile.TemporaryDirectory(prefix="memos-speed-") as folder, ExitStack() as stack:
        bare = stack.enter_context(_bare(Path(folder) / "bare.db"))
        made = _Made.of(plan)
        home = Path(folder) / "home"
        _fill(plan, made, home, figures, say)
        say("the limit of the machine")
        limit = SearchLimit(bare, made.turns, made.vectors)
        _measure_one_cube(plan, limit, Path(folder), figures, say)
        if plan.items >= ROUNDED_FROM:
            say("recall of the rounded scan")
            for name, share in recall(home, _USER, made.vectors, made.agents).items():
                figures.at_least(f"rounded.recall.{name}", share, 0.98)
        shutil.rmtree(home)
        _measure_many_cubes(plan, made, limit, home, figures, say)
    with tempfile.TemporaryDirectory(prefix="memos-speed-") as folder:
        _measure_embedding(plan, Path(folder), figures, say)
    config: dict[str, object] = {
        "items": plan.items,
        "cubes": plan.cubes,
        "repeats": plan.repeats,
        "chinese_share": plan.chinese_share,
        "memos": __version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    return Report(suite="speed", config=config, figures=figures.values, checks=figures.checks)


def print_report(console: Console, report: Report) -> None:
    """Print the figures, then the bounds."""
    figures = [(name, f"{value:,.3f}") for name, value in report["figures"].items()]
    title = f"{report['suite']} at {report['config']['items']:,} memories"
    console.print(table(title, ("figure", ""), figures))
    checks = [
        (name, f"{c['value']:.3f}", f"{c['bound']:.3f}", "yes" if c["ok"] else "NO")
        for name, c in report["checks"].items()
    ]
    console.print(table("bounds", ("figure", "value", "bound", "held"), checks))


def _measure_processes(figures: Figures, say: Say) -> None:
    say("import and empty MOS")
    imports = [_probe("import")["import_s"] for _ in range(5)]
    figures.values["import_s"] = float(np.median(imports))
    figures.at_most("import_s", figures.values["import_s"], 0.5)
    empty = _probe("empty")
    figures.values["empty.open_s"] = empty["open_s"]
    figures.values["empty.rss_mb"] = empty["rss_mb"]
    figures.at_most("empty.rss_mb", empty["rss_mb"], 400)


@dataclass(frozen=True, slots=True)
class _Made:
    """The memories that are searched: their turns, vectors, and who works with whom.

    Attributes:
        agents: The agent of each turn; "one", "ten" and "half" have about as many percent.
    """

    corpus: Corpus
    turns: list[Turn]
    vectors: NDArray[np.float32]
    agents: list[str]

    @classmethod
    def of(cls, plan: Plan) -> Self:
        corpus = Corpus(chinese_share=plan.chinese_share)
        turns = list(corpus.turns(plan.items, length=_BATCH))
        # What MemOS embeds: a message with the name of who says it.
        vectors = HashEmbedder().vectors([f"{turn.speaker}: {turn.text}" for turn in turns])
        agents = [_agent(start // _BATCH) for start in range(len(turns))]
        return cls(corpus, turns, vectors, agents)


def _agent(batch: int) -> str:
    if batch % 2:
        return "half"
    if batch % 10 == 0:
        return "one" if batch % 100 == 0 else "ten"
    return "rest"


def _fill(plan: Plan, made: _Made, home: Path, figures: Figures, say: Say) -> None:
    """Add all memories to one cube, and search it for the first time, in a process of its own."""
    say(f"adding {plan.items:,} memories")
    spent, embedder = 0.0, HashEmbedder()
    with opened(home, embedder) as mos:
        driver = Driver(mos, embedder)
        mos.users.create(_USER)
        for number, part in enumerate(_batches(made.turns)):
            spent += driver.add(_USER, part, agent=_agent(number))
    figures.values["fill.ms_per_memory"] = spent / plan.items * 1000
    figures.values["disk_mb"] = disk_mb(home)
    figures.values["disk_bytes_per_memory"] = figures.values["disk_mb"] * 2**20 / plan.items
    say("opening the filled home for the first time")
    _open(home, "first", made.corpus.query(), figures)
    figures.values["first.disk_mb"] = disk_mb(home)


def _open(home: Path, name: str, query: str, figures: Figures) -> None:
    for figure, value in _probe("home", str(home), _USER, query).items():
        if figure != "import_s":
            figures.values[f"{name}.{figure}"] = value


def _measure_one_cube(
    plan: Plan, limit: SearchLimit, folder: Path, figures: Figures, say: Say
) -> None:
    corpus, embedder = Corpus(seed=13, chinese_share=plan.chinese_share), HashEmbedder()
    queries = [corpus.query() for _ in range(plan.repeats)]
    common = [corpus.common_query() for _ in range(plan.repeats)]
    with opened(folder / "home", embedder) as mos:
        driver = Driver(mos, embedder)
        search = _Search(plan, driver, limit, embedder, figures)
        say("searching")
        search.compare("search", queries)
        say("searching for common words")
        search.compare("search.common", common)
        say("single adds and bare commits")
        singles = _measure_single_adds(plan, driver, folder, corpus, figures)
        say("concurrent adds")
        _measure_concurrent_adds(plan, Driver(mos), corpus, figures, singles)
        say("batch adds and bare inserts")
        _measure_batch_adds(plan, driver, folder, corpus, figures)
    say("opening the filled home")
    _open(folder / "home", "filled", queries[0], figures)


@dataclass
class _Search:
    """Searches and their limit, in turns."""

    plan: Plan
    driver: Driver
    limit: SearchLimit
    embedder: HashEmbedder
    figures: Figures

    def compare(self, name: str, queries: Sequence[str], *, bounded: bool = True) -> None:
        for query in queries[:5]:
            self._both(query)
        pairs = [self._both(query) for query in queries]
        found = self.figures.spread(name, [pair[0] for pair in pairs])
        limit = self.figures.spread(f"{name}.limit", [pair[1] for pair in pairs])
        self.figures.values[f"{name}/limit"] = found / limit
        if bounded:
            self.figures.at_most(f"{name}.p50_ms", found * 1000, self._bound(limit) * 1000)

    def _bound(self, limit: float) -> float:
        """Return the seconds that a search may take, where the limit is ``limit``."""
        if self.plan.items >= 1_000_000:  # an exact scan takes the limit; a rounded one need not
            return 0.5 * limit
        return 2 * limit if self.plan.items >= 100_000 else 3 * limit + 0.001

    def _both(self, query: str) -> tuple[float, float]:
        vector = self.embedder.vectors([query])[0]
        return self.driver.search(_USER, query), self.limit.seconds(query, vector)


def _measure_single_adds(
    plan: Plan, driver: Driver, folder: Path, corpus: Corpus, figures: Figures
) -> float:
    """Add single messages, each beside a bare commit; return the adds per second."""
    turns = list(corpus.turns(plan.singles, prefix="single"))
    vectors = HashEmbedder().vectors([turn.text for turn in turns])
    adds: list[float] = []
    commits: list[float] = []
    with _bare(folder / "commits.db") as bare:
        for turn, row in zip(turns, rows_of(turns, vectors), strict=True):
            commits.append(bare.insert([row]))
            adds.append(driver.add(_USER, [turn]))
    add = figures.spread("add.single", adds)
    commit = figures.spread("commit.bare", commits)
    figures.at_most("add.single/commit", add / commit, 3)
    figures.values["add.single_per_s"] = len(adds) / sum(adds)
    return figures.values["add.single_per_s"]


def _measure_concurrent_adds(
    plan: Plan, driver: Driver, corpus: Corpus, figures: Figures, single_per_s: float
) -> None:
    """Let eight threads add at once, each in a session of its own."""
    parts = [
        list(corpus.turns(plan.singles, prefix=f"writer{number}-", length=plan.singles))
        for number in range(_WRITERS)
    ]

    def write(turns: Sequence[Turn]) -> list[float]:
        return [driver.add(_USER, [turn]) for turn in turns]

    start = time.perf_counter()
    with ThreadPoolExecutor(_WRITERS) as threads:
        adds = [seconds for found in threads.map(write, parts) for seconds in found]
    per_s = len(adds) / (time.perf_counter() - start)
    figures.spread("add.concurrent", adds)
    figures.values["add.concurrent_per_s"] = per_s
    figures.at_least("add.concurrent/single", per_s / single_per_s, 3)


def _measure_batch_adds(
    plan: Plan, driver: Driver, folder: Path, corpus: Corpus, figures: Figures
) -> None:
    """Add one large batch, beside analysing and inserting the same bare."""
    adds: list[float] = []
    bares: list[float] = []
    for number in range(3):
        turns = list(corpus.turns(plan.batch, prefix=f"batch{number}-", length=plan.batch))
        texts = [turn.text for turn in turns]
        rows = list(rows_of(turns, HashEmbedder().vectors(texts)))
        with _bare(folder / f"batch{number}.db") as bare:
            bares.append(segmenting(texts) + bare.insert(rows))
        driver.mos.users.create(f"batch{number}")
        adds.append(driver.add(f"batch{number}", turns))
    add, bare_s = float(np.median(adds)), float(np.median(bares))
    figures.values["add.batch.ms_per_memory"] = add / plan.batch * 1000
    figures.values["add.batch.bare_ms_per_memory"] = bare_s / plan.batch * 1000
    figures.at_most("add.batch/bare", add / bare_s, 2.5)


def _measure_many_cubes(
    plan: Plan, made: _Made, limit: SearchLimit, home: Path, figures: Figures, say: Say
) -> None:
    """Spread the same memories over many cubes of one user."""
    corpus, embedder = Corpus(seed=17, chinese_share=plan.chinese_share), HashEmbedder()
    share = max(1, plan.items // plan.cubes)
    cubes = [f"cube-{number}" for number in range(plan.cubes)]
    with opened(home, embedder) as mos:
        mos.users.create(_USER)
        driver = Driver(mos, embedder)
        for number, cube in enumerate(cubes):
            say(f"adding to {plan.cubes} cubes: {cube}")
            mos.cubes.create(cube, owner=_USER)
            for part in _batches(made.turns[number * share : (number + 1) * share]):
                driver.add(_USER, part, cube=cube)
        figures.values["spread.disk_mb"] = disk_mb(home)
        say("searching in many cubes")
        queries = [corpus.query() for _ in range(plan.repeats)]
        one = [
            driver.search(_USER, query, cube=cubes[number % plan.cubes])
            for number, query in enumerate(queries)
        ]
        figures.spread("spread.search_one", one)
        search = _Search(plan, driver, limit, embedder, figures)
        search.compare("spread.search_all", queries, bounded=False)


def _measure_embedding(plan: Plan, folder: Path, figures: Figures, say: Say) -> None:
    """Add and search with the configured embedder."""
    corpus = Corpus(seed=11, chinese_share=plan.chinese_share)
    with MOS.open(Settings(home=folder)) as mos:
        driver = Driver(mos)
        mos.users.create(_USER)
        say("loading the embedder")
        driver.search(_USER, "warm up")
        say("adding with the embedder")
        turns = list(corpus.turns(plan.embedded, length=plan.embedded))
        spent = driver.add(_USER, turns)
        figures.values["embedded.batch.ms_per_memory"] = spent / len(turns) * 1000
        figures.values["embedded.batch.memories_per_s"] = len(turns) / spent
        singles = list(corpus.turns(plan.embedded // 4, prefix="single"))
        figures.spread("embedded.add.single", [driver.add(_USER, [turn]) for turn in singles])
        say("searching with the embedder")
        queries = [corpus.query() for _ in range(plan.embedded // 2)]
        seconds = [driver.search(_USER, query) for query in queries]
        figures.spread("embedded.search", seconds)


@dataclass(frozen=True, slots=True)
class Driver:
    """Calls one MOS and times the calls, without the time of ``embedder`` where there is one."""

    mos: MOS
    embedder: HashEmbedder | None = None

    def search(self, user: str, query: str, *, cube: str | None = None) -> float:
        """Search for ten memories in one cube, or all of the user's; return the seconds."""
        cubes = None if cube is None else [cube]
        with _Stopwatch(self.embedder) as watch:
            self.mos.search(query, user=user, cubes=cubes, limit=10)
        return watch.seconds

    def add(
        self, user: str, turns: Sequence[Turn], *, cube: str | None = None, agent: str | None = None
    ) -> float:
        """Add messages of one session; return the seconds until they were durable."""
        messages, place = (
            [message(turn) for turn in turns],
            {} if agent is None else {"agent": agent},
        )
        with _Stopwatch(self.embedder) as watch:
            self.mos.add(messages, user=user, cube=cube or user, session=turns[0].session, **place)
        return watch.seconds


class _Stopwatch:
    def __init__(self, embedder: HashEmbedder | None) -> None:
        self._embedder = embedder
        self.seconds = 0.0

    def __enter__(self) -> Self:
        self.seconds = self._embedding() - time.perf_counter()
        return self

    def __exit__(self, *failure: object) -> None:
        self.seconds += time.perf_counter() - self._embedding()

    def _embedding(self) -> float:
        return self._embedder.spent_s if self._embedder else 0.0


def _batches(turns: Sequence[Turn]) -> Iterator[Sequence[Turn]]:
    for start in range(0, len(turns), _BATCH):
        yield turns[start : start + _BATCH]


@contextmanager
def opened(home: Path, embedder: HashEmbedder) -> Iterator[MOS]:
    """Open a MOS that embeds by hashes."""
    with MOS.open(Settings(home=home), embedder=embedder) as mos:
        yield mos


@contextmanager
def _bare(path: Path) -> Iterator[BareFile]:
    file = BareFile(path)
    try:
        yield file
    finally:
        file.close()


def _probe(*arguments: str) -> dict[str, float]:
    """Run a probe in a process of its own."""
    found = subprocess.run(
        [sys.executable, "-m", "benchmarks.probe", *arguments],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(found.stdout)


def disk_mb(folder: Path) -> float:
    """Return the size of all files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 2**20
