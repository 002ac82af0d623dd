"""Users, cubes and grants in the records' file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, cast

import apsw
import msgspec
from msgspec import structs

from memos.backends.sqlite import codec
from memos.backends.sqlite.connection import File
from memos.ports import refusals
from memos.ports.stores import E, Entry
from memos.types import Grant, User

_LAST_CHARACTER: Final = "\U0010ffff"
_USER: Final = "SELECT 0, body FROM entries WHERE type = 'User' AND account = ?1 AND id = ?2"
_GRANTS: Final = " UNION ALL SELECT 1, body FROM entries WHERE type = 'Grant' AND account = ?1"
_ALL: Final = f"{_USER}{_GRANTS} AND id >= ?3 AND id < ?3 || '{_LAST_CHARACTER}'"
_NAMED: Final = 500
"""Up to so many grants are looked up one by one; among all of a user's otherwise."""
_users: Final = msgspec.json.Decoder(User)
_grants: Final = msgspec.json.Decoder(Grant)


class Accounts:
    """``AccountStore`` over one file.

    Every call of the API looks up its grants, a read of some microseconds in the page cache; a
    thread would cost ten times that, so these reads stay on the event loop.
    """

    def __init__(self, file: File) -> None:
        self._file = file

    async def get_entry(self, type_: type[E], account: str, id: str) -> E | None:
        """Return the entry, or None."""
        with self._file.glance as db:
            body = db.execute(
                "SELECT body FROM entries WHERE type = ? AND account = ? AND id = ?",
                (type_.__name__, account, id),
            ).get
        return None if body is None else msgspec.json.decode(cast("bytes", body), type=type_)

    async def put_entry(self, entry: Entry, *, expect: int) -> None:
        """Store the entry as version ``expect + 1``."""
        await self.change_entries([(entry, expect)])

    async def change_entries(
        self, puts: Sequence[tuple[Entry, int]], drops: Sequence[Entry] = ()
    ) -> None:
        """Store some entries and drop others, all or nothing."""

        def work(db: apsw.Connection) -> None:
            for entry, expect in puts:
                put_entry(db, entry, expect)
            for entry in drops:
                _drop(db, entry)

        await self._file.commit(work)

    async def standing(
        self, account: str, principal: str, cubes: Sequence[str] | None = None
    ) -> tuple[User | None, list[Grant]]:
        """Return a user and its grants."""
        names = None if cubes is None else {f"{principal}/{cube}" for cube in cubes}
        query, ids = _ALL, [f"{principal}/"]
        if names is not None and len(names) <= _NAMED:
            ids = list(names)
            query = f"{_USER}{_GRANTS} AND id IN ({', '.join('?' * len(ids))})"
        with self._file.glance as db:
            rows = db.execute(query, (account, principal, *ids)).fetchall()
        user: User | None = None
        grants: list[Grant] = []
        for kind, body in cast("Iterable[tuple[int, bytes]]", rows):
            if kind:
                grants.append(_grants.decode(body))
            else:
                user = _users.decode(body)
        if names is not None:
            held = (grant for grant in grants if grant.id in names)
            grants = sorted(held, key=lambda grant: grant.id)
        return user, grants

    async def list_entries(
        self, type_: type[E], account: str, prefix: str = "", limit: int | None = None
    ) -> list[E]:
        """Return the entries whose id starts with ``prefix``."""
        with self._file.glance as db:
            rows = db.execute(
                "SELECT body FROM entries WHERE type = ? AND account = ? AND id >= ? AND id < ?"
                " ORDER BY id LIMIT ?",
                (
                    type_.__name__, account, prefix, prefix + _LAST_CHARACTER,
                    -1 if limit is None else limit,
                ),
            ).fetchall()  # fmt: skip
        return [
            msgspec.json.decode(body, type=type_)
            for (body,) in cast("Iterable[tuple[bytes]]", rows)
        ]


def put_entry(db: apsw.Connection, entry: Entry, expect: int) -> None:
    """Store the entry as version ``expect + 1``, inside the writer's transaction."""
    kind = type(entry).__name__
    key = (kind, entry.account, entry.id)
    if (_version(db, entry) or 0) != expect:
        raise refusals.entry_moved(kind.lower(), entry.id, expect)
    body = codec.encode(structs.replace(entry, version=expect + 1))
    db.execute("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?)", (*key, expect + 1, body))


def _drop(db: apsw.Connection, entry: Entry) -> None:
    version = _version(db, entry)
    if version not in (None, entry.version):
        raise refusals.entry_moved(type(entry).__name__.lower(), entry.id, entry.version)
    db.execute(
        "DELETE FROM entries WHERE type = ? AND account = ? AND id = ?",
        (type(entry).__name__, entry.account, entry.id),
    )


def _version(db: apsw.Connection, entry: Entry) -> int | None:
    found = db.execute(
        "SELECT version FROM entries WHERE type = ? AND account = ? AND id = ?",
        (type(entry).__name__, entry.account, entry.id),
    )
    return cast("int | None", found.get)
