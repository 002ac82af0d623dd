"""What chat adapters send, what they understand, and every way in which a provider fails."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests import servers
from tests.servers import Answer, Provider, as_json, openai_chunk, openai_stream, serving, sse

from memos.chat.fallback import FallbackChat
from memos.errors import ModelError, RateLimited, Timeout, UpstreamError
from memos.models._http.gathering import Thinking
from memos.models.anthropic_chat import AnthropicChatSettings, open_anthropic
from memos.models.ollama_chat import OllamaChatSettings, open_ollama
from memos.models.openai_chat import OpenAIChatSettings, open_openai
from memos.ports.models import (
    FREELY,
    ChatEvent,
    ChatMessage,
    ChatModel,
    Finished,
    Generation,
    Reply,
    TextDelta,
    ToolCall,
    ToolSpec,
    Usage,
)
from memos.testing.fakes import ScriptedChat

SECRET = "sk-canary-5f2c9a"
HELLO = [ChatMessage("system", "Be brief."), ChatMessage("user", "Hello")]
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
TOOL = ToolSpec("weather", "Tell the weather.", {"type": "object"})
FORMS: dict[str, tuple[Callable[[servers.Asked], Answer], Any, Any]] = {
    "openai": (servers.openai(), open_openai, OpenAIChatSettings),
    "ollama": (servers.ollama, open_ollama, OllamaChatSettings),
    "anthropic": (servers.anthropic, open_anthropic, AnthropicChatSettings),
}
EVERY = pytest.mark.parametrize("form", FORMS)


@asynccontextmanager
async def model(
    form: str = "openai", *planned: Answer, slept: list[float] | None = None, **settings: Any
) -> AsyncGenerator[tuple[ChatModel, Provider], None]:
    """Open an adapter on a server of its own; sleeps are noted instead of slept."""

    async def note(seconds: float) -> None:
        if slept is not None:
            slept.append(seconds)

    answer, opening, kind = FORMS[form]
    with serving(answer) as server:
        server.planned += planned
        own = kind(**{"model": "m", "base_url": server.url, "api_key": SECRET} | settings)
        async with opening(own, sleep=note) as opened:
            assert opened.chat is not None
            yield opened.chat, server


async def streamed(chat: ChatModel, how: Generation = FREELY) -> list[ChatEvent]:
    return [event async for event in chat.stream(HELLO, how)]


async def into(said: list[ChatEvent], chat: ChatModel) -> None:
    """Keep what came before an error too."""
    events = chat.stream(HELLO)
    while (event := await anext(events, None)) is not None:
        said.append(event)


def finished(events: list[ChatEvent]) -> Reply:
    assert isinstance(events[-1], Finished)
    return events[-1].reply


# --- requests


@pytest.mark.anyio
async def test_openai_request() -> None:
    settings = {"max_tokens": 9, "temperature": 0.5, "extra_body": {"seed": 7}}
    settings["extra_headers"] = {"X-Team": "blue"}
    async with model(**settings) as (chat, server):
        await streamed(chat)
        await chat.reply(HELLO, Generation(max_tokens=5, schema=SCHEMA, tools=(TOOL,)))
    first, second = server.asked
    assert first.path == "/chat/completions"
    assert first.headers["authorization"] == f"Bearer {SECRET}"
    assert first.headers["x-team"] == "blue"
    assert first.body == {
        "model": "m", "max_tokens": 9, "temperature": 0.5, "seed": 7, "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [
            {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"},
        ],
    }  # fmt: skip
    assert second.body["max_tokens"] == 5
    assert "stream" not in second.body
    assert second.body["response_format"]["json_schema"]["schema"] == SCHEMA
    assert second.body["tools"][0]["function"]["name"] == "weather"


@pytest.mark.anyio
async def test_azure_request() -> None:
    async with model(api_version="2024-10-21", deployment="my gpt") as (chat, server):
        assert (await chat.reply(HELLO)).text == "Hello there."
    (asked,) = server.asked
    path = "/openai/deployments/my%20gpt/chat/completions?api-version=2024-10-21"
    assert asked.path == path
    assert asked.headers["api-key"] == SECRET
    assert "authorization" not in asked.headers


@pytest.mark.anyio
async def test_servers_that_know_no_schema_are_told_in_words() -> None:
    settings = {"structured": "json_object", "stream_usage": False}
    async with model(**settings, length_field="max_completion_tokens", max_tokens=3) as (c, server):
        await streamed(c, Generation(schema=SCHEMA))
    body = server.asked[0].body
    assert body["response_format"] == {"type": "json_object"}
    assert json.dumps(SCHEMA, separators=(",", ":")) in body["messages"][0]["content"]
    assert body["max_completion_tokens"] == 3
    assert "stream_options" not in body


@pytest.mark.anyio
async def test_ollama_request() -> None:
    settings = {"context_tokens": 8192, "max_tokens": 9, "think": False, "keep_alive": "5m"}
    async with model("ollama", **settings) as (chat, server):
        await streamed(chat, Generation(schema=SCHEMA, tools=(TOOL,)))
    (asked,) = server.asked
    assert asked.path == "/api/chat"
    assert asked.body["options"] == {"num_predict": 9, "num_ctx": 8192}
    assert (asked.body["format"], asked.body["think"]) == (SCHEMA, False)
    assert asked.body["tools"][0]["function"]["parameters"] == {"type": "object"}


@pytest.mark.anyio
async def test_anthropic_request() -> None:
    talk = [*HELLO, ChatMessage("assistant", "Hi."), ChatMessage("user", "More")]
    async with model("anthropic", thinking_tokens=1024) as (chat, server):
        await chat.reply(talk)
    (asked,) = server.asked
    assert asked.path == "/v1/messages"
    assert (asked.headers["x-api-key"], asked.headers["anthropic-version"]) == (
        SECRET, "2023-06-01",
    )  # fmt: skip
    mark = {"type": "ephemeral"}
    assert asked.body["system"] == [{"type": "text", "text": "Be brief.", "cache_control": mark}]
    assert [m["role"] for m in asked.body["messages"]] == ["user", "assistant", "user"]
    assert [m["content"][0].get("cache_control") for m in asked.body["messages"]] == [
        None, mark, None,
    ]  # fmt: skip
    assert asked.body["max_tokens"] == 4096
    assert asked.body["thinking"] == {"type": "enabled", "budget_tokens": 1024}


@pytest.mark.anyio
@EVERY
async def test_tool_results_go_back(form: str) -> None:
    talk = [
        *HELLO,
        ChatMessage("assistant", "", (ToolCall("c1", "weather", '{"at": "Porto"}'),)),
        ChatMessage("tool", "sunny", tool_call_id="c1"),
    ]
    async with model(form) as (chat, server):
        await chat.reply(talk)
    sent = json.dumps(server.asked[0].body)
    assert "Porto" in sent
    assert "sunny" in sent


# --- answers


@pytest.mark.anyio
@EVERY
async def test_text_and_usage(form: str) -> None:
    prices = {"price_prompt": 10, "price_completion": 20, "price_cached": 1}
    async with model(form, **prices) as (chat, _):
        events = await streamed(chat)
        whole = await chat.reply(HELLO)
    reply = finished(events)
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["Hello", " there."]
    assert (reply.text, reply.finish, whole.text) == ("Hello there.", "stop", "Hello there.")
    cached = 0 if form == "ollama" else 16
    cost = ((20 - cached) * 10 + cached + 3 * 20) / 1e6
    assert reply.usage == Usage(20, 3, cached, pytest.approx(cost))


@pytest.mark.anyio
async def test_reasoning_is_split_off() -> None:
    chunks = (
        openai_chunk(reasoning_content="Let me "), openai_chunk(reasoning_content="see."),
        openai_chunk(content="Yes."), openai_chunk("stop"), "[DONE]",
    )  # fmt: skip
    tagged = openai_stream("<th", "ink>Let me see.</thi", "nk>\n\nYes", ".")
    thinking = {
        "type": "thinking", "thinking": "",
        "deltas": [{"type": "thinking_delta", "thinking": "Let me see."}],
    }  # fmt: skip
    anthropic = servers.anthropic_stream(thinking, servers.anthropic_text("Yes."))
    ollama = Answer(
        servers.lines(
            {"message": {"content": "", "thinking": "Let me see."}, "done": False},
            {"message": {"content": "Yes."}, "done": True, "done_reason": "stop"},
        )
    )
    for form, answer in (
        ("openai", Answer(sse(*chunks))), ("openai", tagged), ("anthropic", anthropic),
        ("ollama", ollama),
    ):  # fmt: skip
        async with model(form, answer) as (chat, _):
            reply = finished(await streamed(chat))
        assert (reply.reasoning, reply.text) == ("Let me see.", "Yes."), form


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
@pytest.mark.parametrize(
    ("text", "reasoning", "said"),
    [
        ("<think>a < b</think>yes", "a < b", "yes"),
        (" \n<think>a</think>\n\n yes <think>no</think>", "a", "yes <think>no</think>"),
        ("<thin ice", "", "<thin ice"),
        ("<think>never closed", "never closed", ""),
        ("<think></think>yes", "", "yes"),
        ("plain", "", "plain"),
        ("", "", ""),
        ("<thi", "", "<thi"),
        ("<think>x</thi", "x</thi", ""),
    ],
)
def test_think_tags_however_they_are_cut(size: int, text: str, reasoning: str, said: str) -> None:
    thinking = Thinking()
    parts = [thinking.split(text[at : at + size]) for at in range(0, len(text), size)]
    parts.append(thinking.rest())
    assert ("".join(r for r, _ in parts), "".join(s for _, s in parts)) == (reasoning, said)


@pytest.mark.anyio
async def test_tool_calls_come_whole() -> None:
    call = {"index": 0, "id": "c1", "function": {"name": "weather", "arguments": ""}}
    pieces = [{"index": 0, "function": {"arguments": part}} for part in ('{"at":', ' "Porto"}')]
    chunks = [openai_chunk(tool_calls=[piece]) for piece in (call, *pieces)]
    openai = Answer(sse(*chunks, openai_chunk("tool_calls"), "[DONE]"))
    use = {
        "type": "tool_use", "id": "c1", "name": "weather", "input": {},
        "deltas": [{"type": "input_json_delta", "partial_json": '{"at": "Porto"}'}],
    }  # fmt: skip
    anthropic = servers.anthropic_stream(use, reason="tool_use")
    for form, answer in (("openai", openai), ("anthropic", anthropic)):
        async with model(form, answer) as (chat, _):
            events = await streamed(chat, Generation(tools=(TOOL,)))
        expected = ToolCall("c1", "weather", '{"at": "Porto"}')
        assert events[0] == expected, form
        assert finished(events).tool_calls == (expected,)
        assert finished(events).finish == "tool_calls"
    function = {"name": "weather", "arguments": {"at": "Porto"}}
    said = {"message": {"content": "", "tool_calls": [{"function": function}]}, "done": True}
    async with model("ollama", Answer(servers.lines(said))) as (chat, _):
        reply = finished(await streamed(chat, Generation(tools=(TOOL,))))
    assert json.loads(reply.tool_calls[0].arguments) == {"at": "Porto"}
    assert reply.finish == "tool_calls"


@pytest.mark.anyio
async def test_anthropic_answers_in_json_through_a_tool() -> None:
    use = {
        "type": "tool_use", "id": "c1", "name": "answer", "input": {},
        "deltas": [{"type": "input_json_delta", "partial_json": part} for part in ('{"n":', " 7}")],
    }  # fmt: skip
    usage = {"input_tokens": 1, "output_tokens": 1}
    content = [{"type": "tool_use", "id": "c1", "name": "answer", "input": {"n": 7}}]
    whole = {"type": "message", "content": content, "stop_reason": "tool_use", "usage": usage}
    planned = (servers.anthropic_stream(use, reason="tool_use"), Answer(as_json(whole)))
    async with model("anthropic", *planned) as (chat, server):
        replies = [finished(await streamed(chat, Generation(schema=SCHEMA)))]
        replies.append(await chat.reply(HELLO, Generation(schema=SCHEMA)))
    assert server.asked[0].body["tool_choice"] == {"type": "tool", "name": "answer"}
    for reply in replies:
        assert json.loads(reply.text) == {"n": 7}
        assert (reply.finish, reply.tool_calls) == ("stop", ())


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("form", "answer", "finish"),
    [
        ("openai", openai_stream("Hel", finish="length"), "length"),
        ("openai", openai_stream(finish="content_filter"), "content_filter"),
        ("anthropic", servers.anthropic_stream(reason="max_tokens"), "length"),
        ("anthropic", servers.anthropic_stream(reason="refusal"), "content_filter"),
        ("ollama", Answer(servers.lines({"done": True, "done_reason": "length"})), "length"),
        ("openai", Answer(sse(openai_chunk(content="no reason given"), "[DONE]")), "stop"),
    ],
)
async def test_answers_that_end_early_say_why(form: str, answer: Answer, finish: str) -> None:
    async with model(form, answer) as (chat, _):
        assert finished(await streamed(chat)).finish == finish


# --- faults


def fault(status: int, message: str = "out of order", **headers: str) -> Answer:
    body = as_json({"error": {"message": f"{message} {SECRET}", "type": "x"}})
    return Answer(body, status, {name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.anyio
@EVERY
@pytest.mark.parametrize(
    ("status", "code", "tries"),
    [
        (400, "model_status", 1),
        (401, "model_refused", 1),
        (403, "model_refused", 1),
        (404, "model_not_found", 1),
        (408, "model_status", 3),
        (429, "rate_limited", 3),
        (500, "model_status", 3),
        (503, "model_status", 3),
        (529, "model_status", 3),
    ],
)
async def test_http_errors(form: str, status: int, code: str, tries: int) -> None:
    slept: list[float] = []
    async with model(form, *[fault(status)] * tries, slept=slept) as (chat, server):
        with pytest.raises(UpstreamError) as caught:
            await streamed(chat)
        assert len(server.asked) == tries
        assert (caught.value.code, caught.value.retryable) == (code, tries > 1)
        assert len(slept) == tries - 1
        assert SECRET not in f"{caught.value} {caught.value.context}"
        assert "127.0.0.1" in caught.value.detail
        assert finished(await streamed(chat)).text == "Hello there."


@pytest.mark.anyio
async def test_retry_after_is_honoured() -> None:
    slept: list[float] = []
    async with model("openai", fault(429, Retry_After="7.5"), slept=slept) as (chat, _):
        assert (await chat.reply(HELLO)).text == "Hello there."
    assert slept == [7.5]
    async with model("openai", fault(429, Retry_After="3600"), slept=slept) as (chat, _):
        with pytest.raises(RateLimited) as caught:
            await chat.reply(HELLO)
    assert (caught.value.retry_after, slept) == (3600, [7.5])


BROKEN = {
    "not JSON": Answer(sse("{oops")),
    "another shape": Answer(sse({"choices": "none"})),
    "error inside": Answer(sse({"error": {"message": "overloaded", "code": 503}})),
    "no end": Answer(sse()),
    "cut": Answer([b'data: {"cho'], cut=True),
    "web page": Answer(b"<html>", headers={"Content-Type": "text/html"}),
}


@pytest.mark.anyio
@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
async def test_broken_streams_are_tried_again_and_then_told(answer: Answer) -> None:
    async with model("openai", answer) as (chat, server):
        assert finished(await streamed(chat)).text == "Hello there."
        assert len(server.asked) == 2
        server.planned += [answer] * 3
        with pytest.raises(ModelError) as caught:
            await streamed(chat)
    assert caught.value.retryable


@pytest.mark.anyio
async def test_nothing_is_tried_again_after_the_first_piece() -> None:
    begun = sse(openai_chunk(content="Hel"))
    for answer in (Answer(begun, cut=True), Answer(begun), Answer([*begun, *sse("{oops")])):
        async with model("openai", answer) as (chat, server):
            said: list[ChatEvent] = []
            with pytest.raises(ModelError):
                await into(said, chat)
            assert said == [TextDelta("Hel")]
            assert len(server.asked) == 1


@pytest.mark.anyio
@EVERY
async def test_silence_is_a_timeout(form: str) -> None:
    silent = Answer([], hang=True)
    async with model(form, silent, timeout_s=0.1, max_retries=0) as (chat, _):
        with pytest.raises(Timeout) as caught:
            await streamed(chat)
    assert caught.value.retryable


@pytest.mark.anyio
async def test_silence_in_the_middle_is_a_timeout_too() -> None:
    stuck = Answer(sse(openai_chunk(content="Hel")), hang=True)
    async with model("openai", stuck, timeout_s=0.1) as (chat, server):
        with pytest.raises(Timeout):
            await streamed(chat)
        assert len(server.asked) == 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("form", "answer"),
    [
        ("openai", Answer(as_json({"choices": []}))),
        ("openai", Answer(as_json({"error": {"message": "bad", "code": 500}}))),
        ("ollama", Answer(as_json({"error": "out of memory"}))),
        ("ollama", Answer(as_json({}))),
        ("anthropic", Answer(as_json({"type": "error", "error": {"type": "overloaded_error"}}))),
        ("anthropic", Answer(as_json({"no": "type"}))),
        ("openai", Answer(b"\xff\xfe")),
    ],
)
async def test_answers_that_are_none(form: str, answer: Answer) -> None:
    async with model(form, answer) as (chat, _):
        with pytest.raises(ModelError):
            await chat.reply(HELLO)


@pytest.mark.anyio
async def test_server_that_is_not_there() -> None:
    with serving(servers.openai()) as server:
        url = server.url
    slept: list[float] = []
    async with model("openai", base_url=url, slept=slept) as (chat, _):
        with pytest.raises(ModelError, match="check base_url") as caught:
            await streamed(chat)
    assert (caught.value.code, len(slept)) == ("model_unreachable", 2)


# --- the second model


class Broken(ScriptedChat):
    """Fails after its first piece."""

    async def stream(
        self, messages: Any, how: Generation = FREELY
    ) -> AsyncGenerator[ChatEvent, None]:
        yield TextDelta("Hel")
        raise ModelError("gone", service="m", retryable=True)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "error",
    [
        ModelError("down", service="m", retryable=True),
        RateLimited("busy", service="m"),
        Timeout("silent", service="m", retryable=True),
    ],
)
async def test_the_second_model_answers_when_the_first_cannot(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    chat = FallbackChat(ScriptedChat(error, name="one"), ScriptedChat("Hi.", name="two"))
    assert finished(await streamed(chat)).model == "two"
    assert (await chat.reply(HELLO)).model == "two"
    assert "chat_fallback model=one" in caplog.text
    assert "Hello" not in caplog.text


@pytest.mark.anyio
async def test_mistakes_in_the_settings_are_no_reason_for_the_second_model() -> None:
    refused = ScriptedChat(ModelError("wrong key", service="m", code="model_refused"))
    second = ScriptedChat("Hi.")
    with pytest.raises(ModelError):
        await FallbackChat(refused, second).reply(HELLO)
    with pytest.raises(ModelError):
        await streamed(FallbackChat(refused, second))
    assert second.prompts == []


@pytest.mark.anyio
async def test_half_an_answer_is_not_followed_by_another_ones() -> None:
    second = ScriptedChat("Hi.")
    with pytest.raises(ModelError, match="gone"):
        await streamed(FallbackChat(Broken(), second))
    assert second.prompts == []
    both = FallbackChat(ScriptedChat(RateLimited("busy", service="m")), Broken())
    with pytest.raises(ModelError, match="gone"):
        await streamed(both)
