"""Chat by Ollama's own ``/api/chat``."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Literal

import anyio
from pydantic import HttpUrl

from memos.models._http.chat import ChatSettings, HttpChat
from memos.models._http.service import Endpoint, Sleep, bearer, connected
from memos.models.ollama_chat.wire import OllamaDialect
from memos.ports.backend import Backend, Opened, Role


class OllamaChatSettings(ChatSettings):
    """Where Ollama is and how it runs the model.

    Attributes:
        base_url: Where Ollama listens.
        context_tokens: Ollama's `num_ctx`; what passes it is cut off in silence, so keep it above
            `prompt.budget` and the answer.
        think: Ask a reasoning model to think, or not to; the model decides when unset.
        keep_alive: How long the model stays loaded, such as `10m`.
    """

    kind: Literal["ollama"] = "ollama"
    base_url: HttpUrl = HttpUrl("http://127.0.0.1:11434")
    context_tokens: int | None = None
    think: bool | None = None
    keep_alive: str | None = None


@asynccontextmanager
async def open_ollama(
    settings: OllamaChatSettings, *, sleep: Sleep = anyio.sleep
) -> AsyncGenerator[Opened, None]:
    """Open a connection pool; nothing is asked before the first message."""
    endpoint = Endpoint(
        "chat server", settings.model, f"{str(settings.base_url).rstrip('/')}/api/chat",
        bearer(settings.api_key),
        settings.timeout_s, settings.max_retries,
    )  # fmt: skip
    dialect = OllamaDialect(
        model=settings.model,
        fields={"think": settings.think, "keep_alive": settings.keep_alive},
        options={
            "num_predict": settings.max_tokens,
            "num_ctx": settings.context_tokens,
            "temperature": settings.temperature,
            "top_p": settings.top_p,
        },
    )
    async with connected(endpoint, sleep) as service:
        yield Opened(chat=HttpChat(settings, service, dialect))


backend = Backend(
    name="ollama", roles=frozenset({Role.CHAT}), settings=OllamaChatSettings, open=open_ollama
)
