"""Who did what to which cube, never what was said: kept with the accounts, by day."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Final

from memos.ports.stores import AccountStore
from memos.types import AuditEntry
from memos.users.access import Gate

_SWEPT: Final = 30
"""Days beyond the kept ones that are looked through for entries to drop."""


@dataclass(frozen=True, slots=True)
class Deed:
    """What somebody did.

    Attributes:
        action: The operation, like ``memories.add``.
        user: Who acted.
        key: The id of its API key, None for the operator on this machine.
        cubes: The cubes that it was about.
        target: What else it was about: the id of a memory, a user, a key.
        status: How it ended, as an HTTP status.
    """

    action: str
    user: str | None
    key: str | None
    cubes: tuple[str, ...]
    target: str | None
    status: int


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Entries, newest first; ``next`` continues, None ends."""

    items: tuple[AuditEntry, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class Audit:
    """The audit logs of all accounts.

    Attributes:
        store: Where they are kept.
        now: The clock.
        new_id: Makes ids that rise with time.
        keep_days: For how long.
    """

    store: AccountStore
    now: Callable[[], datetime]
    new_id: Callable[[], str]
    keep_days: int
    _swept: dict[str, date] = field(default_factory=dict[str, date])

    async def note(self, account: str, deed: Deed) -> None:
        """Keep what was done, durably.

        Raises:
            StoreError: It could not be kept.
        """
        at = self.now().astimezone(UTC)
        entry = AuditEntry(
            f"{at.date().isoformat()}/{self.new_id()}", account, at, deed.action, deed.user,
            deed.key, deed.cubes, deed.target, deed.status,
        )  # fmt: skip
        await self.store.put_entry(entry, expect=0)
        if self._swept.get(account) != at.date():
            self._swept[account] = at.date()
            await self._sweep(account, at.date())

    async def entries(
        self,
        gate: Gate,
        by: str,
        *,
        since: datetime | None = None,
        user: str | None = None,
        cube: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> AuditPage:
        """Return what was done in an account, as far as the credentials reach.

        Args:
            gate: Of the account, with the limits of the credentials.
            by: Who asks: an ADMIN or ROOT.
            since: From when on; as far back as is kept when None.
            user: Only what it did.
            cube: Only what was done to it.
            limit: Entries at most.
            cursor: ``next`` of the last page.

        Raises:
            Forbidden: The role of ``by`` may not.
        """
        await gate.actor(by, "manage_users")
        found: list[AuditEntry] = []
        for day in self._days(since, cursor):
            for entry in reversed(await self.store.list_entries(AuditEntry, gate.account, day)):
                if (cursor is not None and entry.id >= cursor) or (
                    since is not None and entry.at < since
                ):
                    continue
                if _chosen(entry, user, cube) and all(map(gate.reaches, entry.cubes)):
                    found.append(entry)
                if len(found) > limit:
                    return AuditPage(tuple(found[:limit]), found[limit - 1].id)
        return AuditPage(tuple(found), None)

    def _days(self, since: datetime | None, cursor: str | None) -> Iterator[str]:
        """Yield the prefixes of days, the newest first."""
        day = self.now().astimezone(UTC).date()
        oldest = day - timedelta(days=self.keep_days)
        if since is not None:
            oldest = max(oldest, since.astimezone(UTC).date())
        while day >= oldest:
            prefix = f"{day.isoformat()}/"
            if cursor is None or prefix <= cursor:
                yield prefix
            day -= timedelta(days=1)

    async def _sweep(self, account: str, today: date) -> None:
        for days in range(self.keep_days + 1, self.keep_days + _SWEPT + 1):
            prefix = f"{(today - timedelta(days=days)).isoformat()}/"
            if old := await self.store.list_entries(AuditEntry, account, prefix):
                await self.store.change_entries([], old)


def _chosen(entry: AuditEntry, user: str | None, cube: str | None) -> bool:
    return user in (None, entry.user) and (cube is None or cube in entry.cubes)
