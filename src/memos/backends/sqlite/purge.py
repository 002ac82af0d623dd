"""What an erase removes beside the database's pages: image files, blobs and the log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import apsw

from memos.backends.sqlite.blobs import Blobs
from memos.backends.sqlite.connection import File
from memos.backends.sqlite.images import Images


class Purge:
    """Removes what was erased from everything beside the database's pages."""

    def __init__(self, file: File, images: Images, blobs: Blobs) -> None:
        self._file = file
        self._images = images
        self._blobs = blobs

    def complete(self) -> None:
        """Do all the removals that are due.

        The work is written down with the erase, so that whoever opens the file, or erases next,
        completes what a crash or a busy log interrupted.
        """
        with self._file.reading() as db:
            due = cast(
                "list[tuple[int, str, str | None]]",
                db.execute("SELECT cube, account, digest FROM purges").fetchall(),
            )
        for cube, account, digest in due:
            if digest is None:
                self._images.forget(cube)
            else:
                self._blobs.remove(account, digest)
        if due:
            self._file.purge_log()
            self._file.write(lambda db: _done(db, due))


def _done(db: apsw.Connection, purges: Sequence[tuple[int, str, str | None]]) -> None:
    for purge in purges:
        db.execute("DELETE FROM purges WHERE cube = ? AND account = ? AND digest IS ?", purge)
