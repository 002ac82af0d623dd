"""Routes whose requests are noted in the audit log, once they are answered."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

from fastapi import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute

from memos.errors import MemosError
from memos.server.problems import of_error
from memos.server.tenants import Caller, Tenants
from memos.users.audit import Deed

_logger: Final = logging.getLogger(__name__)
_FAILED: Final = 400
_REFUSED: Final = 403
_OF_CUBES: Final = ("cubes", "transfers")

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
_unlike_its_method: Final[dict[Callable[..., Any], bool]] = {}
"""Whether a route is noted, where its method does not say so."""


def reads(endpoint: Endpoint) -> Endpoint:
    """Mark what is asked by POST and changes nothing: it is not noted."""
    _unlike_its_method[endpoint] = False
    return endpoint


def takes_out(endpoint: Endpoint) -> Endpoint:
    """Mark what is asked by GET and takes out more than an answer: it is noted."""
    _unlike_its_method[endpoint] = True
    return endpoint


@dataclass(slots=True)
class Trail:
    """What a request turns out to be about; filled in by what serves it."""

    caller: Caller
    user: str | None = None
    cubes: tuple[str, ...] = ()
    target: str | None = None


class Audited(APIRoute):
    """Notes what changes something, and what was refused for want of rights."""

    @property
    def is_noted(self) -> bool:
        """Whether requests of this route are noted."""
        return _unlike_its_method.get(self.endpoint, self.methods != {"GET"})

    def get_route_handler(self) -> Handler:
        """Return what serves a request."""
        handle = super().get_route_handler()
        if not self.is_noted:
            return handle
        native = self.include_in_schema
        operation = self.unique_id if native else self.name

        def action(request: Request) -> str:
            dialect = getattr(request.state, "dialect", "")
            return operation if native else f"{dialect}.{operation}"

        async def handling(request: Request) -> Response:
            try:
                response = await handle(request)
            except MemosError as error:
                await _note(request, action(request), of_error(error).status)
                raise
            await _note(request, action(request), response.status_code)
            return response

        return handling


async def _note(request: Request, action: str, status: int) -> None:
    trail = cast("Trail | None", getattr(request.state, "trail", None))
    if trail is None or (status >= _FAILED and status != _REFUSED):
        return  # nobody that is known, or nothing that was done
    named = cast("dict[str, str]", request.path_params)
    target, cubes = named.get("id") or trail.target, trail.cubes
    if action.startswith(_OF_CUBES) and target is not None:
        target, cubes = named.get("to") or named.get("of"), (target,)
    key = None if trail.caller.key is None else trail.caller.key.id
    tenants = cast("Tenants", request.app.state.tenants)
    deed = Deed(action, trail.user, key, cubes, target, status)
    try:
        await tenants.audit.note(trail.caller.account, deed)
    except MemosError as error:
        # What was done is done: to say that it failed would be wrong.
        _logger.error("audit entry lost", extra={"action": action, "code": error.code})  # noqa: TRY400
