"""Add a Markdown file; every passage knows its heading and its place in the file."""

import tempfile
from pathlib import Path

from memos import MOS
from memos.errors import InvalidInput

MANUAL = """# Coffee machine

Fill the tank with fresh water every morning.

## Cleaning

Rinse the milk hose after every use. Descale the machine once a month.

## Faults

When the red lamp blinks twice, the grinder is blocked. Empty it with the brush.
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as name, MOS.simple(Path(name, "home")) as mos:
        file = Path(name, "manual.md")
        file.write_text(MANUAL, encoding="utf-8")
        added = mos.add(file, tags=["manual"], batch_id="manual.md, first edition")
        print(len(added.ids))  # 3

        memory = mos.search("What does a blinking red lamp mean?", limit=1).hits[0].memory
        source = memory.sources[0]
        print(memory.kind, memory.title)  # passage Coffee machine > Faults
        print(source.uri)  # manual.md
        print(MANUAL[source.start : source.end] == memory.text)  # True

        # Files are not compared with former ones; a batch id keeps a second run from adding twice.
        again = mos.add(file, tags=["manual"], batch_id="manual.md, first edition")
        print(any(again.stored))  # False

        # Long plain texts are cut at paragraphs and sentences in the same way.
        letter = "\n\n".join(f"Paragraph {n} of a long letter. " * 20 for n in range(5))
        print(len(mos.add(letter).ids) > 1)  # True

        try:
            mos.add(Path(name, "manual.pdf"))
        except InvalidInput as error:
            print(error.code)  # no_file


if __name__ == "__main__":
    main()
