"""The cubes of one account: who owns them, and who else may read or write them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import get_args

from msgspec import structs

from memos.errors import Conflict, Forbidden, InvalidInput, NotFound
from memos.ports.stores import AccountStore
from memos.types import Access, Cube, Grant, User
from memos.users.access import Gate, may
from memos.users.service import check_id, check_name, granted, make_cube, owning


class Cubes:
    """The cubes of an account, as far as a user may see them.

    ``user`` is who acts, the configured user when a call names nobody. Only a cube's owner and who
    manages cubes by role changes who else may use it; to others it does not exist.
    """

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
            Forbidden: The owner is a GUEST.
        """
        check_id("cube", id)
        if name is not None:
            check_name(name)
        owner = owner or self._default
        await self._gate.founding(owner, id)
        cube = Cube(id, self._gate.account, name or id, owner, self._now())
        await make_cube(self._store, cube)
        return await self.get(id, user=owner)

    async def get(self, id: str, *, user: str | None = None) -> Cube:
        """Return a cube that ``user`` may read.

        Raises:
            NotFound: There is none of that id for this user.
        """
        await self._gate.scope(user or self._default, [id])
        return await self._entry(id)

    async def list(self, *, user: str | None = None, unregistered: bool = False) -> list[Cube]:
        """Return the cubes that ``user`` may read, by id; or the unregistered ones it manages."""
        actor = user or self._default
        scope = await self._gate.scope(actor)
        if not unregistered:
            held = [
                await self._store.get_entry(Cube, scope.account, id) for id in sorted(scope.grants)
            ]
            return [cube for cube in held if cube is not None]
        cubes = await self._store.list_entries(Cube, self._gate.account)
        manager = may(await self._gate.actor(actor), "manage_cubes")
        return [
            cube
            for cube in cubes
            if not cube.registered
            and (manager or cube.owner == actor)
            and self._gate.reaches(cube.id)
        ]

    async def grants(self, id: str, *, user: str | None = None) -> list[Grant]:
        """Return who may read or write a cube, by user; its owner comes among them.

        Raises:
            NotFound: There is none of that id for this user.
            Forbidden: The cube is another user's.
        """
        cube = await self._managed(id, user)
        return [g for g in await self._all_grants() if g.cube == cube.id]

    async def rename(self, id: str, name: str, *, user: str | None = None) -> Cube:
        """Give a cube another name; its id stays.

        Raises:
            InvalidInput: The name is empty or too long.
            NotFound: There is none of that id for this user.
            Forbidden: The cube is another user's.
        """
        check_name(name)
        cube = await self._managed(id, user)
        await self._store.put_entry(structs.replace(cube, name=name), expect=cube.version)
        return await self._entry(id)

    async def share(
        self, id: str, to: str, access: Access = "read", *, user: str | None = None
    ) -> Grant:
        """Let another user read a cube, or read and write it; from its very next call on.

        Args:
            id: The cube.
            to: The other user.
            access: ``read`` or ``write``; replaces what it had before.
            user: Who shares.

        Raises:
            InvalidInput: There is no such access.
            NotFound: There is no such cube for this user, or nobody called ``to``.
            Forbidden: The cube is another user's, or ``to`` is a GUEST and may not write.
            Conflict: ``to`` owns the cube.
        """
        if access not in get_args(Access):
            raise InvalidInput(f"access: {access!r:.80} is none of read, write")
        cube = await self._managed(id, user)
        _check_open(cube)
        other = await self._user(to)
        if to == cube.owner:
            raise Conflict(f"user {to!r} owns cube {id!r} and has every right", code="owner")
        if access == "write" and not may(other, "write"):
            raise Forbidden(f"user {to!r} is a {other.role} and may not write", code="role")
        grant = granted(cube, to, access)
        found = await self._store.get_entry(Grant, cube.account, grant.id)
        # The cube's version is expected too: who transfers it meanwhile must not be overrun.
        puts = [(cube, cube.version), (grant, 0 if found is None else found.version)]
        await self._store.change_entries(puts)
        return grant

    async def revoke(self, id: str, of: str, *, user: str | None = None) -> None:
        """Take back what was shared; it ends with the other's next call.

        A user may give back what was shared with it. Nothing happens where nothing was shared.

        Raises:
            NotFound: There is no such cube for this user.
            Forbidden: The cube is another user's.
            Conflict: ``of`` owns the cube.
        """
        actor = user or self._default
        self._gate.limits.check_write()
        if actor == of:
            await self._gate.scope(actor, [id])
            cube = await self._entry(id)
        else:
            cube = await self._managed(id, user)
        if of == cube.owner:
            raise Conflict(f"user {of!r} owns cube {id!r}; transfer or unregister it", code="owner")
        found = await self._store.get_entry(Grant, cube.account, granted(cube, of, "read").id)
        if found is not None:
            await self._store.change_entries([], [found])

    async def transfer(self, id: str, to: str, *, user: str | None = None) -> Cube:
        """Give a cube to another user; who owned it before has no right to it any more.

        Raises:
            NotFound: There is no such cube for this user, or nobody called ``to``.
            Forbidden: The cube is another user's, or ``to`` may not own cubes.
            Conflict: It is a user's private cube.
        """
        cube = await self._managed(id, user)
        _check_open(cube)
        other = await self._user(to)
        if not may(other, "own_cubes"):
            raise Forbidden(f"user {to!r} is a {other.role} and may not own cubes", code="role")
        if cube.id == cube.owner:
            raise Conflict(
                f"cube {id!r} is the private cube of its owner; create another one, or share it",
                code="private_cube",
            )
        if to == cube.owner:
            return cube
        given = structs.replace(cube, owner=to)
        mine = await self._store.get_entry(Grant, cube.account, owning(cube).id)
        theirs = await self._store.get_entry(Grant, cube.account, owning(given).id)
        puts = [(given, cube.version), (owning(given), 0 if theirs is None else theirs.version)]
        await self._store.change_entries(puts, [] if mine is None else [mine])
        return await self._entry(id)

    async def unregister(self, id: str, *, user: str | None = None) -> Cube:
        """Put a cube out of reach, for everybody, and keep its memories and who could use them.

        Raises:
            NotFound: There is no such cube for this user.
            Forbidden: The cube is another user's.
            Conflict: It is a user's private cube.
        """
        cube = await self._managed(id, user)
        if cube.id == cube.owner:
            raise Conflict(f"cube {id!r} is the private cube of its owner", code="private_cube")
        if not cube.registered:
            return cube
        grants = [g for g in await self._all_grants() if g.cube == cube.id]
        closed = structs.replace(
            cube, registered=False, held=tuple((g.principal, g.access) for g in grants)
        )
        await self._store.change_entries([(closed, cube.version)], grants)
        return await self._entry(id)

    async def register(self, id: str, *, user: str | None = None) -> Cube:
        """Bring an unregistered cube back, with everybody's rights as they were.

        A cube that lies in a directory, an archive or elsewhere is loaded (``mos.load``).

        Raises:
            NotFound: There is no such cube for this user.
            Forbidden: The cube is another user's.
        """
        cube = await self._managed(id, user)
        if cube.registered:
            return cube
        opened = structs.replace(cube, registered=True, held=())
        grants = [(granted(cube, principal, access), 0) for principal, access in cube.held]
        await self._store.change_entries([(opened, cube.version), *grants])
        return await self._entry(id)

    async def _entry(self, id: str) -> Cube:
        found = await self._store.get_entry(Cube, self._gate.account, id)
        if found is None:
            raise NotFound(f"cube {id!r} does not exist", code="unknown_cube")
        return found

    async def _user(self, id: str) -> User:
        found = await self._store.get_entry(User, self._gate.account, id)
        if found is None:
            raise NotFound(f"user {id!r} does not exist", code="unknown_user")
        return found

    async def _all_grants(self) -> list[Grant]:
        return await self._store.list_entries(Grant, self._gate.account)

    async def _managed(self, id: str, user: str | None) -> Cube:
        """Return a cube that the user owns, or may manage by its role."""
        actor = await self._gate.actor(user or self._default, "share")
        found = await self._store.get_entry(Cube, self._gate.account, id)
        if not self._gate.reaches(id):
            found = None
        if found is not None and (found.owner == actor.id or may(actor, "manage_cubes")):
            return found
        await self._gate.scope(actor.id, [id])
        raise Forbidden(f"cube {id!r} belongs to another user; only its owner may do that")


def _check_open(cube: Cube) -> None:
    if not cube.registered:
        raise Conflict(f"cube {cube.id!r} is unregistered; register it first", code="unregistered")
