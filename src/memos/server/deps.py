"""What routes ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Query, Request

from memos.build import AsyncMOS
from memos.server.tenants import Caller, Tenants


@dataclass(frozen=True, slots=True)
class Visit:
    """One authenticated request.

    Attributes:
        tenants: All accounts.
        caller: Who calls.
        mos: What it may do.
    """

    tenants: Tenants
    caller: Caller
    mos: AsyncMOS

    async def acting(self, user: str | None) -> str:
        """Return the end user who acts, created on first use."""
        return await self.tenants.acting(self.caller, self.mos, user)


def tenants_of(request: Request) -> Tenants:
    """Return the tenants that the application opened."""
    return cast("Tenants", request.app.state.tenants)


async def visiting(request: Request) -> Visit:
    """Return the visit that a request is, once its credentials are checked."""
    tenants = tenants_of(request)
    caller = await tenants.caller(request)
    return Visit(tenants, caller, await tenants.memory(caller))


Visiting = Annotated[Visit, Depends(visiting)]
Acting = Annotated[str | None, Query(max_length=512, description="The acting end user.")]
