"""Several processes on one directory: no error, no lost write, readers see what is new at once."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from memos import MOS
from memos.settings import Settings
from memos.testing.fakes import HashEmbedder

SETUP = """
    import sys, time
    from pathlib import Path
    from memos import MOS
    from memos.settings import Settings
    from memos.testing.fakes import HashEmbedder
    home, number, seconds = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    until = time.monotonic() + seconds
"""

WRITER = (
    SETUP
    + """
    with MOS.open(Settings(home=home), embedder=HashEmbedder()) as mos:
        written = 0
        while time.monotonic() < until:
            (id,) = mos.add(f"w{number}n{written} said something").ids
            (home / f"latest-{number}.aside").write_text(f"w{number}n{written} {id}")
            (home / f"latest-{number}.aside").replace(home / f"latest-{number}")
            written += 1
        print(written)
"""
)

READER = (
    SETUP
    + """
    with MOS.open(Settings(home=home), embedder=HashEmbedder()) as mos:
        looked = 0
        while time.monotonic() < until:
            for latest in home.glob("latest-[0-9]"):
                token, id = latest.read_text().split()
                hits = mos.search(token, recipe="words", limit=3).hits
                assert hits and hits[0].memory.id == id, (token, id, hits)
                looked += 1
        print(looked)
"""
)


def spawn(script: str, home: Path, number: int, seconds: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(home), str(number), str(seconds)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def share(home: Path, seconds: float) -> tuple[int, int]:
    with MOS.open(Settings(home=home), embedder=HashEmbedder()) as mos:
        mos.get_all()
    writers = [spawn(WRITER, home, n, seconds) for n in range(2)]
    readers = [spawn(READER, home, n, seconds) for n in range(4)]
    counts: list[int] = []
    for process in writers + readers:
        out, err = process.communicate(timeout=seconds + 100)
        assert process.returncode == 0, err
        counts.append(int(out))
    with MOS.open(Settings(home=home), embedder=HashEmbedder()) as mos:
        seen = 0
        cursor: str | None = None
        while True:
            page = mos.get_all(limit=10_000, **({"cursor": cursor} if cursor else {}))
            seen += len(page.items)
            if (cursor := page.next) is None:
                break
        assert seen == sum(counts[:2])
        assert all(finding.ok for finding in mos.check())
    return sum(counts[:2]), sum(counts[2:])


def test_processes_share_a_directory(tmp_path: Path) -> None:
    written, looked = share(tmp_path, 2)
    assert written > 20
    assert looked > 20


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_processes_share_a_directory_for_a_minute(tmp_path: Path) -> None:
    written, looked = share(tmp_path, 60)
    sys.stdout.write(f"two writers wrote {written} memories, four readers found {looked} at once\n")
    assert written > 1000
