"""Who may do what: the only place where roles are read and a ``Scope`` is made.

A scope says which cubes a user reads and writes; it is the only way to any memory. Roles are about
the account, not about memories: a ROOT may share every cube with itself, but sees into none before.

| role  | memories                       | cubes                | users                    |
|-------|--------------------------------|----------------------|--------------------------|
| ROOT  | of its own cubes and by grants | manages all          | manages all, gives roles |
| ADMIN | of its own cubes and by grants | manages all          | manages USERs and GUESTs |
| USER  | of its own cubes and by grants | owns, shares its own | itself                   |
| GUEST | reads what is shared with it   | none of its own      | itself                   |
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from memos.errors import Conflict, Forbidden, NotFound
from memos.ports.stores import AccountStore
from memos.types import Access, Cube, Grant, Role, Scope, User

Power: TypeAlias = Literal[
    "own_cubes", "write", "share", "manage_cubes", "manage_users", "manage_admins"
]
_USER: Final[frozenset[Power]] = frozenset({"own_cubes", "write", "share"})
_ADMIN: Final[frozenset[Power]] = frozenset({*_USER, "manage_cubes", "manage_users"})
POWERS: Final[Mapping[Role, frozenset[Power]]] = {
    "ROOT": frozenset({*_ADMIN, "manage_admins"}),
    "ADMIN": _ADMIN,
    "USER": _USER,
    "GUEST": frozenset(),
}
_MANAGING: Final[frozenset[Power]] = frozenset(
    {"share", "manage_cubes", "manage_users", "manage_admins"}
)
_TOLD: Final[Mapping[Power, str]] = {
    "own_cubes": "own cubes",
    "write": "write memories",
    "share": "decide who uses a cube",
    "manage_cubes": "manage the cubes of others",
    "manage_users": "manage users",
    "manage_admins": "manage ADMINs and ROOTs",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What the credentials of a call allow, whatever its user may do beyond that.

    Attributes:
        user: The only user that may act, or None for any.
        cubes: The only cubes that may be touched, or None for any.
        write: Whether memories may be changed.
        manage: Whether users, roles and the rights to cubes may be changed.
    """

    user: str | None = None
    cubes: frozenset[str] | None = None
    write: bool = True
    manage: bool = True

    def check_write(self) -> None:
        """Refuse credentials that may not change anything.

        Raises:
            Forbidden: They only read.
        """
        if not self.write:
            raise Forbidden("the API key lacks the scope 'write'", code="key_scope")

    def check_manage(self) -> None:
        """Refuse credentials that may not manage the account.

        Raises:
            Forbidden: They do not.
        """
        if not self.manage:
            raise Forbidden("the API key lacks the scope 'admin'", code="key_scope")


UNLIMITED: Final = Limits()


def may(user: User, power: Power) -> bool:
    """Whether the role of ``user`` has a power."""
    return power in POWERS[user.role]


@dataclass(frozen=True, slots=True)
class Gate:
    """Decides for the principals of one account, within the limits of a call's credentials."""

    store: AccountStore
    account: str
    limits: Limits = UNLIMITED

    async def scope(
        self, principal: str, cubes: Sequence[str] | None = None, need: Access = "read"
    ) -> Scope:
        """Return what ``principal`` may do with ``cubes``, or with all it has a grant for.

        Raises:
            NotFound: The user does not exist, or a cube does not exist for it. A cube without a
                grant is not told apart from one that is not there.
            Forbidden: The user was deactivated, or the cube can be read, and ``need`` is
                ``write``.
        """
        held = self._held(*await self._standing(principal, cubes))
        scope = Scope(self.account, principal, held)
        if cubes is None:
            return scope
        for cube in cubes:
            if cube not in held:
                raise NotFound(f"user {principal!r} has no cube {cube!r}", code="unknown_cube")
            if not scope.may(cube, need):
                raise Forbidden(f"user {principal!r} may read cube {cube!r}, not change it")
        return Scope(self.account, principal, {cube: held[cube] for cube in cubes})

    async def actor(self, principal: str, power: Power | None = None) -> User:
        """Return an active user, who has ``power`` if one is named.

        Raises:
            NotFound: The user does not exist.
            Forbidden: It was deactivated, or its role lacks the power.
        """
        user, _ = await self._standing(principal, ())
        if power in _MANAGING:
            self.limits.check_manage()
        if power is not None and not may(user, power):
            raise Forbidden(
                f"user {principal!r} is a {user.role}, which may not {_TOLD[power]}", code="role"
            )
        return user

    async def whole(self) -> tuple[Scope, Mapping[str, Cube]]:
        """Return what the credentials reach when no end user is named, and the cubes in it.

        Credentials that may act for any user reach every registered cube of the account: they
        could as well name each cube's owner. Those of one user reach what that user may.
        """
        only = self.limits.user
        cubes = {
            cube.id: cube
            for cube in await self.store.list_entries(Cube, self.account)
            if cube.registered and self.reaches(cube.id)
        }
        if only is not None:
            scope = await self.scope(only)
            return scope, {id: cubes[id] for id in cubes if id in scope.grants}
        access: Access = "write" if self.limits.write else "read"
        return Scope(self.account, "", dict.fromkeys(cubes, access)), cubes

    def _held(self, user: User, grants: Sequence[Grant]) -> dict[str, Access]:
        write = self.limits.write and may(user, "write")
        return {
            grant.cube: grant.access if write else "read"
            for grant in grants
            if self.reaches(grant.cube)
        }

    async def _standing(
        self, principal: str, cubes: Sequence[str] | None
    ) -> tuple[User, list[Grant]]:
        if self.limits.user not in (None, principal):
            raise Forbidden("the API key acts for another user", code="key_user")
        user, grants = await self.store.standing(self.account, principal, cubes)
        if user is None:
            raise NotFound(
                f"user {principal!r} does not exist; create it with users.create({principal!r})",
                code="unknown_user",
            )
        if not user.active:
            raise Forbidden(f"user {principal!r} was deactivated", code="deactivated")
        return user, grants

    def reaches(self, cube: str) -> bool:
        """Whether the credentials allow touching a cube at all."""
        return self.limits.cubes is None or cube in self.limits.cubes

    async def founding(self, principal: str, cube: str) -> Scope:
        """Return what ``principal`` may do with a cube that it is about to make its own.

        Raises:
            NotFound: The user does not exist.
            Forbidden: It may not own cubes, or the credentials do not reach this one.
            Conflict: A cube of that id exists.
        """
        await self.actor(principal, "own_cubes")
        self.limits.check_write()
        if not self.reaches(cube):
            raise Forbidden(f"the API key may not make cube {cube!r}", code="key_scope")
        if await self.store.get_entry(Cube, self.account, cube) is not None:
            raise Conflict(f"cube {cube!r} exists already", code="exists")
        return Scope(self.account, principal, {cube: "write"})


def narrowed(scope: Scope, cubes: Collection[str]) -> Scope:
    """Return ``scope`` for some of its cubes alone.

    Raises:
        Forbidden: One of them is not in it.
    """
    for cube in cubes:
        if cube not in scope.grants:
            raise Forbidden(f"user {scope.principal!r} has no cube {cube!r}")
    return Scope(scope.account, scope.principal, {cube: scope.grants[cube] for cube in cubes})
