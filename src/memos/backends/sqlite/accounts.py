"""Users, cubes and grants in the records' file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final, cast

import apsw
import msgspec

from memos._offload import finished
from memos.backends.sqlite import codec
from memos.backends.sqlite.connection import File
from memos.ports import refusals
from memos.ports.stores import E, Entry

_LAST_CHARACTER: Final = "\U0010ffff"


class Accounts:
    """``AccountStore`` over one file.

    Every call of the API looks up its grants, a read of some microseconds in the page cache; a
    thread would cost ten times that, so these reads stay on the event loop.
    """

    def __init__(self, file: File) -> None:
        self._file = file

    async def get_entry(self, type_: type[E], account: str, id: str) -> E | None:
        """Return the entry, or None."""
        with self._file.glancing() as db:
            body = db.execute(
                "SELECT body FROM entries WHERE type = ? AND account = ? AND id = ?",
                (type_.__name__, account, id),
            ).get
        return None if body is None else msgspec.json.decode(cast("bytes", body), type=type_)

    async def put_entry(self, entry: Entry, *, expect: int) -> None:
        """Store the entry as version ``expect + 1``."""
        await finished(self._file.write(lambda db: put_entry(db, entry, expect)))

    async def list_entries(self, type_: type[E], account: str, prefix: str = "") -> list[E]:
        """Return the entries whose id starts with ``prefix``."""
        with self._file.glancing() as db:
            rows = db.execute(
                "SELECT body FROM entries WHERE type = ? AND account = ? AND id >= ? AND id < ?"
                " ORDER BY id",
                (type_.__name__, account, prefix, prefix + _LAST_CHARACTER),
            ).fetchall()
        return [
            msgspec.json.decode(body, type=type_)
            for (body,) in cast("Iterable[tuple[bytes]]", rows)
        ]


def put_entry(db: apsw.Connection, entry: Entry, expect: int) -> None:
    """Store the entry as version ``expect + 1``, inside the writer's transaction."""
    kind = type(entry).__name__
    key = (kind, entry.account, entry.id)
    version = db.execute(
        "SELECT version FROM entries WHERE type = ? AND account = ? AND id = ?", key
    ).get
    if (version or 0) != expect:
        raise refusals.entry_moved(kind.lower(), entry.id, expect)
    body = codec.encode(replace(entry, version=expect + 1))
    db.execute("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?)", (*key, expect + 1, body))
