"""Who calls: from credentials to an account, its limits, and the memory that these may use."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import anyio
from starlette.requests import Request

from memos.buckets import Rate
from memos.build import AsyncMOS, Engine
from memos.errors import Forbidden, RateLimited, Unauthenticated
from memos.ports.stores import SharedState
from memos.types import ApiKey
from memos.users.access import UNLIMITED, Limits
from memos.users.audit import Audit
from memos.users.keys import Keys

_FORWARDED: Final = ("forwarded", "x-forwarded-for", "x-real-ip")
_SCHEMES: Final = ("bearer", "token")


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever makes a request.

    Attributes:
        account: The tenant that it acts for.
        limits: What its credentials allow.
        key: Its API key, or None for the operator on this machine.
    """

    account: str
    limits: Limits
    key: ApiKey | None = None


@dataclass(frozen=True, slots=True)
class Turnstile:
    """Lets through so many requests of one caller."""

    shared: SharedState
    rate: Rate

    async def let(self, who: str) -> None:
        """Count a request.

        Raises:
            RateLimited: Too many came.
        """
        wait = await self.shared.take(who, self.rate)
        if wait > 0:
            raise RateLimited("too many requests; slow down", service="memos", retry_after=wait)


class Tenants:
    """The accounts behind one engine."""

    def __init__(self, engine: Engine, keys: Keys, audit: Audit, turnstile: Turnstile) -> None:
        self.engine = engine
        self.keys = keys
        self.audit = audit
        self._turnstile = turnstile
        self._known: set[str] = set()
        self._lock = anyio.Lock()

    async def caller(self, request: Request) -> Caller:
        """Return who makes a request; see ``holder``."""
        return await self.holder(request, token_of(request.headers))

    async def holder(self, request: Request, token: str | None) -> Caller:
        """Return who makes a request with a key, or with none.

        Raises:
            Unauthenticated: No key where one is needed, or one that is not valid.
            RateLimited: Too many requests.
        """
        if token is None:
            if not (self.engine.settings.server.open_loopback and is_local(request)):
                raise Unauthenticated(
                    "send an API key: Authorization: Bearer <key>; 'memos key create' makes one"
                )
            await self._turnstile.let("local")
            return Caller(self.engine.settings.account, UNLIMITED)
        await self._turnstile.let(
            f"address {address_of(request)}"
        )  # guessing keys costs as much as using them
        key = await self.keys.authenticate(token)
        await self._turnstile.let(f"key {key.id}")
        return Caller(key.tenant, limits_of(key), key)

    async def memory(self, caller: Caller) -> AsyncMOS:
        """Return what the caller may do; the account's first use makes its ROOT."""
        if caller.account not in self._known:
            async with self._lock:
                mos = self.engine.mos(caller.account)
                await mos.users.ensure(self.engine.settings.user)
                self._known.add(caller.account)
        return self.engine.mos(caller.account, caller.limits)

    async def acting(self, caller: Caller, mos: AsyncMOS, user: str | None) -> str:
        """Return the end user who acts, created on first use.

        Raises:
            Forbidden: The key acts for another user only, or it may not write and nobody of
                that name is there.
        """
        own = caller.limits.user
        if own is not None and user not in (None, own):
            raise Forbidden("the API key acts for another user", code="key_user")
        acting = user or own or self.engine.settings.user
        if caller.limits.write:
            await mos.users.ensure(acting)
        else:
            await mos.users.get(acting)  # who only reads makes nobody
        return acting

    async def check(self, caller: Caller, user: str, cubes: Sequence[str]) -> None:
        """Refuse who lost its key, its user or its cubes since a stream began.

        Raises:
            Unauthenticated: The key was revoked or has expired.
            Forbidden: The user was deactivated.
            NotFound: A cube is not the user's to read any more.
        """
        if caller.key is not None:
            await self.keys.check(caller.key)
        await self.engine.gate(caller.account, caller.limits).scope(user, cubes)


def limits_of(key: ApiKey) -> Limits:
    """Return what a key allows."""
    return Limits(
        user=key.user,
        cubes=None if key.cubes is None else frozenset(key.cubes),
        write="write" in key.scopes,
        manage="admin" in key.scopes,
    )


def token_of(headers: Mapping[str, str]) -> str | None:
    """Return the API key of a request: ``Authorization: Bearer`` or ``Token``; None without one."""
    value = headers.get("authorization")
    if value is None:
        return None
    scheme, _, token = value.partition(" ")
    return token.strip() if scheme.lower() in _SCHEMES else ""


def address_of(request: Request) -> str:
    """Return where a request comes from."""
    return request.client.host if request.client is not None else "unknown"


def is_forwarded(request: Request) -> bool:
    """Whether a proxy says that it passes a request on."""
    return any(name in request.headers for name in _FORWARDED)


def is_local(request: Request) -> bool:
    """Whether a request comes from this machine itself: not through a proxy, not from a web page.

    A page of another site may make its visitor's browser ask us; such a request names that site as
    its origin. A site whose name suddenly stands for this machine (DNS rebinding) is found out by
    the name that the browser asks for.
    """
    if is_forwarded(request):
        return False
    host = request.headers.get("host", "")
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != host:
        return False
    return _is_loopback(address_of(request)) and _stands_for_us(host)


def _stands_for_us(host: str) -> bool:
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
    name = name.strip("[]").casefold()
    return "." not in name or name.endswith(".localhost") or _is_loopback(name)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
