"""``memos.client`` against a real ``memos serve``, and its parity with ``MOS``."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.servers import openai, serving
from tests.serving import TOKEN, on_loopback

from memos import MOS
from memos.chat.conversation import ChatDone, Recalled
from memos.client import AsyncClient, Client, Retries
from memos.errors import (
    CallerError,
    Conflict,
    Forbidden,
    InvalidInput,
    MemosError,
    ModelError,
    NotFound,
    RateLimited,
    Timeout,
    Unauthenticated,
    UpstreamError,
)
from memos.jobs.service import Jobs
from memos.ports.models import TextDelta
from memos.users.service import Users
from memos.users.sharing import Cubes

ENVIRONMENT = {"MEMOS_BOOTSTRAP_KEY": TOKEN, "MEMOS_SERVER__OPEN_LOOPBACK": "false"}
NOT_OVER_HTTP = {"open", "simple", "reindex", "check", "rebuild"}
"""What is the operator's, or not about a server."""
ONLY_CLIENT = {"add_many", "iter_all", "audit", "feedback"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    with on_loopback(tmp_path_factory.mktemp("home"), **ENVIRONMENT) as url:
        yield url


@pytest.fixture
def client(server: str) -> Generator[Client]:
    with Client(server, api_key=TOKEN) as client:
        yield client


def public(owner: object) -> set[str]:
    return {name for name in dir(owner) if not name.startswith("_")}


def parameters(function: Callable[..., Any]) -> list[str]:
    return [str(parameter) for parameter in inspect.signature(function).parameters.values()]


def test_the_methods_are_those_of_mos() -> None:
    methods = public(Client) - ONLY_CLIENT
    assert methods == public(MOS) - NOT_OVER_HTTP
    with Client("http://127.0.0.1:1") as client:
        pairs = [(getattr(Client, name), getattr(MOS, name)) for name in methods]
        for own, original in ((client.users, Users), (client.cubes, Cubes), (client.jobs, Jobs)):
            assert public(own) == public(original) - {"run"}
            pairs += [(getattr(type(own), n), getattr(original, n)) for n in public(own)]
    for mine, theirs in pairs:
        plain = [text.replace("opt.", "") for text in parameters(mine)]
        assert plain == parameters(theirs), mine


def test_both_clients_agree() -> None:
    assert public(AsyncClient) == public(Client)
    pairs = [(getattr(AsyncClient, name), getattr(Client, name)) for name in public(Client)]
    blocking, other = Client("http://127.0.0.1:1"), AsyncClient("http://127.0.0.1:1")
    for part in ("users", "cubes", "keys", "jobs"):
        own, theirs = type(getattr(other, part)), type(getattr(blocking, part))
        assert public(own) == public(theirs)
        pairs += [(getattr(own, name), getattr(theirs, name)) for name in public(theirs)]
    blocking.close()
    for mine, theirs in pairs:
        assert parameters(mine) == parameters(theirs)
        assert inspect.iscoroutinefunction(mine) or inspect.isasyncgenfunction(mine)
        if inspect.iscoroutinefunction(mine):
            left, right = inspect.signature(mine), inspect.signature(theirs)
            assert left.return_annotation == right.return_annotation


def test_it_loads_nothing_of_the_engine() -> None:
    heavy = ["memos.build", "memos.settings", "memos.backends", "onnxruntime", "apsw", "pydantic",
             "fastapi", "rjieba", "typer"]  # fmt: skip
    code = f"import sys, memos.client; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_memory_s_life(client: Client) -> None:
    added = client.add("Zoe is allergic to peanuts.", user="life", tags=["health"])
    assert added.stored == (True,)
    (id,) = added.ids
    hit = client.search("What must Zoe not eat?", user="life", limit=3).hits[0]
    assert (hit.memory.id, hit.memory.tags) == (id, ("health",))
    assert hit.why.lanes
    changed = client.update(id, user="life", text="花生过敏", expect=1, valid_to=datetime.now(UTC))
    assert (changed.version, changed.text) == (2, "花生过敏")
    assert changed == client.get(id, user="life", cubes=["life"], resolve=True)
    assert [version.version for version in client.history(id, user="life")] == [1, 2]
    before = changed.recorded_at
    assert before is not None
    past = client.get_all(user="life", as_of=before - timedelta(microseconds=1))
    assert [memory.version for memory in past.items] == [1]
    assert client.stats(user="life").memories == 1
    assert client.forget(id, user="life").mode == "retire"
    assert client.forget(where={"tags": "health"}, user="life", mode="erase").ids == (id,)
    with pytest.raises(NotFound) as gone:
        client.get(id, user="life")
    assert gone.value.code == "erased"


def test_whatever_mos_takes_the_client_takes(client: Client) -> None:
    messages = [{"role": "user", "content": "I moved to Lisbon.", "message_id": "m1"}]
    first = client.add(messages, user="take", session="s", batch_id="b")
    assert client.add(messages, user="take", session="s", batch_id="b").ids == first.ids
    items = [{"id": "a/../b", "memory": "the kiln"}, {"id": "..", "memory": "two dots"}]
    assert client.add(items, user="take").ids == ("a/../b", "..")
    assert client.add(items[0], user="take2", info={"when": datetime(2026, 1, 1, tzinfo=UTC)}).ids
    assert client.get("a/../b", user="take").text == "the kiln"
    assert client.get("..", user="take").text == "two dots"
    for bad in (42, b"bytes", object()):
        with pytest.raises(InvalidInput):
            client.add(bad, user="take")
    many = client.add_many(["one", " ", messages], user="take", session="t")
    assert [one.error and one.error.code for one in many] == [None, "empty", None]
    assert isinstance(many[1].error, InvalidInput)
    found = client.search("kiln", user="take", where={"session": {"ne": "s"}}, budget=50)
    assert found.hits[0].memory.id == "a/../b"


def test_feedback_and_the_audit_log(client: Client) -> None:
    (id,) = client.add("The kiln is hot.", user="told").ids
    first = client.feedback("It is cold.", user="told", memories=[id])
    assert first.startswith("feedback-")
    with pytest.raises(NotFound):
        client.feedback("what?", user="told", memories=["none"])
    page = client.audit(of="told", since=datetime.now(UTC) - timedelta(minutes=5))
    assert [entry.action for entry in page.items][:2] == ["feedback.give", "memories.add"]


def test_pages_are_followed(client: Client) -> None:
    client.add_many([f"note {number}" for number in range(7)], user="pages")
    told = [memory.text for memory in client.iter_all(user="pages", limit=3)]
    assert told == [f"note {number}" for number in range(7)]
    assert client.get_all(user="pages", limit=3).next is not None


def test_users_cubes_and_keys(client: Client) -> None:
    assert client.users.create("ann", name="安", role="GUEST").role == "GUEST"
    assert client.users.ensure("bob") == client.users.get("bob")
    assert client.users.rename("ann", "Ann").name == "Ann"
    assert client.users.set_role("ann", "USER").role == "USER"
    assert not client.users.deactivate("ann").active
    assert client.users.activate("ann").active
    assert {"ann", "bob"} <= {user.id for user in client.users.list()}
    assert [user.id for user in client.users.list(by="bob")] == ["bob"]
    with pytest.raises(Forbidden):
        client.users.create("eve", by="bob")
    cube = client.cubes.create("studio", name="工作室", owner="ann")
    assert cube == client.cubes.get("studio", user="ann")
    assert client.cubes.share("studio", "bob", user="ann").access == "read"
    assert {grant.principal for grant in client.cubes.grants("studio", user="ann")} == {
        "ann", "bob",
    }  # fmt: skip
    assert "studio" in {cube.id for cube in client.cubes.list(user="bob")}
    client.cubes.revoke("studio", "bob", user="ann")
    assert client.cubes.rename("studio", "Studio", user="ann").name == "Studio"
    assert not client.cubes.unregister("studio", user="ann").registered
    assert client.cubes.list(user="ann", unregistered=True)[0].held == (("ann", "write"),)
    assert client.cubes.register("studio", user="ann").registered
    assert client.cubes.transfer("studio", "bob", user="ann").owner == "bob"
    until = datetime.now(UTC) + timedelta(days=1)
    made = client.keys.create("reader", scopes=["read"], user="ann", expires_at=until)
    assert made.key.expires_at == until
    fresh = client.keys.rotate(made.key.id)
    assert client.keys.revoke(made.key.id).revoked_at is not None
    assert made.key.id in {key.id for key in client.keys.list()}
    with (
        Client(str(client._sender.http.base_url), api_key=fresh.token) as revoked,
        pytest.raises(Unauthenticated) as refused,
    ):
        revoked.get_all()
    assert refused.value.code == "invalid_key"


def test_errors_are_those_of_mos(client: Client, tmp_path: Path) -> None:
    cases: list[tuple[Callable[[], object], type[MemosError], str]] = [
        (lambda: client.search(" "), InvalidInput, "empty"),
        (lambda: client.search("x", limit=0), InvalidInput, "invalid_input"),
        (lambda: client.get("none"), NotFound, "unknown_memory"),
        (lambda: client.search("x", cubes=["secret"]), NotFound, "unknown_cube"),
        (lambda: client.cubes.create("default"), Conflict, "exists"),
        (lambda: client.forget(where={}), InvalidInput, "no_selector"),
        (lambda: client.get(""), InvalidInput, "empty"),
        (lambda: client.add(tmp_path), InvalidInput, "no_file"),
        (lambda: client.add_many([tmp_path]), InvalidInput, "no_content"),
        (lambda: client.add("x", info={"a": object()}), InvalidInput, "invalid_input"),
    ]
    with MOS.simple(tmp_path) as mos:
        mos.users.ensure("default")
    for call, kind, code in cases:
        with pytest.raises(kind) as raised:
            call()
        assert (type(raised.value), raised.value.code) == (kind, code)
        assert raised.value.detail


# --- what the network does


def answering(*answers: httpx.Response | Exception) -> tuple[Client, list[httpx.Request]]:
    """Return a client whose server gives these answers, and what it was asked."""
    asked: list[httpx.Request] = []
    left = list(answers)

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    retries = Retries(attempts=3, first_s=0.001, longest_s=0.01)
    return Client(transport=httpx.MockTransport(handle), retries=retries), asked


def problem(status: int, **more: object) -> httpx.Response:
    body = {"status": status, "code": "busy", "detail": "later", **more}
    return httpx.Response(status, json=body)


def test_what_may_pass_is_tried_again() -> None:
    busy = problem(503, error="StoreError", context={"service": "sqlite", "retryable": True})
    added = httpx.Response(201, json={"ids": ["1"], "stored": [True]})
    client, asked = answering(busy, httpx.ReadError("lost"), added)
    assert client.add("x").ids == ("1",)
    assert len({request.headers["Idempotency-Key"] for request in asked}) == 1
    assert len(asked) == 3


@pytest.mark.parametrize("calling", [lambda c: c.chat("x"), lambda c: c.jobs.reindex(cube="x")])
def test_what_may_have_been_done_is_not_done_twice(calling: Callable[[Client], object]) -> None:
    client, asked = answering(httpx.ReadTimeout("slow"))
    with pytest.raises(Timeout):
        calling(client)
    assert len(asked) == 1
    limited = httpx.Response(429, json={"status": 429, "code": "rate_limited", "detail": "later"})
    client, asked = answering(httpx.ConnectError("refused"), limited, httpx.ConnectError("refused"))
    with pytest.raises(UpstreamError) as lost:
        calling(client)
    assert (lost.value.code, len(asked)) == ("unreachable", 3)


def test_who_is_asked_to_wait_long_gives_up() -> None:
    headers = {"Retry-After": "30"}
    limited = httpx.Response(
        429, json={"status": 429, "code": "rate_limited", "detail": "x"}, headers=headers
    )
    client, asked = answering(limited)
    with pytest.raises(RateLimited) as refused:
        client.search("x")
    assert (refused.value.retry_after, refused.value.service, len(asked)) == (30.0, "memos", 1)


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (httpx.Response(502, text="<html>"), UpstreamError, "http_status"),
        (httpx.Response(404, text="no such page"), UpstreamError, "http_status"),
        (httpx.Response(200, text="<html>"), UpstreamError, "bad_answer"),
        (httpx.Response(200, content=b"\xff\xfe"), UpstreamError, "bad_answer"),
        (httpx.Response(200, json={"hits": 1}), UpstreamError, "bad_answer"),
        (problem(502, error="ModelError", code="model_status"), ModelError, "model_status"),
        (problem(500), MemosError, "busy"),
        (problem(418), CallerError, "busy"),
        (problem(409, error="NoSuchClass"), Conflict, "busy"),
    ],
)
def test_answers_of_other_kinds(answer: httpx.Response, kind: type[MemosError], code: str) -> None:
    client, _ = answering(answer, answer, answer)
    with pytest.raises(MemosError) as raised:
        client.search("x")
    assert (type(raised.value), raised.value.code) == (kind, code)


def test_keys_that_would_break_a_header_are_refused() -> None:
    for key in ("a\r\nX-Evil: 1", "", "ключ", "a b"):
        if key:
            with pytest.raises(InvalidInput):
                Client(api_key=key)


# --- streams


def events(*pairs: tuple[str, str]) -> httpx.Response:
    text = "".join(f"event: {name}\ndata: {data}\n\n" for name, data in pairs)
    return httpx.Response(200, text=text, headers={"Content-Type": "text/event-stream"})


def test_streams_that_go_wrong() -> None:
    recalled = ("recalled", '{"memories": [], "preferences": []}')
    revoked = '{"status": 401, "code": "invalid_key", "detail": "no", "error": "Unauthenticated"}'
    client, _ = answering(events(recalled, ("delta", '{"text": "a"}'), ("error", revoked)))
    stream = client.chat_stream("x")
    assert next(stream) == Recalled((), ())
    assert next(stream) == TextDelta("a")
    with pytest.raises(Unauthenticated):
        next(stream)
    client, _ = answering(events(recalled, ("later", "{}")))
    with pytest.raises(UpstreamError, match="ended before"):
        list(client.chat_stream("x"))
    client, _ = answering(events(("delta", "[]")))
    with pytest.raises(UpstreamError) as malformed:
        list(client.chat_stream("x"))
    assert malformed.value.code == "bad_answer"
    client, _ = answering(httpx.ConnectError("refused"))
    with pytest.raises(UpstreamError):
        list(client.chat_stream("x"))


def test_chat_without_a_model(client: Client) -> None:
    for call in (lambda: client.chat("hello"), lambda: list(client.chat_stream("hello"))):
        with pytest.raises(MemosError) as raised:
            call()
        assert raised.value.code == "no_chat_model"
    assert client.usage().total.calls == 0


@pytest.fixture
async def asynchronous(server: str) -> AsyncGenerator[AsyncClient]:
    async with AsyncClient(server, api_key=TOKEN) as client:
        yield client


@pytest.mark.anyio
async def test_the_asynchronous_client(asynchronous: AsyncClient) -> None:
    client = asynchronous
    added = await client.add_many(["one", "two", "three"], user="async")
    assert [one.stored for one in added] == [(True,)] * 3
    told = [memory.text async for memory in client.iter_all(user="async", limit=2)]
    assert told == ["one", "two", "three"]
    assert (await client.search("two", user="async")).hits
    assert (await client.users.get("async")).id == "async"
    assert (await client.cubes.get("async", user="async")).owner == "async"
    assert await client.keys.list()
    with pytest.raises(MemosError) as raised:
        _ = [event async for event in client.chat_stream("hello")]
    assert raised.value.code == "no_chat_model"
    with pytest.raises(NotFound):
        await client.get("none", user="async")


def test_chat_over_a_real_server(tmp_path: Path) -> None:
    with serving(openai(lambda _: "Peanuts [1].")) as provider:
        model = {
            "MEMOS_CHAT__KIND": "openai",
            "MEMOS_CHAT__BASE_URL": f"{provider.url}/v1",
            "MEMOS_CHAT__MODEL": "fake",
        }
        with on_loopback(tmp_path, **model) as url, Client(url) as client:
            client.add("Zoe is allergic to peanuts.")
            answer = client.chat("What is Zoe allergic to?", session="s")
            assert (answer.text, answer.model) == ("Peanuts [1].", "fake")
            assert answer.cited[0].memory.text == "Zoe is allergic to peanuts."
            told = list(client.chat_stream("And Lin?", session="s"))
            assert isinstance(told[0], Recalled)
            last = told[-1]
            assert isinstance(last, ChatDone)
            said = "".join(event.text for event in told if isinstance(event, TextDelta))
            assert said == last.result.text == "Peanuts [1]."
            assert client.usage().total.calls == 2
            stopped = client.chat_stream("Count", session="s")
            next(stopped)
            stopped.close()
