"""When a request is sent again, and how long to wait before that."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

import httpx

from memos.client.failures import error_of, lost
from memos.errors import MemosError, RateLimited, UpstreamError

_UNSENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
"""Failures before anything reached the server."""
_FAILED: Final = 400


@dataclass(frozen=True, slots=True)
class Retries:
    """How failures that may pass are met.

    Attributes:
        attempts: How often a request is sent at most.
        first_s: The first wait; it doubles, half of it at random.
        longest_s: The longest wait; who is asked to wait longer gives up at once.
    """

    attempts: int = 4
    first_s: float = 0.25
    longest_s: float = 20.0


class Attempts:
    """The attempts of one call.

    What may be repeated is sent again after a lost connection, a timeout, a busy server. What may
    not be is sent again only when it surely was not done: nothing was sent, or it was refused
    because of too many requests.
    """

    def __init__(self, retries: Retries, *, repeatable: bool) -> None:
        self._retries = retries
        self._repeatable = repeatable
        self._done = 0

    def lost(self, error: httpx.TransportError) -> float:
        """Return how long to wait after a request that got no answer.

        Raises:
            Timeout: It is not sent again; or it could not be reached (``UpstreamError``).
        """
        wait = self._wait(None)
        if wait is None or not (self._repeatable or isinstance(error, _UNSENT)):
            raise lost(error) from error
        return wait

    def answered(self, response: httpx.Response) -> float | None:
        """Return None for a good answer, else how long to wait before the next attempt.

        Raises:
            MemosError: What the answer says, when it is not sent again.
        """
        if response.status_code < _FAILED:
            return None
        error = error_of(response)
        wait = self._wait(error) if self._may_pass(error) else None
        if wait is None:
            raise error
        return wait

    def _may_pass(self, error: MemosError) -> bool:
        if isinstance(error, RateLimited) and error.service == "memos":
            return True
        return self._repeatable and isinstance(error, UpstreamError) and error.retryable

    def _wait(self, error: MemosError | None) -> float | None:
        self._done += 1
        asked = error.retry_after if isinstance(error, RateLimited) else None
        too_long = asked is not None and asked > self._retries.longest_s
        if self._done >= self._retries.attempts or too_long:
            return None
        # Half of it at random, so that many clients do not come back in step.
        backoff = self._retries.first_s * 2 ** (self._done - 1) * random.uniform(0.5, 1)  # noqa: S311
        return max(asked or 0.0, min(backoff, self._retries.longest_s))
