"""Every error that MemOS raises on purpose.

MemosError(code, detail, context)
├─ CallerError                 the caller can mend it (HTTP 4xx, exit code 2)
│  ├─ InvalidInput             422
│  ├─ NotFound                 404; code ``erased`` when the memory was erased
│  ├─ Conflict                 409
│  ├─ Unauthenticated          401
│  └─ Forbidden                403
├─ ConfigError                 settings that cannot work; raised at start only
│  └─ MissingExtra             an optional dependency is not installed
├─ UpstreamError               a store or a model failed (HTTP 502/503); see ``retryable``
│  ├─ StoreError
│  ├─ ModelError
│  ├─ QueueError
│  ├─ RateLimited              ``retry_after`` in seconds, when the service named it
│  └─ Timeout
└─ DataError                   stored data is corrupt, fails its checksum, or is newer (HTTP 500)
"""

from __future__ import annotations

from typing import ClassVar


class MemosError(Exception):
    """The root of all errors of this package.

    Attributes:
        code: A stable machine-readable word in snake_case.
        detail: One sentence for a person: what, which, and what to do.
        context: Further named facts; never contents of memories and never secrets.
    """

    default_code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __init__(self, detail: str, *, code: str | None = None, **context: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or self.default_code
        self.context = context


class CallerError(MemosError):
    """The call cannot be served as it was made; the caller can mend it."""

    default_code = "bad_request"
    status = 400
    exit_code = 2


class InvalidInput(CallerError):
    """A value has the wrong type, form or size."""

    default_code = "invalid_input"
    status = 422


class NotFound(CallerError):
    """The named thing does not exist for this caller."""

    default_code = "not_found"
    status = 404


class Conflict(CallerError):
    """The state moved on: an expected version, a taken name, another embedder."""

    default_code = "conflict"
    status = 409


class Unauthenticated(CallerError):
    """No credentials, or ones that are not known."""

    default_code = "unauthenticated"
    status = 401


class Forbidden(CallerError):
    """The caller is known, and may not do this."""

    default_code = "forbidden"
    status = 403


class ConfigError(MemosError):
    """The settings cannot work as they are."""

    default_code = "config"
    exit_code = 2


class MissingExtra(ConfigError):
    """An adapter needs a distribution that is not installed."""

    default_code = "missing_extra"


class UpstreamError(MemosError):
    """A service behind a port failed."""

    default_code = "upstream"
    status = 502

    def __init__(
        self,
        detail: str,
        *,
        service: str,
        retryable: bool = False,
        code: str | None = None,
        **context: object,
    ) -> None:
        super().__init__(detail, code=code, **context)
        self.service = service
        self.retryable = retryable


class StoreError(UpstreamError):
    """A store failed: full disk, read-only directory, lost connection."""

    default_code = "store"
    status = 503


class ModelError(UpstreamError):
    """A model failed or answered something that is not an answer."""

    default_code = "model"


class QueueError(UpstreamError):
    """A job queue failed."""

    default_code = "queue"
    status = 503


class RateLimited(UpstreamError):
    """A service refused for now because of too many requests."""

    default_code = "rate_limited"
    status = 503

    def __init__(
        self,
        detail: str,
        *,
        service: str,
        retry_after: float | None = None,
        code: str | None = None,
        **context: object,
    ) -> None:
        super().__init__(detail, service=service, retryable=True, code=code, **context)
        self.retry_after = retry_after


class Timeout(UpstreamError):
    """A service did not answer in time."""

    default_code = "timeout"
    status = 503


class DataError(MemosError):
    """Stored data is corrupt, fails its checksum, or is newer than this release."""

    default_code = "data"
