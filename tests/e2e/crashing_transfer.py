"""Dumps or loads again and again until somebody kills it."""

from __future__ import annotations

import sys
from itertools import count
from pathlib import Path

from memos import MOS
from memos.settings import Settings
from memos.testing.fakes import HashEmbedder


def main(step: str, home: Path, dump: Path) -> None:
    with MOS.open(Settings(home=home), embedder=HashEmbedder()) as mos:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        for number in count():
            if step == "dump":
                mos.dump(dump.with_name(f"dump{number}"))
            elif step == "load":
                mos.load(dump, cube=f"new{number}")
            else:
                mos.load(dump, cube="merged", on_conflict="keep")
            sys.stdout.write(f"done {number}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
