"""Who calls in a dialect: its key, the end users and cubes that a body names, and ids alone.

Old clients send whatever they hold as a key, and the plugins refuse to start without one. So a
text that cannot be a key of this server counts as none, in the dialects alone: it opens what no
key opens, which is this machine's own account on loopback, or what the operator bound.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Depends, Request
from pydantic import IPvAnyNetwork

from memos.errors import Conflict, Forbidden, InvalidInput, NotFound
from memos.server.compat.envelopes import Dialect
from memos.server.deps import Visit, tenants_of, visit_of
from memos.server.tenants import address_of, is_forwarded, is_local
from memos.settings import ServerSettings
from memos.types import Memory, Scope
from memos.users.keys import is_token
from memos.users.service import check_id

_SCHEMES: Final = ("bearer ", "token ")
AGENT: Final = "agent:"
"""Begins the name of the end user that an agent is, when a call names an agent and nobody else."""
MOST_NAMED: Final = 100
"""Cubes or end users that one call may name."""


@dataclass(frozen=True, slots=True)
class Found:
    """A memory that a call named by its id alone, and the end user to act as."""

    memory: Memory
    user: str

    @property
    def who(self) -> dict[str, str]:
        """What a call of the engine has to say to reach it."""
        return {"user": self.user, "cube": self.memory.place.cube}


class Calling:
    """The dependency that authenticates a request of one dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect: Dialect = dialect

    async def __call__(self, request: Request) -> Visit:
        """Return the visit that a request is, once its credentials are checked."""
        tenants = tenants_of(request)
        request.state.dialect = self._dialect
        token = token_for(request, self._dialect, tenants.engine.settings.server)
        return await visit_of(request, await tenants.holder(request, token))


Product = Annotated[Visit, Depends(Calling("product"))]
Openmem = Annotated[Visit, Depends(Calling("openmem"))]
Start = Annotated[Visit, Depends(Calling("start"))]


def token_for(request: Request, dialect: Dialect, settings: ServerSettings) -> str | None:
    """Return the key that a request of a dialect is made with."""
    token = _sent(request.headers)
    if token is not None and is_token(token):
        return token
    for entry in settings.default_keys:
        if entry.dialect == dialect and _within(request, entry.network):
            return entry.key.get_secret_value()
    if settings.open_loopback and is_local(request):
        return None
    return token


async def subject(visit: Visit, user: str | None, agent: str | None = None) -> str:
    """Return the end user who acts, created on first use: a user, or an agent by itself.

    Raises:
        InvalidInput: The id cannot be one, or a user is called like an agent.
    """
    if user is not None and user.startswith(AGENT):
        raise InvalidInput(f"user_id: ids that begin with {AGENT!r} are agents'", code="invalid_id")
    named = AGENT + agent if user is None and agent is not None else user
    if named is not None:
        check_id("user", named)
    return await visit.acting(named)


async def reaching(visit: Visit, user: str, cubes: Sequence[str]) -> list[str]:
    """Return the cubes that a call names, each once; new ones become the end user's.

    Raises:
        InvalidInput: There are too many.
        NotFound: One belongs to somebody else.
    """
    named = list(dict.fromkeys(cubes)) or [user]
    visit.trail.cubes = tuple(named)
    if len(named) > MOST_NAMED:
        raise InvalidInput(f"a call may name {MOST_NAMED} cubes, not {len(named)}")
    for cube in named:
        if cube != user:
            await _ensure(visit, cube, user)
    return named


async def owner(visit: Visit, user: str | None, cube: str, *, create: bool = False) -> str:
    """Return who acts on a cube: who is named, else its owner.

    MemOS calls a user's cube like the user and names the cube alone on some routes: with
    ``create``, a cube that is not there yet is such a user's.

    Raises:
        NotFound: Nobody is named, and there is no such cube.
    """
    visit.trail.cubes = (cube,)
    if user is not None or visit.caller.limits.user is not None:
        return await subject(visit, user)
    _, cubes = await visit.gate.whole()
    if cube in cubes:
        visit.trail.user = cubes[cube].owner
        return cubes[cube].owner
    if create:
        return await subject(visit, cube)
    raise NotFound(f"there is no cube {cube!r}", code="unknown_cube")


async def scope_of(visit: Visit, user: str, cubes: Sequence[str]) -> Scope:
    """Return what an end user may read of cubes."""
    return await visit.gate.scope(user, cubes)


async def locate(
    visit: Visit, ids: Sequence[str], user: str | None = None, cubes: Sequence[str] | None = None
) -> list[Found]:
    """Return the live memories that ids name, for a named end user or for the credentials alone.

    Unknown and deleted ones are left out; of an id that several cubes hold, each comes.
    """
    held = [
        found
        for found in await _held(visit, ids, user)
        if found.memory.retired_at is None and (cubes is None or found.memory.place.cube in cubes)
    ]
    visit.trail.cubes = tuple(sorted({found.memory.place.cube for found in held}))
    visit.trail.user = visit.trail.user or (held[0].user if held else None)
    return held


async def found(visit: Visit, id: str, user: str | None = None) -> Found:
    """Return the one memory of an id, or the one that stands in its place by now.

    Raises:
        NotFound: There is none.
        Conflict: Several cubes have one.
    """
    held = [
        one
        for one in await _held(visit, [id], user)
        if one.memory.retired_at is None or one.memory.superseded_by is not None
    ]
    if len(held) > 1:
        raise Conflict(f"several cubes have a memory {id!r}; name the cube", code="ambiguous")
    if held:
        (one,) = held
        visit.trail.cubes = (one.memory.place.cube,)
        memory = await visit.mos.get(id, resolve=True, user=one.user, cube=one.memory.place.cube)
        if memory.retired_at is None:
            visit.trail.user, visit.trail.cubes = one.user, (memory.place.cube,)
            return Found(memory, one.user)
    raise NotFound(f"there is no memory {id!r:.200}", code="unknown_memory")


async def everywhere(visit: Visit) -> dict[str, str]:
    """Return cube -> who acts on it, for all that the credentials may change."""
    scope, cubes = await visit.gate.whole()
    only = visit.caller.limits.user
    return {id: only or cube.owner for id, cube in cubes.items() if scope.may(id, "write")}


async def exists(visit: Visit, cube: str) -> bool:
    """Whether there is a cube of that id, as far as the credentials reach."""
    _, cubes = await visit.gate.whole()
    return cube in cubes


async def _ensure(visit: Visit, cube: str, user: str) -> None:
    cubes = visit.mos.cubes
    try:
        await cubes.get(cube, user=user)
    except NotFound:
        if not visit.caller.limits.write:
            raise
        try:
            await cubes.create(cube, owner=user)
        except (Conflict, Forbidden):  # somebody else's, or made meanwhile by the same user
            await cubes.get(cube, user=user)


async def _held(visit: Visit, ids: Sequence[str], user: str | None) -> list[Found]:
    gate = visit.gate
    scope, known = await gate.whole()
    if user is not None:
        scope = await gate.scope(await subject(visit, user))
    only = visit.caller.limits.user or user
    memories = await visit.tenants.engine.records.get(list(dict.fromkeys(ids)), scope)
    return [Found(memory, only or known[memory.place.cube].owner) for memory in memories]


def _sent(headers: Mapping[str, str]) -> str | None:
    """Return what stands in the header Authorization, with or without a scheme."""
    value = headers.get("authorization", "").strip()
    for scheme in _SCHEMES:
        if f"{value} ".lower().startswith(scheme):
            value = value[len(scheme) :].strip()
    return value or None


def _within(request: Request, network: IPvAnyNetwork) -> bool:
    if is_forwarded(request):
        return False  # the address is the proxy's
    try:
        return ipaddress.ip_address(address_of(request)) in network
    except ValueError:
        return False
