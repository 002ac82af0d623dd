"""``memos chat``: one question, a pipe, and a conversation at a real (pseudo) terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import servers
from tests.servers import Answer, Asked, Provider, serving
from typer.testing import CliRunner, Result

from memos.cli.main import app

SECRET = "sk-canary-31b7"
OTHERS = "sk-canary-of-another-server"


def said(asked: Asked) -> str:
    """Answer with the number of the memory that speaks of peanuts."""
    found = re.search(r"^(\[\d+\]).*peanuts", asked.body["messages"][-1]["content"], re.MULTILINE)
    return f"No peanuts {found.group(1)}." if found else "I do not know."


@pytest.fixture
def server() -> Iterator[Provider]:
    with serving(servers.openai(said)) as found:
        yield found


def environment(home: Path, server: Provider | None) -> dict[str, str]:
    ours = {"MEMOS_HOME": str(home), "OPENAI_API_KEY": OTHERS, "TERM": "dumb"}
    if server is not None:
        ours |= {
            "MEMOS_CHAT__KIND": "openai", "MEMOS_CHAT__MODEL": "one",
            "MEMOS_CHAT__BASE_URL": server.url, "MEMOS_CHAT__MAX_RETRIES": "0",
            "MEMOS_CHAT__API_KEY": SECRET,
        }  # fmt: skip
    return ours


def run(home: Path, server: Provider | None, *arguments: str, stdin: str = "") -> Result:
    return CliRunner().invoke(app, [*arguments], input=stdin, env=environment(home, server))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("store")
    assert run(home, None, "add", "Zoe is allergic to peanuts.").exit_code == 0
    return home


@pytest.fixture
def home(store: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(store, tmp_path / "home"))


def test_one_question(home: Path, server: Provider):
    result = run(home, server, "chat", "What must Zoe not eat?")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("No peanuts [1].\n  [1] ")
    assert server.asked[0].body["model"] == "one"
    assert server.asked[0].headers["authorization"] == f"Bearer {SECRET}"


def test_json_model_session_and_remembering(home: Path, server: Provider):
    options = ("--json", "--session", "s", "--model", "two", "--no-remember")
    result = run(home, server, "chat", "What must Zoe not eat?", *options)
    answer = json.loads(result.stdout)
    assert answer["text"] == "No peanuts [1]."
    assert answer["cited"][0]["memory"]["text"] == "Zoe is allergic to peanuts."
    assert (answer["session"], answer["ids"]) == ("s", [])
    assert server.asked[0].body["model"] == "two"


def test_a_pipe_of_questions(home: Path, server: Provider):
    result = run(home, server, "chat", "--session", "s", stdin="peanuts?\n\n花生呢 peanuts？\n")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("No peanuts [1].") == 2
    assert len(server.asked) == 2
    assert server.asked[1].body["messages"][1]["content"] == "peanuts?"


def test_without_a_model(home: Path):
    result = run(home, None, "chat", "Hello", "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"]["code"] == "no_chat_model"
    result = run(home, None, "chat", "Hello")
    assert len(result.stderr.splitlines()) == 1
    assert "MEMOS_CHAT__KIND" in result.stderr


def test_a_model_without_a_kind(home: Path):
    result = run(home, None, "chat", "Hello", "--model", "m", "--json")
    error = json.loads(result.stdout)["error"]
    assert error["code"] == "unknown_kind"
    assert "anthropic, ollama, openai" in error["detail"]


def test_a_failing_model_leaves_one_line_and_no_secret(home: Path, server: Provider):
    body = servers.as_json({"error": {"message": f"bad key {SECRET}"}})
    server.planned += [Answer(body, 401), Answer(body, 400)]
    for _ in range(2):
        result = run(home, server, "chat", "Hello")
        assert result.exit_code == 1
        assert "check" in result.stderr
        assert SECRET not in result.output


def test_control_characters_of_a_model_do_not_reach_the_terminal(home: Path, server: Provider):
    server.planned.append(servers.openai_stream("\x1b[31mred\x07"))
    result = run(home, server, "chat", "Hello")
    assert "\x1b" not in result.stdout
    assert "red" in result.stdout


def test_settings_are_shown_without_secrets(home: Path, server: Provider):
    more = {
        "MEMOS_CHAT__API_KEY": SECRET,
        "MEMOS_CHAT_FALLBACK__KIND": "anthropic",
        "MEMOS_CHAT_FALLBACK__MODEL": "m",
        "MEMOS_CHAT_FALLBACK__API_KEY": SECRET,
        "MEMOS_CHAT_FALLBACK__BASE_URL": server.url,
        "MEMOS_RERANKER__KIND": "http",
        "MEMOS_RERANKER__URL": server.url,
        "MEMOS_RERANKER__API_KEY": SECRET,
    }
    env = environment(home, server) | more
    result = CliRunner().invoke(app, ["config", "show", "--json"], env=env)
    assert result.exit_code == 0, result.output
    assert SECRET not in result.output
    assert OTHERS not in result.output
    assert "MEMOS_CHAT__MODEL" in result.output
    result = CliRunner().invoke(app, ["config", "check", "--json"], env=env)
    assert SECRET not in result.output
    assert server.asked[0].body["messages"] == [{"role": "user", "content": "Say hello."}]
    assert {"chat", "chat_fallback", "reranker"} <= set(re.findall(r"\w+", result.output))


def converse(home: Path, server: Provider | None, *lines: str, ends: int = 0) -> str:
    """Type lines at a pseudo-terminal, each after the prompt came, and return what was shown."""
    parent, child = pty.openpty()
    env = {**os.environ, **environment(home, server)}
    with subprocess.Popen(
        [sys.executable, "-c", "from memos.cli.main import main; main()", "chat"],
        stdin=child, stdout=child, stderr=child, env=env, close_fds=True,
    ) as process:  # fmt: skip
        os.close(child)
        shown = b""
        for line in lines:
            shown += _until(parent, b"you> ")
            text, _, stop_after = line.partition("^C after ")
            os.write(parent, text.encode() + b"\n")
            if stop_after:
                shown += _until(parent, stop_after.encode())
                process.send_signal(signal.SIGINT)
        shown += _until(parent, None)
        assert process.wait(30) == ends
    os.close(parent)
    return shown.decode("utf-8", "replace").replace("\r\n", "\n")


def _until(terminal: int, mark: bytes | None) -> bytes:
    seen = b""
    while mark is None or mark not in seen:
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # the other end is closed
            piece = b""
        if not piece:
            assert mark is None, seen
            return seen
        seen += piece
    return seen


def test_a_conversation_and_its_commands(home: Path, server: Provider):
    shown = converse(
        home, server,
        "/help", "What must Zoe not eat?", "/cite 1", "/cite 9", "/memories", "/nonsense",
        "/search peanuts", "/history", "/session", "/user zoe", "peanuts?", "/forget 1",
        "", "/quit",
    )  # fmt: skip
    for told in (
        "/cite N", "No peanuts [1].", "from text", "a number from 1 to", "no command /nonsense",
        "user> What must Zoe not eat?", "session chat-20", "user zoe", "I do not know.",
        "nothing is listed",
    ):  # fmt: skip
        assert told in shown, told


def test_a_conversation_goes_on_after_an_error(home: Path, server: Provider):
    server.planned.append(Answer(b"", 500))
    shown = converse(home, server, "peanuts?", "peanuts?", "/forget 1", "peanuts?", "/q")
    assert "error: chat server" in shown
    assert shown.index("error: chat server") < shown.index("No peanuts [1].")
    assert "retired" in shown


def test_a_key_is_not_sent_to_a_server_that_it_was_not_given_for(home: Path, server: Provider):
    env = environment(home, server) | {"MEMOS_CHAT__API_KEY": ""}
    CliRunner().invoke(app, ["chat", "Hello"], env=env)
    assert "authorization" not in server.asked[0].headers
    env["MEMOS_CHAT__BASE_URL"] = ""
    env["OPENAI_API_BASE"] = server.url
    CliRunner().invoke(app, ["chat", "Hello"], env=env)
    assert server.asked[1].headers["authorization"] == f"Bearer {OTHERS}"


def test_an_answer_is_stopped_and_remembered_as_far_as_it_went(home: Path, server: Provider):
    pieces = servers.sse(servers.openai_chunk(content="One two"))
    server.planned.append(Answer(pieces, hang=True))
    shown = converse(home, server, "Count^C after One two", "/history", "/quit")
    assert "assistant> One two" in shown


def test_a_conversation_without_a_model_ends_at_once(home: Path):
    assert "no chat model is configured" in converse(home, None, "Hello", ends=2)
