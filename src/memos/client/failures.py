"""Problem details, and answers that are none, as the errors of this package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import httpx
import msgspec

from memos.errors import (
    CallerError,
    ConfigError,
    Conflict,
    DataError,
    Forbidden,
    InvalidInput,
    MemosError,
    MissingExtra,
    ModelError,
    NotFound,
    QueueError,
    RateLimited,
    StoreError,
    Timeout,
    Unauthenticated,
    UpstreamError,
)

SERVICE: Final = "memos"
"""What ``UpstreamError.service`` calls the server itself."""
_PLAIN: Final[Mapping[str, type[MemosError]]] = {
    kind.__name__: kind
    for kind in (
        CallerError, ConfigError, Conflict, DataError, Forbidden, InvalidInput, MissingExtra,
        NotFound, Unauthenticated,
    )
}  # fmt: skip
_UPSTREAM: Final[Mapping[str, type[UpstreamError]]] = {
    kind.__name__: kind for kind in (ModelError, QueueError, StoreError, Timeout, UpstreamError)
}
_OF_STATUS: Final[Mapping[int, type[MemosError]]] = {
    401: Unauthenticated, 403: Forbidden, 404: NotFound, 409: Conflict, 412: Conflict,
    413: InvalidInput, 422: InvalidInput,
}  # fmt: skip
_TOO_MANY: Final = 429
_SERVER: Final = 500
_BUSY: Final = frozenset({502, 503, 504})


@dataclass(frozen=True, slots=True)
class Problem:
    """What is read of problem details."""

    status: int
    code: str
    detail: str
    error: str | None = None
    context: Mapping[str, object] = field(default_factory=dict[str, object])


_problems: Final = msgspec.json.Decoder(Problem)


def error_of(response: httpx.Response) -> MemosError:
    """Return the error that an answer is."""
    try:
        problem = _problems.decode(response.content)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        status = response.status_code
        return UpstreamError(
            f"the server answered {status} and no problem details; is base_url that of a "
            "MemOS server?",
            service=SERVICE, retryable=status in _BUSY, code="http_status", status=status,
        )  # fmt: skip
    return of_problem(problem, retry_after_s(response))


def problem_of(data: object) -> Problem:
    """Return problem details that stand inside of an answer."""
    return msgspec.convert(data, Problem)


def of_problem(problem: Problem, retry_after: float | None = None) -> MemosError:
    """Return the error that was raised in the server, or one that means the same."""
    context = dict(problem.context)
    if problem.status == _TOO_MANY or problem.error == RateLimited.__name__:
        service = str(context.pop("service", SERVICE))
        context.pop("retryable", None)
        return RateLimited(
            problem.detail, service=service, retry_after=retry_after, code=problem.code, **context
        )
    if problem.error in _UPSTREAM or (problem.error is None and problem.status > _SERVER):
        kind = _UPSTREAM.get(problem.error or "", UpstreamError)
        service = str(context.pop("service", SERVICE))
        retryable = bool(context.pop("retryable", problem.status in _BUSY))
        return kind(
            problem.detail, service=service, retryable=retryable, code=problem.code, **context
        )
    plain = _PLAIN.get(problem.error or "") or _OF_STATUS.get(problem.status)
    if plain is None:
        plain = MemosError if problem.status >= _SERVER else CallerError
    return plain(problem.detail, code=problem.code, **context)


def retry_after_s(response: httpx.Response) -> float | None:
    """Return the seconds that the server asks to wait, if it does."""
    value = response.headers.get("retry-after", "")
    return float(value) if value.isascii() and value.isdecimal() else None


def lost(error: httpx.TransportError) -> UpstreamError:
    """Return the error for a server that cannot be reached, or does not answer."""
    if isinstance(error, httpx.TimeoutException):
        return Timeout(
            f"the server did not answer in time ({type(error).__name__})",
            service=SERVICE,
            retryable=True,
        )
    return UpstreamError(
        f"the server cannot be reached: {str(error) or type(error).__name__}",
        service=SERVICE, retryable=True, code="unreachable",
    )  # fmt: skip


def unreadable(why: object) -> UpstreamError:
    """Return the error for an answer that is not what was asked for."""
    return UpstreamError(
        f"the server answered something else than it should ({why}); is it of another release?",
        service=SERVICE, code="bad_answer",
    )  # fmt: skip
