"""kill -9 at random points: whatever was acknowledged is there, and the file is sound."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from memos import MOS
from memos.errors import NotFound
from memos.settings import Settings
from memos.testing.fakes import HashEmbedder

_MORE = 12
"""Further kills for a machine so busy that the writer never got beyond reindexing."""
WRITER = Path(__file__).with_name("crashing_writer.py")


@dataclass
class Acknowledged:
    """What the writer said was done, and what it may have been doing when it died."""

    texts: dict[str, str] = field(default_factory=dict[str, str])
    retired: set[str] = field(default_factory=set[str])
    erased: set[str] = field(default_factory=set[str])
    lines: int = 0
    embedder: str = ""
    died_reindexing: int = 0

    def read(self, line: str) -> None:
        word, _, rest = line.strip().partition(" ")
        id, _, text = rest.partition(" ")
        self.lines += 1
        if word in ("added", "updated"):
            self.texts[id] = text
        elif word == "retired":
            self.retired.add(id)
        elif word == "erased":
            self.erased.add(id)


def run_and_kill(home: Path, seed: int, dice: random.Random, acked: Acknowledged) -> None:
    killer: threading.Timer | None = None
    reindexing = True
    command = [sys.executable, str(WRITER), str(home), str(seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if not line.endswith("\n"):
                break  # the line it died in
            if killer is None:
                killer = threading.Timer(
                    dice.uniform(0.0, 0.9), child.send_signal, [signal.SIGKILL]
                )
                killer.start()
            reindexing = reindexing and not line.startswith("reindexed")
            acked.read(line)
        assert child.wait(timeout=60) == -signal.SIGKILL
    acked.died_reindexing += reindexing
    assert killer is not None
    killer.join()


def verify(home: Path, seed: int, acked: Acknowledged) -> int:
    """Check every acknowledged change; return how many memories there are."""
    with MOS.open(Settings(home=home), embedder=HashEmbedder(name=f"hash-{seed % 2}")) as mos:
        assert [f for f in mos.check() if not f.ok] == []
        for id in acked.erased:
            with pytest.raises(NotFound):
                mos.get(id)
        changed_in_flight = 0
        alive = {memory.id: memory for memory in mos.get_all(limit=10_000).items}
        for id, text in acked.texts.items():
            if id in acked.erased:
                continue
            try:
                memory = alive.get(id) or mos.get(id)
            except NotFound:  # only the one erase that was under way may have gone through
                changed_in_flight += 1
                acked.erased.add(id)
                continue
            if id in acked.retired:
                assert memory.retired_at is not None
            elif memory.text != text or memory.retired_at is not None:
                changed_in_flight += 1
                acked.texts[id] = memory.text
                acked.retired |= {id} if memory.retired_at else set()
        assert changed_in_flight <= 1
        count = mos.reindex() + len(alive)
        told = [id for id in acked.texts if id not in acked.erased | acked.retired]
        if told:
            wanted = mos.get(told[-1])
            found = mos.search(wanted.text, recipe="words", limit=20)
            assert wanted.id in {hit.memory.id for hit in found.hits}
    return count


def crash(home: Path, cycles: int) -> Acknowledged:
    acked, dice = Acknowledged(), random.Random(4)
    for seed in range(cycles + _MORE):
        if seed >= cycles and acked.texts:
            break
        run_and_kill(home, seed, dice, acked)
        verify(home, seed, acked)
    return acked


def test_kill_loses_nothing(tmp_path: Path) -> None:
    acked = crash(tmp_path, 3)
    assert acked.texts


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_fifty_kills_lose_nothing(tmp_path: Path, record_property: pytest.RecordProperty) -> None:
    acked = crash(tmp_path, 50)
    figures = (
        f"50 kills, {len(acked.texts)} memories and {acked.lines} acknowledged changes, "
        f"{len(acked.retired)} retired, {len(acked.erased)} erased, {acked.died_reindexing} died "
        "while reindexing, 0 lost"
    )
    record_property("figures", figures)
    sys.stdout.write(figures + "\n")
    assert len(acked.texts) > 500
