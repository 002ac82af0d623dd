"""The users of one account."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final, get_args

from msgspec import structs

from memos.errors import Conflict, InvalidInput, NotFound
from memos.ports.stores import AccountStore, Entry
from memos.types import Cube, Grant, Role, User
from memos.users.access import Gate, may

_MAX_ID: Final = 200


class Users:
    """The users of an account; each but a GUEST has a private cube whose id is the user's.

    ``by`` is who acts, the configured user when a call names nobody.
    """

    def __init__(
        self, store: AccountStore, gate: Gate, default_user: str, now: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._gate = gate
        self._account = gate.account
        self._default = default_user
        self._now = now

    async def create(
        self, id: str, *, name: str | None = None, role: Role = "USER", by: str | None = None
    ) -> User:
        """Create a user and its private cube.

        Raises:
            InvalidInput: The id is empty, too long, or has control characters or a slash; or there
                is no such role.
            Conflict: The user exists, or somebody else owns a cube of that id.
            Forbidden: The role of ``by`` may not create such a user.
        """
        check_role(role)
        await self._manager(by, role)
        return await self._create(id, name, role)

    async def ensure(self, id: str) -> User:
        """Return the user, created when it does not exist; the first of an account is its ROOT.

        Raises:
            InvalidInput: It does not exist, and its id is none that a user may have.
        """
        found = await self._store.get_entry(User, self._account, id)
        if found is not None:
            return found
        first = not await self._store.list_entries(User, self._account, limit=1)
        try:
            return await self._create(id, None, "ROOT" if first else "USER")
        except Conflict:
            found = await self._store.get_entry(User, self._account, id)
            if found is None:  # the conflict is about its cube
                raise
            return found  # another call was quicker

    async def get(self, id: str) -> User:
        """Return a user.

        Raises:
            NotFound: There is none of that id.
        """
        found = await self._store.get_entry(User, self._account, id)
        if found is None:
            raise NotFound(f"user {id!r} does not exist", code="unknown_user")
        return found

    async def list(self, *, by: str | None = None) -> list[User]:
        """Return all users, by id; only itself to who may not manage users."""
        actor = await self._gate.actor(by or self._default)
        if not may(actor, "manage_users"):
            return [actor]
        return await self._store.list_entries(User, self._account)

    async def rename(self, id: str, name: str, *, by: str | None = None) -> User:
        """Give a user another name; users may rename themselves.

        Raises:
            InvalidInput: The name is empty or too long.
            NotFound: There is no such user.
            Forbidden: The role of ``by`` may not.
        """
        check_name(name)
        self._gate.limits.check_write()
        user = await self._managed(id, by, itself=True)
        return await self._change(structs.replace(user, name=name))

    async def set_role(self, id: str, role: Role, *, by: str | None = None) -> User:
        """Give a user another role.

        Raises:
            InvalidInput: There is no such role.
            Forbidden: The role of ``by`` may not.
            Conflict: The account would have no active ROOT any more.
        """
        check_role(role)
        user = await self._managed(id, by)
        await self._manager(by, role)
        if role != "ROOT":
            await self._check_root_remains(user)
        if role != "GUEST":
            await make_cube(self._store, _private(user))
        return await self._change(structs.replace(user, role=role))

    async def deactivate(self, id: str, *, by: str | None = None) -> User:
        """Refuse every call of a user from now on; its cubes and grants stay.

        Raises:
            NotFound: There is no such user.
            Forbidden: The role of ``by`` may not.
            Conflict: It is the last active ROOT.
        """
        user = await self._managed(id, by)
        await self._check_root_remains(user)
        return await self._change(structs.replace(user, active=False))

    async def activate(self, id: str, *, by: str | None = None) -> User:
        """Let a deactivated user act again.

        Raises:
            NotFound: There is no such user.
            Forbidden: The role of ``by`` may not.
        """
        return await self._change(structs.replace(await self._managed(id, by), active=True))

    async def _create(self, id: str, name: str | None, role: Role) -> User:
        check_id("user", id)  # a slash would make its grants look like another user's
        if name is not None:
            check_name(name)
        user = User(id, self._account, name or id, self._now(), role=role)
        if await self._store.get_entry(User, self._account, id) is not None:
            raise Conflict(f"user {id!r} exists already", code="exists")
        cube = [] if role == "GUEST" else await _lacking(self._store, _private(user))
        await self._store.change_entries([(user, 0), *cube])
        return await self.get(id)

    async def _change(self, user: User) -> User:
        await self._store.put_entry(user, expect=user.version)
        return await self.get(user.id)

    async def _managed(self, id: str, by: str | None, *, itself: bool = False) -> User:
        """Return a user that ``by`` may manage; whoever may not learns nothing of others."""
        actor = await self._gate.actor(by or self._default)
        if itself and actor.id == id:
            return actor
        await self._gate.actor(actor.id, "manage_users")
        user = await self.get(id)
        await self._manager(by, user.role)
        return user

    async def _manager(self, by: str | None, role: Role) -> User:
        needed = "manage_admins" if role in ("ROOT", "ADMIN") else "manage_users"
        return await self._gate.actor(by or self._default, needed)

    async def _check_root_remains(self, user: User) -> None:
        others = [
            other
            for other in await self._store.list_entries(User, self._account)
            if other.role == "ROOT" and other.active and other.id != user.id
        ]
        if user.role == "ROOT" and user.active and not others:
            raise Conflict(
                f"user {user.id!r} is the last ROOT; make another one first", code="last_root"
            )


def check_id(what: str, id: object) -> None:
    """Refuse ids that could not be stored or told apart.

    Raises:
        InvalidInput: Naming what is wrong.
    """
    if not isinstance(id, str) or not id.strip():
        raise InvalidInput(f"a {what} id must be a non-empty string, got {id!r}", code="invalid_id")
    if len(id) > _MAX_ID or "/" in id or not id.isprintable():
        raise InvalidInput(
            f"a {what} id has at most {_MAX_ID} printable characters and no slash",
            code="invalid_id",
        )


def check_name(name: object) -> None:
    """Refuse names that could not be shown.

    Raises:
        InvalidInput: Naming what is wrong.
    """
    if not isinstance(name, str) or not name.strip() or len(name) > _MAX_ID:
        raise InvalidInput(f"a name has 1 to {_MAX_ID} characters, got {name!r:.80}")
    if not name.isprintable():
        raise InvalidInput("a name has printable characters only")


def check_role(role: object) -> None:
    """Refuse what is no role.

    Raises:
        InvalidInput: Naming the roles.
    """
    if role not in get_args(Role):
        raise InvalidInput(f"role: {role!r:.80} is none of {', '.join(get_args(Role))}")


def owning(cube: Cube) -> Grant:
    """Return the grant that makes a cube its owner's."""
    return granted(cube, cube.owner, "write")


def granted(cube: Cube, principal: str, access: str) -> Grant:
    """Return the grant of ``access`` to a cube."""
    found = "write" if access == "write" else "read"
    return Grant(f"{principal}/{cube.id}", cube.account, principal, cube.id, found)


async def make_cube(store: AccountStore, cube: Cube) -> None:
    """Enter a cube and its owner's grant, where they are not there yet.

    Raises:
        Conflict: Somebody else owns a cube of that id.
    """
    # At once: who loses a race for an id must not keep a grant for the winner's cube.
    if lacking := await _lacking(store, cube):
        await store.change_entries(lacking)


async def _lacking(store: AccountStore, cube: Cube) -> list[tuple[Entry, int]]:
    """Return the entries that a cube still needs, as ``change_entries`` takes them."""
    found = await store.get_entry(Cube, cube.account, cube.id)
    if found is not None and found.owner != cube.owner:
        raise Conflict(
            f"cube {cube.id!r} exists already and belongs to another user", code="exists"
        )
    grant = owning(cube)
    lacking: list[tuple[Entry, int]] = [] if found else [(cube, 0)]
    if await store.get_entry(Grant, cube.account, grant.id) is None:
        lacking.append((grant, 0))
    return lacking


def _private(user: User) -> Cube:
    return Cube(user.id, user.account, user.name, user.id, user.created_at)
