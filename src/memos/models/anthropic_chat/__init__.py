"""Chat by Anthropic's Messages API."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Literal

import anyio
from pydantic import HttpUrl, SecretStr

from memos.models._http.chat import ChatSettings, HttpChat
from memos.models._http.service import Endpoint, Sleep, connected
from memos.models.anthropic_chat.wire import AnthropicDialect
from memos.ports.backend import Backend, Opened, Role

_VERSION = "2023-06-01"
_MAX_TOKENS = 4096


class AnthropicChatSettings(ChatSettings):
    """Where the server is and what to ask of it.

    Attributes:
        base_url: What `/v1/messages` is appended to.
        cache: Mark the end of the unchanging part of a prompt, so that the server keeps it.
        thinking_tokens: Let the model think, with at most that many tokens (1024 or more).
    """

    kind: Literal["anthropic"] = "anthropic"
    base_url: HttpUrl = HttpUrl("https://api.anthropic.com")
    cache: bool = True
    thinking_tokens: int | None = None


@asynccontextmanager
async def open_anthropic(
    settings: AnthropicChatSettings, *, sleep: Sleep = anyio.sleep
) -> AsyncGenerator[Opened, None]:
    """Open a connection pool; nothing is asked before the first message."""
    headers = {"anthropic-version": SecretStr(_VERSION)}
    if settings.api_key is not None:
        headers["x-api-key"] = settings.api_key
    endpoint = Endpoint(
        "chat server", settings.model, f"{str(settings.base_url).rstrip('/')}/v1/messages",
        headers, settings.timeout_s, settings.max_retries,
    )  # fmt: skip
    dialect = AnthropicDialect(
        model=settings.model,
        max_tokens=settings.max_tokens or _MAX_TOKENS,
        options={"temperature": settings.temperature, "top_p": settings.top_p},
        cache=settings.cache,
        thinking_tokens=settings.thinking_tokens,
    )
    async with connected(endpoint, sleep) as service:
        yield Opened(chat=HttpChat(settings, service, dialect))


backend = Backend(
    name="anthropic",
    roles=frozenset({Role.CHAT}),
    settings=AnthropicChatSettings,
    open=open_anthropic,
)
