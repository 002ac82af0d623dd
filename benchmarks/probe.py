"""Measures that need a process of their own; run by ``benchmarks.speed``, prints JSON.

``python -m benchmarks.probe empty`` opens an empty MOS and loads its configured embedder.
``python -m benchmarks.probe home PATH USER QUERY`` opens a filled one and searches once.
``open_s`` includes that search, since a MOS opens with its first call.
``python -m benchmarks.probe import`` imports the engine.
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import tempfile
import time
from pathlib import Path


def main(arguments: list[str]) -> dict[str, float]:
    """Run one probe and return its figures."""
    start = time.perf_counter()
    importlib.import_module("memos.sync")  # the engine; the bare package loads nothing
    figures = {"import_s": time.perf_counter() - start}
    if arguments[0] == "empty":
        figures |= _empty()
    elif arguments[0] == "home":
        figures |= _filled(Path(arguments[1]), arguments[2], arguments[3])
    return figures


def _empty() -> dict[str, float]:
    memos = importlib.import_module("memos")
    settings = importlib.import_module("memos.settings").Settings
    with tempfile.TemporaryDirectory() as home:
        start = time.perf_counter()
        with memos.MOS.open(settings(home=Path(home))) as mos:
            mos.users.create("alice")
            mos.search("hello", user="alice")
            return {"open_s": time.perf_counter() - start, "rss_mb": resident_mb()}


def _filled(home: Path, user: str, query: str) -> dict[str, float]:
    memos = importlib.import_module("memos")
    settings = importlib.import_module("memos.settings").Settings
    embedder = importlib.import_module("benchmarks.corpus").HashEmbedder()
    start = time.perf_counter()
    with memos.MOS.open(settings(home=home), embedder=embedder) as mos:
        mos.search(query, user=user)
        figures = {"open_s": time.perf_counter() - start, "rss_mb": resident_mb()}
    return {**figures, "peak_mb": resident_mb("VmHWM:"), "cpu_s": time.process_time()}


def resident_mb(line_of: str = "VmRSS:") -> float:
    """Return the memory of this process, in MB; with ``VmHWM:`` the most that it ever was."""
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith(line_of):
                return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1:])) + "\n")
