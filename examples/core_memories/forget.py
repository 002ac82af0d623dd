"""Retire what is out of date; erase what must be gone from every file."""

import tempfile
from pathlib import Path

from memos import MOS
from memos.errors import InvalidInput, NotFound

CANARY = "quartz-xylophone"


def holders(home: Path) -> list[str]:
    """Return the files below ``home`` that contain it."""
    files = (path for path in home.rglob("*") if path.is_file())
    return [path.name for path in files if CANARY.encode() in path.read_bytes()]


def main() -> None:
    with tempfile.TemporaryDirectory() as name, MOS.simple(name) as mos:
        home = Path(name)
        (id,) = mos.add(f"The password is {CANARY}.").ids
        (other,) = mos.add("The meeting is on Monday.", session="s1").ids

        # Retired: hidden from searches and lists, history kept, readable by id.
        mos.forget(other)
        print(mos.get(other).retired_at is not None)  # True

        # Erased: gone from records, history, indexes, files and the log when the call returns.
        print(holders(home) != [])  # True
        mos.forget(id, mode="erase")
        print(holders(home))  # []
        try:
            mos.get(id)
        except NotFound as gone:
            print(gone.code)  # erased

        # By a filter. It selects what is live; retired memories are erased by their ids.
        mos.add("Draft one.", session="drafts")
        mos.add("Draft two.", session="drafts")
        print(len(mos.forget(where={"session": "drafts"}).ids))  # 2
        mos.forget(other, mode="erase")

        # A filter that selects everything is a mistake, here as everywhere.
        try:
            mos.forget(where={}, mode="erase")
        except InvalidInput as error:
            print(error.code)  # no_selector


if __name__ == "__main__":
    main()
