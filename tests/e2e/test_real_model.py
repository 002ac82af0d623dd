"""Chatting with a real language model behind a real server; see ``scripts/real_model.py``."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from scripts import real_model

from memos import MOS
from memos.models.openai_chat import OpenAIChatSettings, open_openai
from memos.ports.backend import Opened
from memos.ports.models import ChatMessage, Generation, TextDelta
from memos.settings import Settings
from memos.testing import contracts

pytestmark = [pytest.mark.slow, pytest.mark.real_model]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with real_model.served() as found:
        yield found


def settings(home: Path, url: str) -> Settings:
    own = {"kind": "openai", "model": real_model.NAME, "base_url": url, "max_tokens": 40}
    return Settings(home=home, chat={**own, "temperature": 0})


class TestContract(contracts.Chats):
    @pytest.fixture
    async def opened(self, url: str) -> AsyncIterator[Opened]:
        async with open_openai(OpenAIChatSettings(model="m", base_url=url)) as opened:
            yield opened


@pytest.mark.anyio
async def test_a_schema_is_kept(url: str) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    asked = [ChatMessage("user", "Ann is 34 years old. Give her name and age as JSON.")]
    async with open_openai(OpenAIChatSettings(model="m", base_url=url)) as opened:
        assert opened.chat is not None
        reply = await opened.chat.reply(asked, Generation(schema=schema, max_tokens=200))
    if reply.finish == "stop":
        assert set(json.loads(reply.text)) == {"name", "age"}


@pytest.mark.anyio
async def test_an_answer_that_is_cut_off_says_so(url: str) -> None:
    asked = [ChatMessage("user", "Count from one to a hundred in words.")]
    async with open_openai(OpenAIChatSettings(model="m", base_url=url)) as opened:
        assert opened.chat is not None
        reply = await opened.chat.reply(asked, Generation(max_tokens=2))
    assert reply.finish == "length"
    assert reply.usage is not None
    assert reply.usage.completion == 2


def test_a_conversation_with_a_restart_in_which_the_cache_hits(tmp_path: Path, url: str) -> None:
    with MOS.open(settings(tmp_path, url)) as mos:
        mos.add("Zoe is allergic to peanuts.")
        first = mos.chat("What must Zoe not eat?")
        assert first.text
        assert [memory.text for memory in first.memories] == ["Zoe is allergic to peanuts."]
    with MOS.open(settings(tmp_path, url)) as mos:
        second = mos.chat("Why?")
        assert second.usage is not None
        assert second.usage.cached > 80  # the system text at least
        with closing(mos.chat_stream("Go on")) as events:
            for event in events:
                if isinstance(event, TextDelta):
                    break
        turns = mos.get_all(where={"session": "chat"}, limit=100).items
        assert turns[-1].sources[0].extra["incomplete"] is True
        assert mos.usage().total.calls == 3
        assert mos.usage().total.failed == 0
