"""Take a cube with its whole history to another store, and merge it into one that has changed."""

import tempfile
from pathlib import Path

from memos import MOS
from memos.errors import Conflict, DataError


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        here, there, archive = (Path(name, part) for part in ("here", "there", "garden.memcube"))
        with MOS.simple(here) as mos:
            mos.cubes.create("garden")
            (id,) = mos.add("The tomatoes were sown on Monday.", cube="garden").ids
            mos.update(id, text="The tomatoes were sown on Tuesday.", cube="garden")
            dumped = mos.dump(archive, cube="garden")
            print(dumped.memories, dumped.versions)  # 1 2

        with MOS.simple(there) as mos:
            loaded = mos.load(archive)
            print(loaded.cube, loaded.created)  # garden True
            print(len(mos.history(id, cube="garden")))  # 2
            print(mos.search("When were the tomatoes sown?").hits[0].memory.text)

            # It has been changed meanwhile: nothing is loaded until somebody decides.
            mos.update(id, text="The tomatoes were sown on Sunday.", cube="garden")
            try:
                mos.load(archive)
            except Conflict as conflict:
                print(conflict.code)  # memory_conflict
            print(mos.load(archive, on_conflict="keep").conflicts)  # 1
            print(mos.get(id, cube="garden").text)  # The tomatoes were sown on Sunday.

            # A single flipped bit is found before anything is loaded.
            content = bytearray(archive.read_bytes())
            content[200] ^= 1
            archive.write_bytes(content)
            try:
                mos.load(archive, cube="copy")
            except DataError as error:
                print(error.code)  # damaged_dump


if __name__ == "__main__":
    main()
