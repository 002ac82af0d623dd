"""Filling, dumping and loading a large cube: seconds and peak memory of each, in processes apart.

Embeddings are those of ``HashEmbedder``, so that the engine is what is measured.
"""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from memos import MOS
from memos.settings import Settings
from memos.testing.fakes import HashEmbedder

_BATCH = 2_000
_SESSION = 50
_WORDS = 12
_NAMES = [f"word{n}" for n in range(3_000)]


@dataclass(frozen=True)
class Step:
    """One measured process."""

    name: str
    seconds: float
    rss_mb: float
    megabytes: float
    memories: int


def run(items: int, folder: Path | None) -> Iterator[Step]:
    """Yield the steps as they are done."""
    with tempfile.TemporaryDirectory(prefix="memos-transfer-", dir=folder) as where:
        for name in ("fill", "dump", "load", "check"):
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.transfer", name, where, str(items)],
                stdout=subprocess.PIPE, text=True, check=True,
            )  # fmt: skip
            yield Step(**json.loads(done.stdout.splitlines()[-1]))


def fill(mos: MOS, items: int) -> None:
    dice = random.Random(7)
    for start in range(0, items, _BATCH):
        count = min(_BATCH, items - start)
        messages = [
            {
                "role": "user" if n % 2 else "assistant",
                "content": " ".join(dice.choices(_NAMES, k=_WORDS)),
                "message_id": f"m{n}",
            }
            for n in range(start, start + count)
        ]
        for low in range(0, count, _SESSION):
            mos.add(messages[low : low + _SESSION], session=f"s{(start + low) // _SESSION}")


def main(step: str, where: Path, items: int) -> None:
    home, dump = where / "home", where / "dump"
    fresh = where / "fresh"
    begun = time.perf_counter()
    store = fresh if step in ("load", "check") else home
    with MOS.open(Settings(home=store), embedder=HashEmbedder()) as mos:
        if step == "fill":
            fill(mos, items)
        elif step == "dump":
            mos.dump(dump)
        elif step == "load":
            mos.load(dump, cube="loaded")
        stats = mos.stats(cube="loaded") if store == fresh else mos.stats()
    seconds = time.perf_counter() - begun
    assert stats.memories == items
    measured = dump if step == "dump" else store
    size = sum(path.stat().st_size for path in measured.rglob("*") if path.is_file())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(vars(Step(step, seconds, peak, size / 1e6, stats.memories))))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
