"""Where settings come from, how to set them in a program, and what happens to wrong ones."""

import tempfile
from pathlib import Path

from memos import MOS
from memos.errors import ConfigError
from memos.settings import load


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "memos.toml").write_text("[search]\nlimit = 5\nrecipe = 'words'\n", "utf-8")

        # The environment wins over memos.toml, arguments win over both.
        loaded = load(
            arguments={"home": folder / "home", "user": "maya"},
            environ={"MEMOS_SEARCH__LIMIT": "2"},
            directory=folder,
        )
        settings = loaded.settings
        print(settings.search.limit, settings.search.recipe)  # 2 words
        print(loaded.sources["search.limit"])  # environment MEMOS_SEARCH__LIMIT
        print(loaded.sources["user"])  # argument

        with MOS.open(settings) as mos:
            for number in range(4):
                mos.add(f"Note number {number}.")
            print(len(mos.search("note").hits))  # 2

        try:
            load(environ={"MEMOS_SERCH__LIMIT": "2"}, directory=folder)
        except ConfigError as error:
            print(error.code)  # unknown_setting

        # MemOS's own names work, or say that their feature is not built yet.
        print(load(environ={"MOS_USER_ID": "lin"}, directory=folder).settings.user)  # lin
        try:
            load(environ={"NEO4J_URI": "bolt://localhost:7687"}, directory=folder)
        except ConfigError as error:
            print(error.code)  # not_built_yet


if __name__ == "__main__":
    main()
