"""What routes ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, cast

import anyio
from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.routing import APIRoute

from memos.build import AsyncMOS
from memos.server.audited import Audited, Trail
from memos.server.schemas import Moment, Name, User
from memos.server.tenants import Caller, Tenants
from memos.users.access import Gate


@dataclass(frozen=True, slots=True)
class Visit:
    """One authenticated request.

    Attributes:
        tenants: All accounts.
        caller: Who calls.
        mos: What it may do.
        trail: What is told of it in the audit log.
    """

    tenants: Tenants
    caller: Caller
    mos: AsyncMOS
    trail: Trail

    @property
    def gate(self) -> Gate:
        """What decides who may do what."""
        return self.tenants.engine.gate(self.caller.account, self.caller.limits)

    async def acting(self, user: str | None) -> str:
        """Return the end user who acts, created on first use."""
        self.trail.user = user or self.caller.limits.user
        self.trail.user = await self.tenants.acting(self.caller, self.mos, user)
        return self.trail.user

    async def options(self, given: Mapping[str, Any], *drop: str) -> dict[str, Any]:
        """Return what a call names, but for ``drop``, with the end user who acts."""
        named = given.get("cubes") or given.get("cube")
        self.trail.cubes = (named,) if isinstance(named, str) else tuple(named or ())
        kept = {name: value for name, value in given.items() if name not in {*drop, "user"}}
        acting = await self.acting(given.get("user"))
        self.trail.cubes = self.trail.cubes or (acting,)
        return {"user": acting, **kept}


def tenants_of(request: Request) -> Tenants:
    """Return the tenants that the application opened."""
    return cast("Tenants", request.app.state.tenants)


def stopping_of(request: Request) -> anyio.Event:
    """Return what is set once the server is about to stop."""
    return cast("anyio.Event", request.app.state.stopping)


async def visiting(request: Request) -> Visit:
    """Return the visit that a request is, once its credentials are checked."""
    tenants = tenants_of(request)
    caller = await tenants.caller(request)
    return await visit_of(request, caller)


async def visit_of(request: Request, caller: Caller) -> Visit:
    """Return the visit of a caller whose credentials are checked; it is followed from here on."""
    request.state.trail = trail = Trail(caller)
    tenants = tenants_of(request)
    return Visit(tenants, caller, await tenants.memory(caller), trail)


def native(resource: str, prefix: str = "/v1") -> APIRouter:
    """Return a router of the native API; its operations are called ``resource.function``."""

    def operation(route: APIRoute) -> str:
        return f"{resource}.{route.name}"

    return APIRouter(
        prefix=prefix, tags=[resource], generate_unique_id_function=operation, route_class=Audited
    )


def present(**given: object) -> dict[str, object]:
    """Return what was given."""
    return {name: value for name, value in given.items() if value is not None}


Visiting = Annotated[Visit, Depends(visiting)]
Acting = Annotated[User | None, Query(description="The acting end user.")]
Cube = Annotated[Name | None, Query(description="The cube.")]
_MOST_IN_A_QUERY: Final = 100
"""So many of the longest names still fit into the 64 KB that a server takes as a URL; beyond these
it answers by itself, in a form that no client of ours reads. Bodies take more."""
Cubes = Annotated[
    list[Name] | None, Query(max_length=_MOST_IN_A_QUERY, description="Several cubes.")
]
Instant = Annotated[Moment | None, Query()]
IdempotencyKey = Annotated[
    str | None,
    Header(min_length=1, max_length=200, description="Makes a repeated call harmless."),
]
