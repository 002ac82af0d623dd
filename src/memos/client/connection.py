"""How both clients connect."""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

import httpx

from memos.errors import InvalidInput

LIMITS: Final = httpx.Limits(max_connections=100, max_keepalive_connections=20)
_CONNECT_S: Final = 10.0


def headers_of(api_key: str | None) -> dict[str, str]:
    """Return what every request carries.

    Raises:
        InvalidInput: The key could not stand in a header.
    """
    headers = {"Accept": "application/json", "User-Agent": f"agent-memos/{version('agent-memos')}"}
    if api_key is not None:
        if not api_key.isascii() or not api_key.isprintable() or " " in api_key:
            raise InvalidInput(
                "an API key has printable ASCII characters only", code="invalid_key_form"
            )
        headers["Authorization"] = f"Bearer {api_key}"
    return headers


def timeout_of(seconds: float) -> httpx.Timeout:
    """Return limits for one request; connecting is not worth waiting for long."""
    return httpx.Timeout(seconds, connect=min(seconds, _CONNECT_S))
