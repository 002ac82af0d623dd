"""The contract of chat models and rerankers, for every adapter that needs nothing but a server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from tests import servers

from memos.models.anthropic_chat import AnthropicChatSettings, open_anthropic
from memos.models.http_reranker import HttpRerankerSettings, open_http
from memos.models.ollama_chat import OllamaChatSettings, open_ollama
from memos.models.openai_chat import OpenAIChatSettings, open_openai
from memos.ports.backend import Opened
from memos.retrieve.rerank import CosineReranker
from memos.testing import contracts
from memos.testing.fakes import HashEmbedder, ScriptedChat, ScriptedReranker

CHATS: dict[str, tuple[Callable[[servers.Asked], servers.Answer], Any, Any]] = {
    "openai": (servers.openai(), open_openai, OpenAIChatSettings),
    "ollama": (servers.ollama, open_ollama, OllamaChatSettings),
    "anthropic": (servers.anthropic, open_anthropic, AnthropicChatSettings),
}


def scores(asked: servers.Asked) -> list[float]:
    """Score by shared words, as far as a server of that shape is given them."""
    texts = asked.body.get("texts") or asked.body.get("documents")
    words = set(asked.body["query"].lower().split())
    return [float(len(words & set(text.lower().split()))) for text in texts]


def tei(asked: servers.Asked) -> servers.Answer:
    rows = [{"index": n, "score": score} for n, score in enumerate(scores(asked))]
    return servers.Answer(servers.as_json(sorted(rows, key=lambda row: -row["score"])))


def cohere(asked: servers.Asked) -> servers.Answer:
    rows = [{"index": n, "relevance_score": score} for n, score in enumerate(scores(asked))]
    return servers.Answer(servers.as_json({"results": rows[::-1]}))


def bge(asked: servers.Asked) -> servers.Answer:
    return servers.Answer(servers.as_json({"data": [{"score": s} for s in scores(asked)]}))


class TestChats(contracts.Chats):
    @pytest.fixture(params=["scripted", *CHATS])
    async def opened(self, request: pytest.FixtureRequest) -> AsyncIterator[Opened]:
        if request.param == "scripted":
            yield Opened(chat=ScriptedChat("Hello there."))
            return
        answer, opening, settings = CHATS[request.param]
        with servers.serving(answer) as server:
            async with opening(settings(model="m", base_url=server.url)) as opened:
                yield opened


class TestRerankers(contracts.Rerankers):
    @pytest.fixture(params=["scripted", "cosine", "tei", "cohere", "jina", "bge"])
    async def opened(self, request: pytest.FixtureRequest) -> AsyncIterator[Opened]:
        if request.param == "scripted":
            yield Opened(reranker=ScriptedReranker())
        elif request.param == "cosine":
            yield Opened(reranker=CosineReranker(HashEmbedder()))
        else:
            answer = {"tei": tei, "bge": bge}.get(request.param, cohere)
            with servers.serving(answer) as server:
                settings = HttpRerankerSettings(url=server.url, shape=request.param, batch_size=4)
                async with open_http(settings) as opened:
                    yield opened
