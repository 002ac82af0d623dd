"""Users, cubes and grants of the reference engine."""

from __future__ import annotations

from dataclasses import replace

from memos.ports import refusals
from memos.ports.stores import E, Entry


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
        if self.version(entry) != expect:
            raise refusals.entry_moved(type(entry).__name__.lower(), entry.id, expect)
        self._held[type(entry), entry.account, entry.id] = replace(entry, version=expect + 1)

    def version(self, entry: Entry) -> int:
        """Return the version that is stored of an entry, 0 for none."""
        held = self._held.get((type(entry), entry.account, entry.id))
        return 0 if held is None else held.version

    async def list_entries(self, type_: type[E], account: str, prefix: str = "") -> list[E]:
        """Return the entries whose id starts with ``prefix``."""
        found = [
            entry
            for entry in self._held.values()
            if isinstance(entry, type_) and entry.account == account and entry.id.startswith(prefix)
        ]
        return sorted(found, key=lambda entry: entry.id)
