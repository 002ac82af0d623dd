"""API keys: made once, shown once, and kept as nothing but a keyed digest.

A key is ``mk_<id>_<secret>``. The id finds the entry; the secret, 32 random bytes, is compared in
constant time with its HMAC-SHA256 (RFC 2104) under a pepper that lies outside the store. Whatever
is wrong with a key, the answer is the same.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, get_args

from msgspec import structs

from memos.errors import Conflict, InvalidInput, NotFound, Unauthenticated
from memos.ports.stores import AccountStore
from memos.types import ApiKey, KeyScope
from memos.users.service import check_name

SYSTEM: Final = "\x00system"
"""The account of entries that no tenant can name: ids of accounts are printable."""
_PREFIX: Final = "mk"
_ID_BYTES: Final = 6
_SECRET_BYTES: Final = 32
_PARTS: Final = 3
_USE_NOTED_EVERY: Final = timedelta(minutes=1)
_NO_KEY: Final = "0" * 64


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made; ``token`` is shown now and never again."""

    key: ApiKey
    token: str


@dataclass(frozen=True, slots=True)
class Keys:
    """The API keys of a server.

    Attributes:
        store: Where they are entered.
        pepper: A secret of at least 32 bytes; without it no digest can be checked.
        now: The clock.
    """

    store: AccountStore
    pepper: bytes
    now: Callable[[], datetime]

    async def create(
        self,
        tenant: str,
        name: str,
        *,
        scopes: Sequence[KeyScope] = ("read", "write"),
        user: str | None = None,
        cubes: Sequence[str] | None = None,
        expires_at: datetime | None = None,
        once: str | None = None,
    ) -> NewKey:
        """Make a key for an account.

        Args:
            tenant: The account that it acts for.
            name: What people call it.
            scopes: What it may do.
            user: The only user that it may act for; any of the account when None.
            cubes: The only cubes that it may touch; any that its user may when None.
            expires_at: From when on it is refused.
            once: Makes a repeated call harmless: it gives the same key, token included, which is
                not stored for that, but made of this and the pepper.

        Raises:
            InvalidInput: A scope that is none, no scope, or a time that has passed.
            Conflict: Another key was made with ``once``, or this one was changed since.
        """
        check_name(name)
        _check_scopes(scopes)
        if expires_at is not None and expires_at <= self.now():
            raise InvalidInput("expires_at has passed already; name a later time")
        made = ApiKey(
            id=self._id(tenant, once), account=SYSTEM, tenant=tenant, name=name, digest="",
            scopes=tuple(dict.fromkeys(scopes)), created_at=self.now(), user=user,
            cubes=None if cubes is None else tuple(dict.fromkeys(cubes)), expires_at=expires_at,
        )  # fmt: skip
        if once is None:
            return await self._issue(made, expect=0)
        return await self._made_once(made, once)

    async def adopt(self, tenant: str, token: str, name: str) -> None:
        """Enter a key that the operator chose, with every right, unless it is known already.

        Raises:
            InvalidInput: It has not the form of a key.
        """
        parts = _parsed(token)
        if parts is None:
            raise InvalidInput(
                f"a key has the form {_PREFIX}_<12 hex digits>_<secret of 32 characters or more>; "
                "'memos key generate' makes one",
                code="invalid_key_form",
            )
        id, secret = parts
        if await self.store.get_entry(ApiKey, SYSTEM, id) is None:
            scopes: tuple[KeyScope, ...] = get_args(KeyScope)
            made = ApiKey(
                id=id, account=SYSTEM, tenant=tenant, name=name, digest=self._digest(secret),
                scopes=scopes, created_at=self.now(),
            )  # fmt: skip
            await self.store.put_entry(made, expect=0)

    async def authenticate(self, token: str) -> ApiKey:
        """Return the key behind a token, and note that it was used.

        Raises:
            Unauthenticated: It is not known, expired or revoked; which, is not told.
        """
        id, secret = _parsed(token) or ("", "")
        found = await self.store.get_entry(ApiKey, SYSTEM, id)
        # Also an unknown key costs a digest and a comparison: time tells nothing either.
        known = hmac.compare_digest(self._digest(secret), found.digest if found else _NO_KEY)
        now = self.now()
        if found is None or not known or not _valid(found, now):
            raise Unauthenticated("the API key is not valid", code="invalid_key")
        if found.last_used_at is None or now - found.last_used_at > _USE_NOTED_EVERY:
            await self._note_use(structs.replace(found, last_used_at=now))
        return found

    async def check(self, key: ApiKey) -> None:
        """Refuse a key that was revoked, changed or expired since it was authenticated.

        Raises:
            Unauthenticated: It was.
        """
        found = await self.store.get_entry(ApiKey, SYSTEM, key.id)
        if found is None or found.digest != key.digest or not _valid(found, self.now()):
            raise Unauthenticated("the API key is not valid", code="invalid_key")

    async def list(self, tenant: str) -> list[ApiKey]:
        """Return the keys of an account, oldest first."""
        keys = await self.store.list_entries(ApiKey, SYSTEM)
        mine = [key for key in keys if key.tenant == tenant]
        return sorted(mine, key=lambda key: key.created_at)

    async def rotate(self, tenant: str, id: str) -> NewKey:
        """Give a key another secret; the former one is refused from now on.

        Raises:
            NotFound: The account has no such key.
            Conflict: It was revoked.
        """
        found = await self.get(tenant, id)
        if found.revoked_at is not None:
            raise Conflict(f"key {id!r} was revoked; make a new one", code="revoked")
        return await self._issue(found, expect=found.version)

    async def revoke(self, tenant: str, id: str) -> ApiKey:
        """Refuse a key from now on.

        Raises:
            NotFound: The account has no such key.
        """
        found = await self.get(tenant, id)
        if found.revoked_at is None:
            await self.store.put_entry(
                structs.replace(found, revoked_at=self.now()), expect=found.version
            )
        return await self.get(tenant, id)

    async def get(self, tenant: str, id: str) -> ApiKey:
        """Return a key of an account.

        Raises:
            NotFound: The account has no such key.
        """
        found = await self.store.get_entry(ApiKey, SYSTEM, id)
        if found is None or found.tenant != tenant:
            raise NotFound(f"there is no key {id!r}", code="unknown_key")
        return found

    async def _made_once(self, key: ApiKey, once: str) -> NewKey:
        seed = self._seed(key.tenant, once, "secret")
        secret = base64.urlsafe_b64encode(seed).rstrip(b"=").decode()
        try:
            return await self._issue(key, expect=0, secret=secret)
        except Conflict:
            found = await self.get(key.tenant, key.id)
        wanted = structs.replace(
            key, digest=self._digest(secret), created_at=found.created_at, version=found.version,
            last_used_at=found.last_used_at,
        )  # fmt: skip
        if found != wanted:
            raise Conflict(
                "the Idempotency-Key was used for another key, or this one was changed since",
                code="idempotency_key",
            )
        return NewKey(found, f"{_PREFIX}_{key.id}_{secret}")

    def _id(self, tenant: str, once: str | None) -> str:
        if once is None:
            return secrets.token_hex(_ID_BYTES)
        return self._seed(tenant, once, "id")[:_ID_BYTES].hex()

    def _seed(self, tenant: str, once: str, what: str) -> bytes:
        return hmac.digest(self.pepper, f"{what}\x00{tenant}\x00{once}".encode(), "sha256")

    async def _issue(self, key: ApiKey, *, expect: int, secret: str | None = None) -> NewKey:
        secret = secret or secrets.token_urlsafe(_SECRET_BYTES)
        await self.store.put_entry(structs.replace(key, digest=self._digest(secret)), expect=expect)
        return NewKey(await self.get(key.tenant, key.id), f"{_PREFIX}_{key.id}_{secret}")

    async def _note_use(self, used: ApiKey) -> None:
        try:
            await self.store.put_entry(used, expect=used.version)
        except Conflict:  # another request noted it, or the key is being changed
            return

    def _digest(self, secret: str) -> str:
        return hmac.digest(self.pepper, secret.encode(), "sha256").hex()


def shown(key: ApiKey) -> dict[str, object]:
    """Return what is told of a key: neither its digest nor its account's name."""
    return {
        "id": key.id, "name": key.name, "scopes": key.scopes, "user": key.user,
        "cubes": key.cubes, "created_at": key.created_at, "expires_at": key.expires_at,
        "last_used_at": key.last_used_at, "revoked_at": key.revoked_at,
    }  # fmt: skip


def covers(holder: ApiKey, other: ApiKey) -> bool:
    """Whether a key may make, change or refuse another: nobody gives more than it has."""
    return (
        holder.tenant == other.tenant
        and set(other.scopes) <= set(holder.scopes)
        and holder.user in (None, other.user)
        and (holder.cubes is None or set(other.cubes or ("",)) <= set(holder.cubes))
        and (
            holder.expires_at is None
            or (other.expires_at is not None and other.expires_at <= holder.expires_at)
        )
    )


def new_token() -> str:
    """Return a token that ``adopt`` takes."""
    id, secret = secrets.token_hex(_ID_BYTES), secrets.token_urlsafe(_SECRET_BYTES)
    return f"{_PREFIX}_{id}_{secret}"


def is_token(text: str) -> bool:
    """Whether a text has the form of a key; what has not opens nothing, anywhere."""
    return _parsed(text) is not None


def _parsed(token: str) -> tuple[str, str] | None:
    parts = token.split("_", 2)
    if len(parts) != _PARTS or parts[0] != _PREFIX or not token.isascii():
        return None
    id, secret = parts[1:]
    wrong_id = len(id) != 2 * _ID_BYTES or not set(id) <= set("0123456789abcdef")
    return None if wrong_id or len(secret) < _SECRET_BYTES else (id, secret)


def _valid(key: ApiKey, now: datetime) -> bool:
    expired = key.expires_at is not None and key.expires_at <= now
    return key.revoked_at is None and not expired


def _check_scopes(scopes: Sequence[str]) -> None:
    known = get_args(KeyScope)
    if not scopes or isinstance(scopes, str) or any(scope not in known for scope in scopes):
        raise InvalidInput(f"scopes: expected one or several of {', '.join(known)}")
