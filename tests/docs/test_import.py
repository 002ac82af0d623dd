"""Importing the engine is quick: what is heavy waits for its first use."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

LIMIT_S = 0.5
TRIES = 10
HEAVY = ("onnxruntime", "sentencepiece", "rjieba", "rich", "typer", "tokenizers")
_TIMED = """
import sys, time
began = time.perf_counter()
from memos import MOS, AsyncMOS  # the bare package loads nothing
print(time.perf_counter() - began, *(name for name in {heavy} if name in sys.modules))
"""


def run(code: str, cache: Path) -> list[str]:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-X", f"pycache_prefix={cache}", "-c", code],
        cwd=cache, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.split()


def test_importing_is_quick_and_light(tmp_path: Path) -> None:
    code = _TIMED.format(heavy=HEAVY)
    run(code, tmp_path)  # fills the bytecode cache
    best = math.inf
    for _ in range(TRIES):  # a busy machine may need more than one
        took, *heavy = run(code, tmp_path)
        assert heavy == []
        best = min(best, float(took))
        if best < LIMIT_S:
            return
    raise AssertionError(f"importing took {best:.2f} s at best, more than {LIMIT_S}")
