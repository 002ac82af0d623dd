"""The only place where a ``Scope`` is made, and so the only way to any memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memos.errors import Conflict, Forbidden, NotFound
from memos.ports.stores import AccountStore
from memos.types import Access, Cube, Grant, Scope, User


@dataclass(frozen=True, slots=True)
class Gate:
    """Decides for the principals of one account."""

    store: AccountStore
    account: str

    async def scope(
        self, principal: str, cubes: Sequence[str] | None = None, need: Access = "read"
    ) -> Scope:
        """Return what ``principal`` may do with ``cubes``, or with all it has a grant for.

        Raises:
            NotFound: The user does not exist, or a cube does not exist for it. A cube without a
                grant is not told apart from one that is not there.
            Forbidden: The cube can be read, and ``need`` is ``write``.
        """
        held: dict[str, Access] = {
            g.cube: g.access
            for g in await self.store.list_entries(Grant, self.account, f"{principal}/")
        }
        if not held and await self.store.get_entry(User, self.account, principal) is None:
            raise NotFound(
                f"user {principal!r} does not exist; create it with users.create({principal!r})",
                code="unknown_user",
            )
        scope = Scope(self.account, principal, held)
        if cubes is None:
            return scope
        for cube in cubes:
            if cube not in held:
                raise NotFound(f"user {principal!r} has no cube {cube!r}", code="unknown_cube")
            if not scope.may(cube, need):
                raise Forbidden(f"user {principal!r} may read cube {cube!r}, not change it")
        return Scope(self.account, principal, {cube: held[cube] for cube in cubes})

    async def founding(self, principal: str, cube: str) -> Scope:
        """Return what ``principal`` may do with a cube that it is about to make its own.

        Raises:
            NotFound: The user does not exist.
            Conflict: A cube of that id exists.
        """
        await self.scope(principal)
        if await self.store.get_entry(Cube, self.account, cube) is not None:
            raise Conflict(f"cube {cube!r} exists already", code="exists")
        return Scope(self.account, principal, {cube: "write"})


def narrowed(scope: Scope, cube: str) -> Scope:
    """Return ``scope`` for one of its cubes alone.

    Raises:
        Forbidden: The cube is not in it.
    """
    if cube not in scope.grants:
        raise Forbidden(f"user {scope.principal!r} has no cube {cube!r}")
    return Scope(scope.account, scope.principal, {cube: scope.grants[cube]})
