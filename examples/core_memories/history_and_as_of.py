"""Change memories without losing what was known before, and ask for the past."""

import tempfile
from datetime import UTC, datetime

from memos import MOS
from memos.errors import Conflict


def main() -> None:
    with tempfile.TemporaryDirectory() as home, MOS.simple(home) as mos:
        (id,) = mos.add("Ann lives in Lisbon.", valid_from="2026-05-13").ids
        before = datetime.now(UTC)

        moved = mos.update(id, text="Ann lives in Porto.", valid_from="2026-09-01")
        print(moved.version, moved.text)  # 2 Ann lives in Porto.

        # Two programs that change the same version: the second one is told.
        try:
            mos.update(id, text="Ann lives in Faro.", expect=1)
        except Conflict as conflict:
            print(conflict.code)  # version_moved

        for version in mos.history(id):
            print(version.version, version.text, version.retired_at is None)
        # 1 Ann lives in Lisbon. False
        # 2 Ann lives in Porto. True

        question = "Where does Ann live?"
        now = mos.search(question).hits[0].memory.text
        then = mos.search(question, as_of=before).hits[0].memory.text
        print(now)  # Ann lives in Porto.
        print(then)  # Ann lives in Lisbon.

        # Retired memories are hidden now, and still there in the past and by their id.
        mos.forget(id)
        print(mos.search(question).hits)  # ()
        print(mos.get(id).status)  # archived
        page = mos.get_all(as_of=before)
        print([memory.text for memory in page.items])  # ['Ann lives in Lisbon.']

        # What expires is hidden from that moment on.
        mos.add("The parking permit is valid.", expires_at="2026-01-31")
        print(len(mos.search("parking permit").hits))  # 0
        print(len(mos.search("parking permit", at="2026-01-15").hits))  # 1


if __name__ == "__main__":
    main()
