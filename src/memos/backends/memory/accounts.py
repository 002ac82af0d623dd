"""Users, cubes and grants of the reference engine."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import structs

from memos.ports import refusals
from memos.ports.stores import E, Entry
from memos.types import Grant, User


class Accounts:
    """``AccountStore`` in a dictionary."""

    def __init__(self) -> None:
        self._held: dict[tuple[type[Entry], str, str], Entry] = {}

    async def get_entry(self, type_: type[E], account: str, id: str) -> E | None:
        """Return the entry, or None."""
        held = self._held.get((type_, account, id))
        return held if isinstance(held, type_) else None

    async def put_entry(self, entry: Entry, *, expect: int) -> None:
        """Store the entry as version ``expect + 1``."""
        await self.change_entries([(entry, expect)])

    async def change_entries(
        self, puts: Sequence[tuple[Entry, int]], drops: Sequence[Entry] = ()
    ) -> None:
        """Store some entries and drop others, all or nothing."""
        for entry, expect in puts:
            self._check(entry, expect)
        for entry in drops:
            if _key(entry) in self._held:
                self._check(entry, entry.version)
        for entry, expect in puts:
            self._held[_key(entry)] = structs.replace(entry, version=expect + 1)
        for entry in drops:
            self._held.pop(_key(entry), None)

    async def standing(
        self, account: str, principal: str, cubes: Sequence[str] | None = None
    ) -> tuple[User | None, list[Grant]]:
        """Return a user and its grants."""
        user = await self.get_entry(User, account, principal)
        if cubes is None:
            return user, await self.list_entries(Grant, account, f"{principal}/")
        ids = [f"{principal}/{cube}" for cube in sorted(set(cubes))]
        found = [await self.get_entry(Grant, account, id) for id in ids]
        return user, [grant for grant in found if grant is not None]

    def version(self, entry: Entry) -> int:
        """Return the version that is stored of an entry, 0 for none."""
        held = self._held.get(_key(entry))
        return 0 if held is None else held.version

    def _check(self, entry: Entry, expect: int) -> None:
        if self.version(entry) != expect:
            raise refusals.entry_moved(type(entry).__name__.lower(), entry.id, expect)

    async def list_entries(
        self, type_: type[E], account: str, prefix: str = "", limit: int | None = None
    ) -> list[E]:
        """Return the entries whose id starts with ``prefix``."""
        found = [
            entry
            for entry in self._held.values()
            if isinstance(entry, type_) and entry.account == account and entry.id.startswith(prefix)
        ]
        return sorted(found, key=lambda entry: entry.id)[:limit]


def _key(entry: Entry) -> tuple[type[Entry], str, str]:
    return type(entry), entry.account, entry.id
