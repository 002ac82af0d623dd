"""kill -9 in the middle of a dump, a load, a merge: the old state or the new one, and no third."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from memos import MOS
from memos.errors import DataError
from memos.settings import Settings
from memos.testing.fakes import HashEmbedder

CHILD = Path(__file__).with_name("crashing_transfer.py")
MEMORIES = 3_000


def run_and_kill(step: str, home: Path, dump: Path, after_s: float) -> int:
    """Return how many times the child was done before it died."""
    done = 0
    command = [sys.executable, str(CHILD), step, str(home), str(dump)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        killer = threading.Timer(after_s, child.send_signal, [signal.SIGKILL])
        killer.start()
        done = sum(line.startswith("done") and line.endswith("\n") for line in child.stdout)
        assert child.wait(timeout=60) == -signal.SIGKILL
        killer.join()
    return done


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_kills_leave_the_old_state_or_the_new_one(tmp_path: Path) -> None:
    home, dump, dice = tmp_path / "home", tmp_path / "dump", random.Random(5)
    with MOS.open(Settings(home=home), embedder=HashEmbedder()) as mos:
        for start in range(0, MEMORIES, 500):
            mos.add(
                [{"role": "user", "content": f"note {n} tea"} for n in range(start, start + 500)],
                session=f"s{start}",
            )
        mos.dump(dump)
    for cycle in range(4):
        for step in ("dump", "load", "merge"):
            target = tmp_path / f"{step}{cycle}"
            if step == "merge":
                with MOS.open(Settings(home=target), embedder=HashEmbedder()) as mos:
                    mos.cubes.create("merged")
                    mos.add("A kettle.", cube="merged")
            source = home if step == "dump" else target
            run_and_kill(step, source, dump, dice.uniform(0.05, 1.2))
            verify(step, target, tmp_path)
            shutil.rmtree(target, ignore_errors=True)
            for old in tmp_path.glob("dump[0-9]*"):
                shutil.rmtree(old)


def verify(step: str, home: Path, folder: Path) -> None:
    with MOS.open(Settings(home=home), embedder=HashEmbedder()) as mos:
        if step == "dump":
            for path in sorted(folder.glob("dump[0-9]*")):
                number = path.name.split(".")[0].removeprefix("dump")
                try:
                    assert mos.load(path, cube=f"d{number}").memories == MEMORIES
                except DataError:  # unfinished, and told apart
                    assert path.name.endswith("-part")
            return
        assert [finding for finding in mos.check() if not finding.ok] == []
        cubes = [cube.id for cube in mos.cubes.list() if cube.id != "default"]
        for cube in cubes:
            expected = {1, MEMORIES + 1} if step == "merge" else {MEMORIES}
            assert mos.stats(cube=cube).memories in expected
        assert len(list((home / "staging").glob("*"))) == 0
    # What was staged is gone from the file: loading again gives all, once.
    with MOS.open(Settings(home=home), embedder=HashEmbedder()) as mos:
        mos.load(folder / "dump", cube="again")
        assert mos.stats(cube="again").memories == MEMORIES
