"""Chat by any server that speaks OpenAI's ``/chat/completions``.

OpenAI itself, Azure, Qwen, DeepSeek, MiniMax, OpenRouter, vLLM, llama.cpp, Ollama's ``/v1``, ...
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Literal
from urllib.parse import quote

import anyio
from pydantic import Field, HttpUrl, SecretStr

from memos.models._http.chat import ChatSettings, HttpChat
from memos.models._http.service import Endpoint, Sleep, bearer, connected
from memos.models.openai_chat.wire import OpenAIDialect
from memos.ports.backend import Backend, Opened, Role
from memos.types import Json


class OpenAIChatSettings(ChatSettings):
    """Where the server is and what it can do.

    Attributes:
        base_url: What `/chat/completions` is appended to, such as `http://host:8000/v1`; for Azure
            the resource, `https://NAME.openai.azure.com`.
        api_version: Azure's `api-version`; with it the URL and the header of the key are Azure's.
        deployment: Azure's deployment; called like the model when unset.
        structured: How the server is told to answer in JSON: by a schema that it enforces, or in
            some JSON, with the schema in the prompt.
        length_field: What the server calls the limit of an answer.
        stream_usage: Ask for token counts at the end of a stream.
        extra_body: Further fields of every request.
        extra_headers: Further headers of every request.
    """

    kind: Literal["openai"] = "openai"
    base_url: HttpUrl = HttpUrl("https://api.openai.com/v1")
    api_version: str | None = None
    deployment: str | None = None
    structured: Literal["json_schema", "json_object"] = "json_schema"
    length_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    stream_usage: bool = True
    extra_body: Mapping[str, Json] = Field(default_factory=dict[str, Json])
    extra_headers: Mapping[str, SecretStr] = Field(default_factory=dict[str, SecretStr])


def _endpoint(settings: OpenAIChatSettings) -> Endpoint:
    base = str(settings.base_url).rstrip("/")
    headers = dict(settings.extra_headers)
    if settings.api_version is None:
        url = f"{base}/chat/completions"
        headers |= bearer(settings.api_key)
    else:
        deployment = quote(settings.deployment or settings.model, safe="")
        url = (
            f"{base}/openai/deployments/{deployment}/chat/completions"
            f"?api-version={quote(settings.api_version, safe='')}"
        )
        if settings.api_key is not None:
            headers["api-key"] = settings.api_key
    return Endpoint(
        "chat server", settings.model, url, headers, settings.timeout_s, settings.max_retries
    )


@asynccontextmanager
async def open_openai(
    settings: OpenAIChatSettings, *, sleep: Sleep = anyio.sleep
) -> AsyncGenerator[Opened, None]:
    """Open a connection pool; nothing is asked before the first message."""
    dialect = OpenAIDialect(
        model=settings.model,
        options={
            settings.length_field: settings.max_tokens,
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            **settings.extra_body,
        },
        length_field=settings.length_field,
        schema_in_prompt=settings.structured == "json_object",
        stream_usage=settings.stream_usage,
    )
    async with connected(_endpoint(settings), sleep) as service:
        yield Opened(chat=HttpChat(settings, service, dialect))


backend = Backend(
    name="openai",
    roles=frozenset({Role.CHAT}),
    settings=OpenAIChatSettings,
    open=open_openai,
)
