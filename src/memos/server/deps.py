"""What routes ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request

from memos.build import AsyncMOS
from memos.errors import Forbidden
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

    def need_write(self) -> None:
        """Refuse who may not change memories.

        Raises:
            Forbidden: The key lacks the scope.
        """
        if not self.caller.limits.write:
            raise Forbidden("the API key lacks the scope 'write'", code="key_scope")

    def need_admin(self) -> None:
        """Refuse who may not manage the account.

        Raises:
            Forbidden: The key lacks the scope.
        """
        if not self.caller.limits.manage:
            raise Forbidden("the API key lacks the scope 'admin'", code="key_scope")


def tenants_of(request: Request) -> Tenants:
    """Return the tenants that the application opened."""
    return cast("Tenants", request.app.state.tenants)


async def visiting(request: Request) -> Visit:
    """Return the visit that a request is, once its credentials are checked."""
    tenants = tenants_of(request)
    caller = await tenants.caller(request)
    return Visit(tenants, caller, await tenants.memory(caller))


Visiting = Annotated[Visit, Depends(visiting)]
