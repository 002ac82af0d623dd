"""Users, cubes and grants in the records' file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import cast

import apsw
import msgspec

from memos._offload import Offload, finished
from memos.backends.sqlite import codec
from memos.backends.sqlite.connection import File
from memos.errors import Conflict
from memos.ports.stores import E, Entry


class Accounts:
    """``AccountStore`` over one file."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._offload = Offload(2)

    async def get_entry(self, type_: type[E], account: str, id: str) -> E | None:
        """Return the entry, or None."""

        def run() -> E | None:
            with self._file.reading() as db:
                body = db.execute(
                    "SELECT body FROM entries WHERE type = ? AND account = ? AND id = ?",
                    (type_.__name__, account, id),
                ).get
            return None if body is None else msgspec.json.decode(cast("bytes", body), type=type_)

        return await self._offload.run(run)

    async def put_entry(self, entry: Entry, *, expect: int) -> None:
        """Store the entry as version ``expect + 1``."""
        body = codec.encode(replace(entry, version=expect + 1))
        kind = type(entry).__name__

        def work(db: apsw.Connection) -> None:
            key = (kind, entry.account, entry.id)
            version = db.execute(
                "SELECT version FROM entries WHERE type = ? AND account = ? AND id = ?", key
            ).get
            if (version or 0) != expect:
                raise Conflict(
                    f"{kind.lower()} {entry.id!r} "
                    + ("exists already" if expect == 0 else "was changed meanwhile; read it again"),
                    code="exists" if expect == 0 else "version_moved",
                )
            db.execute(
                "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?)", (*key, expect + 1, body)
            )

        await finished(self._file.write(work))

    async def list_entries(self, type_: type[E], account: str, prefix: str = "") -> list[E]:
        """Return the entries whose id starts with ``prefix``."""

        def run() -> list[E]:
            with self._file.reading() as db:
                rows = db.execute(
                    "SELECT body FROM entries WHERE type = ? AND account = ?"
                    " AND substr(id, 1, ?) = ? ORDER BY id",
                    (type_.__name__, account, len(prefix), prefix),
                ).fetchall()
            return [
                msgspec.json.decode(body, type=type_)
                for (body,) in cast("Iterable[tuple[bytes]]", rows)
            ]

        return await self._offload.run(run)
