"""Users and cubes of one account."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from memos.errors import Conflict, InvalidInput, NotFound
from memos.ports.stores import AccountStore
from memos.types import Cube, Grant, User
from memos.users.access import Gate

_MAX_ID: Final = 200


class Users:
    """The users of an account; each has a private cube whose id is the user's."""

    def __init__(self, store: AccountStore, account: str, now: Callable[[], datetime]) -> None:
        self._store = store
        self._account = account
        self._now = now

    async def create(self, id: str, *, name: str | None = None) -> User:
        """Create a user and its private cube.

        Raises:
            InvalidInput: The id is empty, too long, or has control characters or a slash.
            Conflict: The user exists, or somebody else owns a cube of that id.
        """
        check_id("user", id)
        user = User(id, self._account, name or id, self._now())
        if await self._store.get_entry(User, self._account, id) is not None:
            raise Conflict(f"user {id!r} exists already", code="exists")
        # The user comes last: a crash in between leaves what a repeated call completes.
        await _make_cube(self._store, Cube(id, self._account, name or id, id, self._now()))
        await self._store.put_entry(user, expect=0)
        return await self.get(id)

    async def ensure(self, id: str) -> User:
        """Return the user, created when it does not exist."""
        found = await self._store.get_entry(User, self._account, id)
        if found is not None:
            return found
        try:
            return await self.create(id)
        except Conflict:  # another process was quicker
            return await self.get(id)

    async def get(self, id: str) -> User:
        """Return a user.

        Raises:
            NotFound: There is none of that id.
        """
        found = await self._store.get_entry(User, self._account, id)
        if found is None:
            raise NotFound(f"user {id!r} does not exist", code="unknown_user")
        return found

    async def list(self) -> list[User]:
        """Return all users, by id."""
        return await self._store.list_entries(User, self._account)


class Cubes:
    """The cubes of an account, as far as a user may see them."""

    def __init__(
        self, store: AccountStore, gate: Gate, default_user: str, now: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._gate = gate
        self._default = default_user
        self._now = now

    async def create(self, id: str, *, name: str | None = None, owner: str | None = None) -> Cube:
        """Create a cube that its owner may read and write.

        Raises:
            InvalidInput: The id is empty, too long, or has control characters or a slash.
            Conflict: The cube exists.
            NotFound: The owner does not exist.
        """
        check_id("cube", id)
        owner = owner or self._default
        await self._gate.scope(owner)
        if await self._store.get_entry(Cube, self._gate.account, id) is not None:
            raise Conflict(f"cube {id!r} exists already", code="exists")
        cube = Cube(id, self._gate.account, name or id, owner, self._now())
        await _make_cube(self._store, cube)
        return await self.get(id, user=owner)

    async def get(self, id: str, *, user: str | None = None) -> Cube:
        """Return a cube that ``user`` may read.

        Raises:
            NotFound: There is none of that id for this user.
        """
        await self._gate.scope(user or self._default, [id])
        found = await self._store.get_entry(Cube, self._gate.account, id)
        if found is None:
            raise NotFound(f"cube {id!r} does not exist", code="unknown_cube")
        return found

    async def list(self, *, user: str | None = None) -> list[Cube]:
        """Return the cubes that ``user`` may read, by id."""
        scope = await self._gate.scope(user or self._default)
        cubes = await self._store.list_entries(Cube, self._gate.account)
        return [cube for cube in cubes if scope.may(cube.id, "read")]


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


def owning(cube: Cube) -> Grant:
    """Return the grant that makes a cube its owner's."""
    return Grant(f"{cube.owner}/{cube.id}", cube.account, cube.owner, cube.id, "write")


async def _make_cube(store: AccountStore, cube: Cube) -> None:
    found = await store.get_entry(Cube, cube.account, cube.id)
    if found is not None and found.owner != cube.owner:
        raise Conflict(
            f"cube {cube.id!r} exists already and belongs to another user", code="exists"
        )
    grant = owning(cube)
    if await store.get_entry(Grant, cube.account, grant.id) is None:
        await store.put_entry(grant, expect=0)
    if found is None:
        await store.put_entry(cube, expect=0)
