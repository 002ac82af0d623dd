"""One HTTP service: requests with retries, and the driver's errors as ours.

A request is tried again after a busy server, a timeout or a lost connection, as long as nothing of
its answer was handed on. The wait doubles, half of it at random, and is at least what the server
asks for in ``Retry-After``.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, TypeAlias, TypeVar, cast

import anyio
import httpx
import msgspec
from pydantic import SecretStr

from memos.errors import ModelError, RateLimited, Timeout, UpstreamError

T = TypeVar("T")
Sleep: TypeAlias = Callable[[float], Awaitable[None]]

_FIRST_DELAY_S: Final = 0.5
_LONGEST_DELAY_S: Final = 60.0
_BUSY_STATUS: Final = frozenset({408, 409, 425})
_REFUSED_STATUS: Final = frozenset({401, 403})
_NO_SUCH: Final = 404
_TOO_MANY: Final = 429
_SERVER_ERROR: Final = 500
_QUOTED_CHARS: Final = 200


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a service is, and how patient to be with it.

    Attributes:
        what: What it is, for messages: ``chat server``.
        service: The model that is asked for.
        url: Where requests go.
        headers: Sent along; their values never stand in an error.
        timeout_s: Longest silence.
        max_retries: Further tries.
    """

    what: str
    service: str
    url: str
    headers: Mapping[str, SecretStr]
    timeout_s: float
    max_retries: int

    @property
    def shown(self) -> str:
        """The URL without what may be secret in it."""
        return str(httpx.URL(self.url).copy_with(userinfo=b"", query=None))


@dataclass(frozen=True, slots=True)
class Service:
    """Asks one endpoint; see the module."""

    endpoint: Endpoint
    client: httpx.AsyncClient
    sleep: Sleep = field(default=anyio.sleep)

    async def ask(self, body: Mapping[str, object]) -> bytes:
        """Return the body of the answer to a POST.

        Raises:
            UpstreamError: The service failed for good.
        """

        async def once() -> AsyncGenerator[bytes, None]:
            with self._mapped():
                response = await self.client.post(
                    self.endpoint.url, content=_encoded(body), headers=self._headers()
                )
            if not response.is_success:
                raise self._refusal(response)
            yield response.content

        async with aclosing(self.patiently(once)) as answers:
            async for answer in answers:
                return answer
        raise AssertionError

    async def lines(self, body: Mapping[str, object]) -> AsyncGenerator[str, None]:
        """Yield the lines of a streamed answer as they come; asks once.

        Raises:
            UpstreamError: The service refused, fell silent or broke off.
        """
        with self._mapped():
            async with self.client.stream(
                "POST", self.endpoint.url, content=_encoded(body), headers=self._headers()
            ) as response:
                if not response.is_success:
                    await response.aread()
                    raise self._refusal(response)
                async for line in response.aiter_lines():
                    yield line

    async def patiently(
        self, attempt: Callable[[], AsyncGenerator[T, None]]
    ) -> AsyncGenerator[T, None]:
        """Yield what ``attempt()`` yields; try again while it failed before its first item."""
        for number in range(self.endpoint.max_retries + 1):
            started = False
            try:
                async with aclosing(attempt()) as items:
                    async for item in items:
                        started = True
                        yield item
                    return
            except UpstreamError as error:
                delay_s = delay_before_retry_s(error, number)
                if started or delay_s is None or number == self.endpoint.max_retries:
                    raise
            await self.sleep(delay_s)

    def error(self, cause: str, code: str, *, retryable: bool = False) -> ModelError:
        """Return an error of this service.

        Args:
            cause: What it did, and what to do: the rest of the sentence.
            code: The error's code.
            retryable: Whether asking again may help.
        """
        return ModelError(
            f"{self.endpoint.what} {self.endpoint.shown!r} {cause}",
            service=self.endpoint.service,
            code=code,
            retryable=retryable,
        )

    def malformed(self, cause: str) -> ModelError:
        """Return the error for an answer that is none; ``cause`` quotes nothing of it."""
        cause = f"answered something else than expected ({cause}); check base_url and the model"
        return self.error(cause, code="model_malformed", retryable=True)

    def limited(self, said: str, retry_after: float | None = None) -> RateLimited:
        """Return the error for a service that refuses for now."""
        return RateLimited(
            f"{self.endpoint.what} {self.endpoint.shown!r} refuses for now{self.quoted(said)}; "
            "ask less often",
            service=self.endpoint.service,
            retry_after=retry_after,
        )

    def reported(self, said: str, status: int) -> UpstreamError:
        """Return the error that a service reports with an HTTP status, or inside of a stream."""
        if status in _REFUSED_STATUS:
            # What the server says is left out: some quote the key.
            cause = f"answered {status}; check api_key and its rights"
            return self.error(cause, code="model_refused")
        if status == _TOO_MANY:
            return self.limited(said)
        quoted = self.quoted(said)
        if status == _NO_SUCH:
            named = self.endpoint.service
            cause = f"answered 404{quoted}; check base_url and that it has {named!r}"
            return self.error(cause, code="model_not_found")
        again = status in _BUSY_STATUS or status >= _SERVER_ERROR
        cause = f"answered {status}{quoted}; check base_url and the model {self.endpoint.service!r}"
        return self.error(cause, code="model_status", retryable=again)

    def quoted(self, said: str) -> str:
        """Return the start of what a server said, in brackets, without our secrets."""
        for secret in self.endpoint.headers.values():
            for word in secret.get_secret_value().split():
                said = said.replace(word, "***") if len(word) >= _SECRET_CHARS else said
        said = " ".join(said.split())[:_QUOTED_CHARS]
        return f" ({said})" if said else ""

    def _headers(self) -> dict[str, str]:
        given = {name: value.get_secret_value() for name, value in self.endpoint.headers.items()}
        return {"Content-Type": "application/json", **given}

    def _refusal(self, response: httpx.Response) -> UpstreamError:
        said = complaint(response.content)
        if response.status_code == _TOO_MANY:
            return self.limited(said, retry_after_s(response.headers.get("retry-after")))
        return self.reported(said, response.status_code)

    @contextmanager
    def _mapped(self) -> Generator[None, None, None]:
        """Turn the driver's errors into ours."""
        try:
            yield
        except httpx.TimeoutException as error:
            raise Timeout(
                f"{self.endpoint.what} {self.endpoint.shown!r} did not answer within "
                f"{self.endpoint.timeout_s} s; raise timeout_s",
                service=self.endpoint.service,
                retryable=True,
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            lost = isinstance(error, httpx.TransportError | httpx.StreamError)
            cause = f"could not be asked ({type(error).__name__}); check base_url and that it runs"
            again = lost and not isinstance(error, httpx.UnsupportedProtocol)
            raise self.error(cause, code="model_unreachable", retryable=again) from error


_SECRET_CHARS: Final = 7
"""Shorter words of a header (``Bearer``) are no secrets."""


@asynccontextmanager
async def connected(
    endpoint: Endpoint, sleep: Sleep = anyio.sleep
) -> AsyncGenerator[Service, None]:
    """Open a connection pool to one endpoint."""
    # Reading the certificates takes 50 ms that a local server does not need; redirects, which
    # could lead elsewhere, are not followed.
    secure = httpx.URL(endpoint.url).scheme != "http"
    async with httpx.AsyncClient(timeout=endpoint.timeout_s, verify=secure) as client:
        yield Service(endpoint, client, sleep)


def bearer(key: SecretStr | None) -> dict[str, SecretStr]:
    """Return the header that carries a key, if there is one."""
    if key is None:
        return {}
    return {"Authorization": SecretStr(f"Bearer {key.get_secret_value()}")}


async def events(lines: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
    """Yield the data of server-sent events (WHATWG HTML, 9.2); comments and names are skipped."""
    held: list[str] = []
    async with aclosing(lines):
        async for line in lines:
            if line.startswith("data:"):
                held.append(line.removeprefix("data:").removeprefix(" "))
            elif not line and held:
                yield "\n".join(held)
                held = []
    if held:
        yield "\n".join(held)


def delay_before_retry_s(error: UpstreamError, attempt: int) -> float | None:
    """Return how long to wait before the next try, or None if there should be none."""
    if not error.retryable:
        return None
    asked = error.retry_after if isinstance(error, RateLimited) else None
    if asked is not None and asked > _LONGEST_DELAY_S:
        return None
    # Half of it at random, so that many callers do not come back in step.
    backoff = _FIRST_DELAY_S * 2**attempt * random.uniform(0.5, 1)  # noqa: S311 - no secret
    return max(asked or 0.0, min(backoff, _LONGEST_DELAY_S))


def retry_after_s(header: str | None) -> float | None:
    """Read seconds or a date."""
    if header is None:
        return None
    try:
        return max(float(header), 0.0)
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return None
    return max((moment - datetime.now(UTC)).total_seconds(), 0.0)


def complaint(content: bytes) -> str:
    """Return what a server says about an error in one of the usual places, or nothing."""
    try:
        found: object = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    for name in ("error", "message", "detail"):
        if isinstance(found, dict):
            fields = cast("dict[str, object]", found)
            found = fields.get(name, fields)
    return found if isinstance(found, str) else ""


def sendable(text: str) -> str:
    """Replace what JSON or servers do not take: lone surrogates and null."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", " ")


def strings(values: Sequence[str]) -> list[str]:
    """Return texts as every server takes them."""
    return [sendable(value) or " " for value in values]


def _encoded(body: Mapping[str, object]) -> bytes:
    return msgspec.json.encode(body)
