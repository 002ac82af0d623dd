"""One request to one configured address: pinned, without redirects, within limits of time and size.

The host is resolved and judged by the guard of ``memos.network`` before every request, and the
connection goes to the very address that was judged. The driver's client is left out on purpose: it
would log the URL, in which some engines want the key, and take proxies from the environment.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import anyio
import httpx
import msgspec

from memos._offload import Offload
from memos.errors import CallerError, RateLimited, Timeout, UpstreamError
from memos.models._http.service import retry_after_s
from memos.network import Policy, vet

_REDIRECTS: Final = range(300, 400)
_REFUSED: Final = frozenset({401, 403})
_TOO_MANY: Final = 429
_SERVER_ERROR: Final = 500


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked.

    Attributes:
        parameters: The query of the URL.
        headers: Sent along; no error quotes their values.
        body: The JSON to post, or None for a GET.
    """

    parameters: Mapping[str, str] = field(default_factory=dict[str, str])
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Asker:
    """Asks one address.

    Attributes:
        engine: The engine's name, for errors.
        url: The only address that is called.
        policy: Which addresses are allowed, how long to wait, how much to read.
        transport: The driver.
        threads: Where host names are looked up.
    """

    engine: str
    url: str
    policy: Policy
    transport: httpx.AsyncHTTPTransport
    threads: Offload

    async def ask(self, request: Request) -> bytes:
        """Return the body of the answer.

        Raises:
            UpstreamError: The engine failed, or must not be asked.
        """
        try:
            with anyio.fail_after(self.policy.timeout_s):
                return await self._answer(request)
        except (TimeoutError, httpx.TimeoutException):
            raise Timeout(
                f"{self.engine} did not answer within {self.policy.timeout_s:g} s; "
                "raise web.timeout_s",
                service=self.engine,
                retryable=True,
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            what = f"could not be asked ({type(error).__name__}); check web.base_url"
            raise self.failed(what, code="web_unreachable", retryable=True) from None
        except CallerError as error:
            raise self.failed(f"is not asked: {error.detail}", code=error.code) from None

    def failed(self, what: str, *, code: str, retryable: bool = False) -> UpstreamError:
        """Return an error of this engine; ``what`` ends the sentence."""
        return UpstreamError(
            f"{self.engine} {what}", service=self.engine, code=code, retryable=retryable
        )

    def malformed(self, what: str) -> UpstreamError:
        """Return the error for an answer that is none; ``what`` quotes nothing of it."""
        return self.failed(
            f"answered something else than expected ({what}); check web.base_url",
            code="web_malformed",
        )

    async def _answer(self, request: Request) -> bytes:
        vetted = await self.threads.run(vet, self.url, self.policy, leave=True)
        target = httpx.URL(self.url).copy_with(host=vetted.address)
        silence = httpx.Timeout(self.policy.timeout_s).as_dict()
        sent = httpx.Request(
            "GET" if request.body is None else "POST",
            target.copy_merge_params(request.parameters) if request.parameters else target,
            headers={
                "Host": httpx.URL(self.url).netloc.decode("ascii"),
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "User-Agent": "agent-memos",
                **({} if request.body is None else {"Content-Type": "application/json"}),
                **request.headers,
            },
            content=None if request.body is None else msgspec.json.encode(request.body),
            extensions={"timeout": silence, "sni_hostname": vetted.host},
        )
        response = await self.transport.handle_async_request(sent)
        try:
            self._judge(response)
            return await self._read(response)
        finally:
            await response.aclose()

    def _judge(self, response: httpx.Response) -> None:
        """Refuse whatever is no plain answer; what the engine says is left out, it may quote us."""
        status = response.status_code
        if status in _REDIRECTS:
            raise self.failed(f"answered {status}; redirects are not followed", code="web_redirect")
        if status in _REFUSED:
            raise self.failed(f"answered {status}; check web.api_key", code="web_refused")
        if status == _TOO_MANY:
            raise RateLimited(
                f"{self.engine} refuses for now; ask less often",
                service=self.engine,
                retry_after=retry_after_s(response.headers.get("retry-after")),
            )
        if not response.is_success:
            again = status >= _SERVER_ERROR
            raise self.failed(f"answered {status}", code="web_status", retryable=again)
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise self.malformed("compressed, though it was told not to")

    async def _read(self, response: httpx.Response) -> bytes:
        held = bytearray()
        async for chunk in response.aiter_raw():
            held += chunk
            if len(held) > self.policy.max_bytes:
                raise self.failed(
                    f"answered more than {math.ceil(self.policy.max_bytes / 1024)} KB; "
                    "raise web.max_kilobytes",
                    code="web_too_large",
                )
        return bytes(held)


@asynccontextmanager
async def asking(engine: str, url: str, policy: Policy) -> AsyncGenerator[Asker, None]:
    """Open a connection pool to one address; nothing is asked yet."""
    # Reading the certificates takes 50 ms that a local server does not need.
    secure = httpx.URL(url).scheme != "http"
    async with httpx.AsyncHTTPTransport(verify=secure, trust_env=False) as transport:
        yield Asker(engine, url, policy, transport, Offload(4))
