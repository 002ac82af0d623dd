"""The guard in front of every address that a caller may name.

A server that fetches what it is told to must not become a way into the network that it stands in
(server-side request forgery). A host is resolved once; every address that it has must be a public
one; the connection goes to that very address, so that a second look-up cannot lead elsewhere. Each
redirect is judged anew. Proxies of the environment are not used. Blocking: call it from a thread.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import SplitResult, urljoin, urlsplit

from memos.errors import Forbidden, InvalidInput, StoreError
from memos.progress import Progress

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
_PORTS: Final = {"http": 80, "https": 443}
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_CHUNK: Final = 256 * 1024
_OK: Final = 200
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_CONNECT_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class Policy:
    """What may be fetched.

    Attributes:
        allow: Hosts and networks (``10.1.0.0/16``) that may be reached although not public.
        max_bytes: Largest answer.
        timeout_s: Longest time for one fetch, redirects included.
        max_redirects: Redirects that are followed.
        setting: What is told to change who wants another host allowed.
    """

    allow: tuple[str, ...] = ()
    max_bytes: int = 4 * 1024 * 1024 * 1024
    timeout_s: float = 600.0
    max_redirects: int = 5
    setting: str = "network.allow"


@dataclass(frozen=True, slots=True)
class Vetted:
    """A URL that may be fetched, and the address that it must be fetched from."""

    url: SplitResult
    host: str
    port: int
    address: str


def vet(url: str, policy: Policy) -> Vetted:
    """Return where a URL may be fetched from.

    Raises:
        InvalidInput: It is no http or https URL, or carries a user and password.
        Forbidden: One of its addresses is not public, and the policy does not allow it.
        StoreError: The host cannot be found; retryable.
    """
    parts = _split(url)
    host = (parts.hostname or "").rstrip(".")
    port = _port(parts)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise StoreError(
            f"host {host!r} cannot be found ({error})",
            service="http",
            retryable=True,
            code="unreachable",
        ) from None
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for address in addresses:
        if not _may_reach(host, address, policy):
            raise Forbidden(
                f"{host!r} is at {address}, which is not a public address; if it is meant, name "
                f"the host or its network in the setting {policy.setting}",
                code="private_address",
            )
    return Vetted(parts, host, port, addresses[0])


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet, also inside other notations."""
    found: Address = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo or (None, None))[1]
        if inner is None and found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return found.is_global and not (found.is_multicast or found.is_reserved or found.is_unspecified)


def fetch(
    url: str,
    into: Path,
    policy: Policy,
    progress: Progress | None = None,
) -> str:
    """Store what a URL gives in a file and return its SHA-256.

    Raises:
        InvalidInput: No URL that can be fetched, or the answer is larger than allowed.
        Forbidden: It, or a redirect, leads to an address that is not public.
        StoreError: The host cannot be reached, or answers an error.
    """
    deadline = time.monotonic() + policy.timeout_s
    for _ in range(policy.max_redirects + 1):
        vetted = vet(url, policy)
        connection = _Connection.to(vetted, deadline)
        try:
            with _asked(connection, vetted) as response:
                if response.status not in _REDIRECTS:
                    return _stored(response, into, policy, deadline, progress)
                url = urljoin(url, response.getheader("Location") or "")
        except (OSError, http.client.HTTPException) as error:
            raise _failed(vetted, str(error) or type(error).__name__) from None
        finally:
            connection.close()
    raise InvalidInput(
        f"more than {policy.max_redirects} redirects; give the address that they lead to",
        code="too_many_redirects",
    )


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        if parts.scheme in _PORTS and parts.hostname and not parts.username and not parts.password:
            return parts
    except ValueError:
        pass
    raise InvalidInput(
        "expected an http or https URL with a host, and no user or password in it",
        code="invalid_url",
    )


def _port(parts: SplitResult) -> int:
    try:
        return parts.port or _PORTS[parts.scheme]
    except ValueError:
        raise InvalidInput("the port of the URL is none", code="invalid_url") from None


def _may_reach(host: str, address: str, policy: Policy) -> bool:
    if is_public(address) or host.casefold() in {name.casefold() for name in policy.allow}:
        return True
    found = ipaddress.ip_address(address.partition("%")[0])
    return any(found in network for network in _networks(policy))


def _networks(policy: Policy) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
    for name in policy.allow:
        try:
            networks.append(ipaddress.ip_network(name, strict=False))
        except ValueError:  # a host name
            continue
    return networks


class _Connection(http.client.HTTPConnection):
    """Speaks with one vetted address, whatever its name resolves to by now."""

    def __init__(self, vetted: Vetted, timeout_s: float) -> None:
        super().__init__(vetted.host, vetted.port, timeout=timeout_s)
        self._vetted = vetted

    @classmethod
    def to(cls, vetted: Vetted, deadline: float) -> _Connection:
        return cls(vetted, max(0.1, min(_CONNECT_S, deadline - time.monotonic())))

    def connect(self) -> None:
        vetted = self._vetted
        plain = socket.create_connection((vetted.address, vetted.port), self.timeout)
        if vetted.url.scheme == "https":
            try:
                plain = ssl.create_default_context().wrap_socket(plain, server_hostname=vetted.host)
            except OSError:
                plain.close()
                raise
        self.sock = plain


def _asked(connection: _Connection, vetted: Vetted) -> http.client.HTTPResponse:
    path = vetted.url.path or "/"
    target = f"{path}?{vetted.url.query}" if vetted.url.query else path
    connection.request("GET", target, headers={"Accept": "*/*", "User-Agent": "agent-memos"})
    return connection.getresponse()


def _stored(
    response: http.client.HTTPResponse,
    into: Path,
    policy: Policy,
    deadline: float,
    progress: Progress | None,
) -> str:
    if response.status != _OK:
        raise StoreError(
            f"the server answered {response.status} {response.reason}",
            service="http",
            retryable=response.status >= 500,  # noqa: PLR2004 - its own faults may pass
            code="http_status",
            status=response.status,
        )
    total = response.length or 0
    digest, done = sha256(), 0
    with into.open("wb") as out:
        while chunk := response.read(_CHUNK):
            done += len(chunk)
            if max(done, total) > policy.max_bytes:
                raise InvalidInput(
                    f"the answer is larger than {policy.max_bytes} bytes; raise "
                    "network.max_megabytes if it is meant",
                    code="too_large",
                )
            if time.monotonic() > deadline:
                raise TimeoutError(f"it took longer than {policy.timeout_s:g} s")
            out.write(chunk)
            digest.update(chunk)
            if progress is not None:
                progress(done, max(done, total))
    if total and done < total:
        raise OSError("the connection ended before the answer did")
    return digest.hexdigest()


def _failed(vetted: Vetted, what: str) -> StoreError:
    return StoreError(
        f"{vetted.host!r} cannot be read: {what}",
        service="http",
        retryable=True,
        code="unreachable",
    )
