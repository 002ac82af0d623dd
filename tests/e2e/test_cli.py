"""The command line, driven as a user drives it: on a real store, through its front door."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import apsw
import pytest
from tests.servers import serving, web_results
from typer.testing import CliRunner, Result

import memos
from memos.cli import demo
from memos.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
PACKAGED = Path(demo.__file__).parent
COMMANDS = [
    "init", "demo", "add", "search", "get", "list", "history", "chat", "forget", "export",
    "import", "stats", "reindex", "doctor",
    "version", "config show", "config check", "user list", "user create", "user rename",
    "user role", "user deactivate", "user activate", "cube list", "cube create", "cube rename",
    "cube grants", "cube share", "cube revoke", "cube transfer", "cube unregister",
    "cube register", "key create", "key list", "key rotate", "key revoke", "key generate",
    "serve",
]  # fmt: skip
Run = Callable[..., Result]


def clean_environment(**more: str) -> dict[str, str | None]:
    """Return changes that hide this machine's settings from the commands."""
    ours = ("MEMOS_", "MOS_", "OPENAI_", "QDRANT_", "NEO4J_", "MEMSCHEDULER_", "MEM_READER_")
    return {**{name: None for name in os.environ if name.startswith(ours)}, **more}


def run_in(home: Path, *arguments: str, stdin: str | bytes = "", **environ: str) -> Result:
    return CliRunner().invoke(
        app, [*arguments, "--home", str(home)], input=stdin, env=clean_environment(**environ)
    )


def parsed(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refused(result: Result, code: str, exit_code: int = 2) -> str:
    assert result.exit_code == exit_code, result.output
    error = json.loads(result.stdout)["error"]
    assert error["code"] == code
    return error["detail"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two conversations and three notes; tests that change it use their own."""
    home = tmp_path_factory.mktemp("home")
    for name in ("en", "zh"):
        parsed(run_in(home, "add", "--messages", str(PACKAGED / f"{name}.json"), "--json"))
    tagged = ("--tag", "health", "--info", "who=Zoe", "--info", "age:=7")
    parsed(run_in(home, "add", "Zoe is allergic to peanuts.", *tagged, "--json"))
    return home


@pytest.fixture
def run(home: Path) -> Run:
    return lambda *arguments, **how: run_in(home, *arguments, **how)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# --- help and documentation


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_helps_with_examples(command: str):
    result = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert f"memos {command}" in result.stdout.partition("Examples:")[2]
    for option in ("--home", "--user", "--json", "--debug"):
        assert option in result.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_option_is_documented(command: str):
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert f"$ memos {command}" in page
    told = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": "200"}).stdout
    options = set(re.findall(r"--[a-z][a-z-]+", told.partition("Examples:")[0]))
    assert {option for option in options if option not in page} == set()


# --- adding


def test_added_text_is_found(tmp_path: Path):
    added = parsed(run_in(tmp_path, "add", "The key lies under the blue pot.", "--json"))
    assert added["stored"] == [True]
    found = parsed(run_in(tmp_path, "search", "where is the key", "--json"))
    assert found["hits"][0]["memory"]["id"] == added["ids"][0]


def test_a_person_sees_how_many_were_stored(tmp_path: Path):
    result = run_in(tmp_path, "add", "My bike is green.")
    assert result.exit_code == 0
    assert result.stdout.startswith("1 stored\n")


@pytest.mark.parametrize("arguments", [[], ["-"]])
def test_standard_input_is_added(tmp_path: Path, arguments: list[str]):
    assert run_in(tmp_path, "add", *arguments, stdin="我七月六号到新公司报到\n").exit_code == 0
    (item,) = parsed(run_in(tmp_path, "list", "--json"))["items"]
    assert item["text"].strip() == "我七月六号到新公司报到"


def test_files_are_added_with_their_name(tmp_path: Path):
    note = tmp_path / "笔记.md"
    note.write_text("# Rent\n\nThe rent is 940 pounds.\n", encoding="utf-8")
    parsed(run_in(tmp_path / "home", "add", "--file", str(note), "--json"))
    (hit,) = parsed(run_in(tmp_path / "home", "search", "rent", "--json"))["hits"]
    assert hit["memory"]["sources"][0]["uri"] == "笔记.md"


def test_messages_keep_speaker_time_session_and_are_stored_once(tmp_path: Path):
    lines = [
        {"role": "user", "name": "Ann", "content": "I sold the boat.", "message_id": "m1",
         "chat_time": "2026-05-01T10:00:00Z", "session": "s1"},
        {"role": "assistant", "content": "For how much?", "session": "s1", "message_id": "m2"},
        {"role": "user", "name": "Ann", "content": "Nine thousand.", "message_id": "m3"},
    ]  # fmt: skip
    path = tmp_path / "chat.jsonl"
    path.write_text("\n\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
    arguments = ("add", "--messages", str(path), "--session", "s2", "--json")
    assert parsed(run_in(tmp_path / "home", *arguments))["stored"] == [True] * 3
    assert parsed(run_in(tmp_path / "home", *arguments))["stored"] == [False] * 3
    items = parsed(run_in(tmp_path / "home", "list", "--json"))["items"]
    assert [item["place"]["session"] for item in items] == ["s1", "s1", "s2"]
    assert items[0]["speaker"] == "Ann"
    assert items[0]["sources"][0]["id"] == "m1"
    again = run_in(tmp_path / "home", *arguments[:-1])
    assert again.stdout.startswith("0 stored, 3 known already")


def test_messages_may_stand_in_an_object(tmp_path: Path):
    path = tmp_path / "chat.json"
    path.write_text('{"messages": [{"role": "user", "content": "Hello there"}]}', encoding="utf-8")
    assert len(parsed(run_in(tmp_path, "add", "--messages", str(path), "--json"))["ids"]) == 1


def test_tags_and_info_are_kept(run: Run):
    (item,) = parsed(run("list", "--json", "--filter", '{"tags": {"contains": "health"}}'))["items"]
    assert item["info"] == {"who": "Zoe", "age": 7}


@pytest.mark.parametrize(
    ("arguments", "stdin", "code"),
    [
        (["text", "--file", "x.md"], "", "usage"),
        (["--messages", "missing.json"], "", "no_file"),
        (["--file", "missing.md"], "", "no_file"),
        (["x", "--info", "novalue"], "", "usage"),
        (["x", "--info", "=v"], "", "usage"),
        (["x", "--info", "k:={"], "", "invalid_json"),
        (["x", "--cube", "nope"], "", "unknown_cube"),
        ([""], "", "empty"),
        ([], "", "empty"),
        ([], "  \n", "empty"),
        ([], b"caf\xe9", "invalid_text"),
        ([], "null\x00byte", "invalid_text"),
        (["a\udcffb"], "", "invalid_text"),
    ],
)
def test_bad_input_to_add_is_refused(run: Run, arguments: list[str], stdin: str, code: str):
    refused(run("add", *arguments, "--json", stdin=stdin), code)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("c.json", "{", "c.json is not valid JSON"),
        ("c.jsonl", '{"role": "user", "content": "a"}\n{oops\n', "c.jsonl, line 2"),
        ("c.json", "[]", "no list of messages"),
        ("c.jsonl", "", "no list of messages"),
        ("c.json", "7", "no list of messages"),
        ("c.json", '[{"role": "pirate", "content": "a"}]', "pirate"),
        ("c.json", "[[1]]", "messages[0]"),
        ("c.json", "[" * 100_000, "c.json"),
    ],
)
def test_malformed_messages_are_refused(
    run: Run, tmp_path: Path, name: str, content: str, told: str
):
    (tmp_path / name).write_text(content, encoding="utf-8")
    result = run("add", "--messages", name)
    assert result.exit_code == 2
    assert told in result.stderr
    assert len(result.stderr.splitlines()) == 1


# --- finding


@pytest.mark.parametrize(
    ("query", "source"), [(question.text, question.source) for question in demo.QUESTIONS]
)
def test_questions_are_answered_with_their_source(run: Run, query: str, source: str):
    hits = parsed(run("search", query, "--limit", "3", "--json"))["hits"]
    assert source in [hit["memory"]["sources"][0]["id"] for hit in hits]


def test_a_person_sees_text_session_date_speaker_and_message(run: Run):
    shown = run("search", "What did the vet find out about the dog?").stdout
    for part in ("chicken is the problem", "en-2", "2026-03-14", "Maya", "en-14"):
        assert part in shown


def test_explain_shows_lanes_words_and_parts(run: Run):
    shown = run("search", "peanuts", "--limit", "1", "--explain").stdout
    assert re.search(r"lanes: .*vector #\d", shown)
    assert re.search(r"lanes: .*text #1 \(\d+\.\d+\)", shown)
    assert "words: peanut" in shown
    assert re.search(r"recipe fast: \d+ candidates; prepare \d", shown)
    assert re.search(r"score \d+\.\d{4}, the sum", shown)
    assert "cosine" in shown


def test_searches_can_be_narrowed(run: Run):
    where = '{"session": "zh-2"}'
    hits = parsed(run("search", "芒果", "--filter", where, "--json"))["hits"]
    assert {hit["memory"]["place"]["session"] for hit in hits} == {"zh-2"}
    assert parsed(run("search", "芒果", "--as-of", "2020-01-01", "--json"))["hits"] == []
    few = parsed(run("search", "芒果", "--budget", "40", "--json"))["hits"]
    assert 0 < len(few) < 4
    assert parsed(run("search", "芒果", "--cube", "default", "--recipe", "words", "--json"))["hits"]


def test_neighbours_stand_around_what_was_found(run: Run):
    shown = run("search", "What did the vet find out?", "--limit", "1", "--neighbours", "1").stdout
    lines = [line.split("│")[3] for line in shown.splitlines() if line.startswith("│")]
    marked = [line for line in lines if line.startswith((" > ", "   "))]
    assert sum(line.startswith(" > ") for line in marked) == 1
    assert len(parsed(run("search", "vet", "--neighbours", "1", "--json"))["hits"]) > 0


def test_what_is_left_out_is_said(run: Run):
    shown = run("search", "peanuts", "--recipe", "fine", "--dedup", "mmr").stdout
    assert "without fine: no chat model is configured" in shown
    shown = run("search", "peanuts", "--recipe", "mixture", "--session", "s").stdout
    assert "without mixture: no chat model is configured" in shown
    told = refused(run("search", "peanuts", "--internet", "--json"), "no_web")
    assert "web.kind" in told


def test_pages_of_the_web_are_shown_with_title_and_address(run: Run):
    page = {"url": "https://nuts.example/a", "title": "On nuts", "snippet": "Peanuts are beans."}
    with serving(lambda asked: web_results(asked, [page])) as provider:
        shown = run(
            "search", "peanuts", "--limit", "1", "--internet", "--explain",
            MEMOS_WEB__KIND="searxng", MEMOS_WEB__BASE_URL=provider.url,
            MEMOS_WEB__ALLOW="127.0.0.1",
        ).stdout  # fmt: skip
    for part in ("On nuts", "Peanuts are beans.", "https://nuts.example/a", "lanes: web #1"):
        assert part in shown


def test_nothing_found_is_said(run: Run):
    result = run("search", "anything", "--as-of", "2020-01-01")
    assert (result.exit_code, result.stdout) == (0, "nothing found\n")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([""], "empty"),
        (["x", "--limit", "0"], "invalid_input"),
        (["x", "--budget", "-3"], "invalid_input"),
        (["x", "--recipe", "magic"], "unknown_recipe"),
        (["x", "--as-of", "garbage"], "invalid_date"),
        (["x", "--cube", "nope"], "unknown_cube"),
        (["x", "--filter", "{"], "invalid_json"),
        (["x", "--filter", "[1]"], "filter_malformed"),
        (["x", "--filter", '{"tags": {"bogus": 1}}'], "filter_operator"),
        (["x", "--filter", '{"not":' * 500 + "{}" + "}" * 500], "filter_too_deep"),
        (["x", "--filter", "[" * 100_000], "invalid_json"),
        (["x", "--filter", "9" * 5000], "invalid_json"),
        (["\udcff"], "invalid_text"),
        (["x", "--limit", "many"], "usage"),
        (["x", "--no-such-option"], "usage"),
        ([], "usage"),
    ],
)
def test_bad_searches_are_refused(run: Run, arguments: list[str], code: str):
    refused(run("search", *arguments, "--json"), code)


def test_one_memory_and_its_history(run: Run):
    item = parsed(run("list", "--limit", "1", "--json"))["items"][0]
    assert parsed(run("get", item["id"], "--json")) == item
    assert parsed(run("history", item["id"], "--json"))["items"] == [item]
    shown = run("get", item["id"]).stdout
    assert shown.startswith(item["text"])
    assert item["id"] in shown
    assert item["text"][:20] in run("history", item["id"]).stdout


def test_pages_join_to_everything(run: Run):
    everything = parsed(run("list", "--all", "--limit", "10", "--json"))
    assert everything["next"] is None
    assert len(everything["items"]) == 69
    first = parsed(run("list", "--limit", "50", "--json"))
    rest = parsed(run("list", "--limit", "50", "--cursor", first["next"], "--json"))
    assert first["items"] + rest["items"] == everything["items"]
    assert f"--cursor {first['next']}" in run("list", "--limit", "50").stdout


@pytest.mark.parametrize("command", ["get", "history"])
def test_an_unknown_id_is_refused(run: Run, command: str):
    assert "'nope'" in refused(run(command, "nope", "--json"), "unknown_memory")


# --- forgetting


def test_forgetting_asks_first(tmp_path: Path):
    (id,) = parsed(run_in(tmp_path, "add", "A secret plan", "--json"))["ids"]
    for answer in ("n\n", "", "maybe\n"):
        declined = run_in(tmp_path, "forget", id, stdin=answer)
        assert declined.exit_code == 1
        assert "[y/N]" in declined.stderr
    refused(run_in(tmp_path, "forget", id, "--json"), "aborted", exit_code=1)
    assert len(parsed(run_in(tmp_path, "list", "--json"))["items"]) == 1
    assert run_in(tmp_path, "forget", id, stdin="y\n").stdout == "1 retired\n"
    assert parsed(run_in(tmp_path, "list", "--json"))["items"] == []
    assert parsed(run_in(tmp_path, "history", id, "--json"))["items"][0]["retired_at"]


def test_erased_memories_are_gone(tmp_path: Path):
    parsed(run_in(tmp_path, "add", "The password is swordfish", "--tag", "x", "--json"))
    kept = parsed(run_in(tmp_path, "add", "Harmless", "--json"))["ids"]
    where = '{"tags": {"contains": "x"}}'
    gone = parsed(run_in(tmp_path, "forget", "--filter", where, "--erase", "--yes", "--json"))
    assert gone["mode"] == "erase"
    refused(run_in(tmp_path, "get", gone["ids"][0], "--json"), "erased")
    assert [m["id"] for m in parsed(run_in(tmp_path, "list", "--json"))["items"]] == kept
    assert not any(
        b"swordfish" in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()
    )


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--filter", "{}"],
        ["--filter", "null"],
        ["--filter", '{"and": []}'],
        ["a", "--filter", "{}"],
    ],
)
def test_forgetting_everything_is_refused(run: Run, arguments: list[str]):
    refused(run("forget", *arguments, "--yes", "--json"), "no_selector")
    assert len(parsed(run("list", "--all", "--json"))["items"]) == 69


def test_forgetting_an_unknown_id_is_refused(run: Run):
    refused(run("forget", "nope", "--yes", "--json"), "unknown_memory")


# --- upkeep


def test_another_embedder_needs_reindex(tmp_path: Path):
    parsed(run_in(tmp_path, "add", "The boiler is serviced in March.", "--json"))
    other = {"MEMOS_EMBEDDER__PASSAGE_PREFIX": "note: "}
    told = refused(run_in(tmp_path, "search", "boiler", "--json", **other), "embedder_mismatch")
    assert "memos reindex" in told
    assert parsed(run_in(tmp_path, "reindex", "--json", **other)) == {"embedded": {"default": 1}}
    assert parsed(run_in(tmp_path, "search", "boiler", "--json", **other))["hits"]
    again = run_in(tmp_path, "reindex", "--cube", "default", **other)
    assert again.stdout == "default: nothing to do\n"
    refused(run_in(tmp_path, "reindex", "--cube", "nope", "--json", **other), "unknown_cube")


def test_doctor_proves_the_store(run: Run):
    report = parsed(run("doctor", "--json"))
    assert report["ok"]
    assert {finding["ok"] for finding in report["findings"]} == {True}
    assert parsed(run("doctor", "--fix", "--json"))["ok"]
    assert "FAILED" not in run("doctor").stdout


def test_doctor_fails_when_records_are_damaged(tmp_path: Path):
    parsed(run_in(tmp_path, "add", "One", "--json"))
    file = apsw.Connection(str(tmp_path / "memos.db"))
    file.execute("UPDATE memories SET position = 99")
    file.close()
    result = run_in(tmp_path, "doctor", "--json")
    assert result.exit_code == 1
    assert not json.loads(result.stdout)["ok"]
    shown = run_in(tmp_path, "doctor")
    assert shown.exit_code == 1
    assert "FAILED" in shown.stdout


def test_a_file_that_is_no_store_is_told(tmp_path: Path):
    (tmp_path / "memos.db").write_bytes(b"not a database " * 500)
    result = run_in(tmp_path, "list", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"]["code"]


def test_config_show_names_sources_and_masks_secrets(run: Run, tmp_path: Path):
    (tmp_path / "memos.toml").write_text("[search]\nlimit = 3\n", encoding="utf-8")
    shown = parsed(run("config", "show", "--json", OPENAI_API_KEY="sk-hush", MOS_SESSION_ID="s9"))
    assert shown["search.limit"] == {"value": "3", "source": "memos.toml"}
    assert shown["session"] == {"value": "s9", "source": "environment MOS_SESSION_ID"}
    assert shown["home"]["source"] == "argument"
    assert "sk-hush" not in str(shown)
    assert "memos.toml" in run("config", "show").stdout


@pytest.mark.parametrize(
    ("environ", "code", "told"),
    [
        ({"MEMOS_SERACH__LIMIT": "3"}, "unknown_setting", "serach.limit"),
        ({"QDRANT_HOST": "q"}, "not_built_yet", "QDRANT_HOST"),
        ({"MEMOS_CONFIG": "nope.toml"}, "config", "nope.toml"),
    ],
)
def test_wrong_settings_end_every_command(run: Run, environ: dict[str, str], code: str, told: str):
    for command in (["list"], ["config", "show"], ["config", "check"]):
        assert told in refused(run(*command, "--json", **environ), code)


def test_config_check_opens_everything(run: Run):
    assert parsed(run("config", "check", "--json"))["ok"]
    assert run("config", "check").exit_code == 0
    broken = run("config", "check", "--json", MEMOS_STORE__KIND="papyrus")
    assert broken.exit_code == 2
    checks = {part["section"]: part["error"] for part in json.loads(broken.stdout)["checks"]}
    assert checks["embedder"] is None
    assert "papyrus" in checks["store"]


def test_version(run: Run):
    assert parsed(run("version", "--json"))["memos"] == memos.__version__
    assert run("version").stdout.startswith(f"memos {memos.__version__}, python ")


# --- demo


def test_the_demo_answers_its_questions(tmp_path: Path):
    report = parsed(run_in(tmp_path, "demo", "--json", MEMOS_SEARCH__RECIPE="no such recipe"))
    assert report["ok"]
    assert report["added"] == 68
    assert [search["found"] for search in report["searches"]] == [True] * 5
    again = run_in(tmp_path, "demo")
    assert again.exit_code == 0
    assert "0 messages added" in again.stdout
    assert "5 of 5 answered" in again.stdout


def test_the_demo_fails_when_an_answer_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(demo, "QUESTIONS", (demo.Question("Who sold the boat?", "none"),))
    result = run_in(tmp_path, "demo")
    assert result.exit_code == 1
    assert "0 of 1 answered" in result.stdout


@pytest.mark.parametrize("name", ["en", "zh"])
def test_the_packaged_conversations_are_whole(name: str):
    messages = json.loads((PACKAGED / f"{name}.json").read_text(encoding="utf-8"))
    assert 30 <= len(messages) <= 40
    assert len({message["message_id"] for message in messages}) == len(messages)
    assert len({message["chat_time"][:10] for message in messages}) >= 3
    fields = {"role", "name", "content", "chat_time", "message_id", "session"}
    assert all(set(message) == fields for message in messages)


# --- hostile text, users, failures


def test_a_memory_does_not_drive_the_terminal(tmp_path: Path):
    text = "red \x1b[31m bell \x07 csi \x9b31m override \u202e [bold]markup[/bold] [link=x]"
    (id,) = parsed(run_in(tmp_path, "add", text, "--json"))["ids"]
    shown = "".join(
        run_in(tmp_path, *command).stdout
        for command in (["search", "red bell", "--explain"], ["list"], ["get", id], ["history", id])
    )
    assert not set("\x1b\x07\x9b\u202e") & set(shown)
    assert "[bold]markup[/bold]" in shown
    raw = run_in(tmp_path, "get", id, "--json").stdout
    assert not set("\x1b\x07\x9b") & set(raw)
    assert json.loads(raw)["text"] == text


def test_users_do_not_see_each_other(tmp_path: Path):
    parsed(run_in(tmp_path, "add", "安娜喜欢绿茶", "--user", "安娜", "--json"))
    parsed(run_in(tmp_path, "--user", "bob", "add", "Bob likes coffee", "--json"))
    seen = parsed(run_in(tmp_path, "search", "绿茶", "--user", "bob", "--json"))["hits"]
    assert [hit["memory"]["text"] for hit in seen] == ["Bob likes coffee"]
    refused(run_in(tmp_path, "list", "--cube", "安娜", "--user", "bob", "--json"), "unknown_cube")
    refused(run_in(tmp_path, "list", "--user", "a/b", "--json"), "invalid_settings")


@pytest.mark.parametrize("arguments", [["--json", "list"], ["list", "--json"]])
def test_shared_options_stand_before_or_after(home: Path, arguments: list[str]):
    result = CliRunner().invoke(app, ["--home", str(home), *arguments], env=clean_environment())
    assert parsed(result)["items"]


def test_options_end_at_two_dashes(tmp_path: Path):
    result = CliRunner().invoke(
        app, ["add", "--home", str(tmp_path), "--", "--json"], env=clean_environment()
    )
    assert result.stdout.startswith("1 stored")
    assert parsed(run_in(tmp_path, "list", "--json"))["items"][0]["text"] == "--json"


def test_usage_errors_are_one_object_with_json(run: Run):
    assert "nosuch" in refused(run("nosuch", "--json"), "usage")
    plain = run("nosuch")
    assert plain.exit_code == 2
    assert "No such command" in plain.stderr


def test_a_bug_is_one_clear_line(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(memos, "__version__")
    result = run("version")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ImportError")
    assert len(result.stderr.splitlines()) == 1
    assert "Traceback" in run("version", "--debug").stderr
    refused(run("version", "--json"), "internal", exit_code=1)


# --- as a process of its own


def process(
    home: Path, *arguments: str, stdin: bytes = b"", **environ: str
) -> tuple[int, bytes, bytes]:
    changes: Mapping[str, str | None] = clean_environment(MEMOS_HOME=str(home), **environ)
    inherited = {name: value for name, value in os.environ.items() if name not in changes}
    done = subprocess.run(
        [str(Path(sys.executable).with_name("memos")), *arguments],
        input=stdin,
        capture_output=True,
        check=False,
        timeout=60,
        env=inherited | {name: value for name, value in changes.items() if value is not None},
    )
    return done.returncode, done.stdout, done.stderr


def test_the_installed_command_round_trips_chinese(tmp_path: Path):
    code, out, _ = process(tmp_path, "add", stdin="林晓在学自由泳\n".encode())
    assert (code, out[:9]) == (0, b"1 stored\n")
    code, out, _ = process(tmp_path, "search", "在学什么运动", "--json", PYTHONIOENCODING="ascii")
    assert code == 0
    assert json.loads(out)["hits"][0]["memory"]["text"].strip() == "林晓在学自由泳"
    code, out, _ = process(tmp_path, "search", "在学什么运动", PYTHONIOENCODING="utf-8")
    assert "林晓在学自由泳".encode() in out
    assert b"\x1b" not in out


def test_the_installed_command_refuses_in_one_line(tmp_path: Path):
    code, out, error = process(tmp_path, "add", stdin=b"\xff\xfe")
    assert (code, out) == (2, b"")
    assert error.decode().splitlines() == [
        "error: standard input: byte 0 is not UTF-8; convert it first"
    ]


def test_users_share_a_cube(tmp_path: Path) -> None:
    parsed(run_in(tmp_path, "user", "create", "lin", "--name", "林", "--json"))
    parsed(run_in(tmp_path, "cube", "create", "work", "--json"))
    parsed(run_in(tmp_path, "add", "The kiln is hot.", "--cube", "work", "--json"))
    assert parsed(run_in(tmp_path, "search", "kiln", "--user", "lin", "--json"))["hits"] == []
    parsed(run_in(tmp_path, "cube", "share", "work", "lin", "--json"))
    assert len(parsed(run_in(tmp_path, "search", "kiln", "--user", "lin", "--json"))["hits"]) == 1
    refused(run_in(tmp_path, "add", "x", "--cube", "work", "--user", "lin", "--json"), "forbidden")
    refused(run_in(tmp_path, "user", "create", "eve", "--user", "lin", "--json"), "role")
    held = parsed(run_in(tmp_path, "cube", "grants", "work", "--json"))
    assert [(g["principal"], g["access"]) for g in held] == [("default", "write"), ("lin", "read")]
    assert "林" in run_in(tmp_path, "user", "list").output
    parsed(run_in(tmp_path, "cube", "revoke", "work", "lin", "--json"))
    assert parsed(run_in(tmp_path, "search", "kiln", "--user", "lin", "--json"))["hits"] == []
    parsed(run_in(tmp_path, "user", "deactivate", "lin", "--json"))
    refused(run_in(tmp_path, "list", "--user", "lin", "--json"), "deactivated")
    parsed(run_in(tmp_path, "cube", "unregister", "work", "--json"))
    assert "work" in run_in(tmp_path, "cube", "list", "--unregistered").output


def test_init_writes_settings_that_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    home = tmp_path / 'a "home"'
    options = ("--user", "林", "--chat", "ollama", "--model", "qwen3:8b", "--yes", "--json")
    told = parsed(run_in(home, "init", *options))
    assert told["settings"]["chat"] == {"kind": "ollama", "model": "qwen3:8b"}
    shown = CliRunner().invoke(app, ["config", "show", "--json"], env=clean_environment())
    values = {path: entry["value"] for path, entry in parsed(shown).items()}
    assert (values["home"], values["user"]) == (str(home), "林")
    assert values["chat.model"] == "qwen3:8b"
    refused(run_in(home, "init", "--yes", "--json"), "exists")
    parsed(run_in(home, "init", "--yes", "--force", "--json"))
    assert "chat" not in (tmp_path / "memos.toml").read_text("utf-8")
    refused(run_in(home, "init", "--chat", "x", "--yes", "--force", "--json"), "usage")
    refused(run_in(home, "init", "--chat", "openai", "--yes", "--force", "--json"), "usage")


def test_shells_complete_commands(tmp_path: Path) -> None:
    environ = {
        **os.environ, "_MEMOS_COMPLETE": "complete_bash", "COMP_WORDS": "memos sea",
        "COMP_CWORD": "1",
    }  # fmt: skip
    command = [str(Path(sys.executable).with_name("memos"))]
    told = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert told.stdout.split() == ["search"]
