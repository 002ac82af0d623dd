"""``memos jobs``: what is on its way, and doing it here."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.test_cli import parsed, refused, run_in

from memos import MOS
from memos.settings import Settings
from memos.testing.fakes import HashEmbedder


def test_jobs_on_the_command_line(tmp_path: Path) -> None:
    with MOS.open(Settings(home=tmp_path)) as mos:
        first, second = mos.jobs.add("Zoe likes tea."), mos.jobs.reindex()
    listed = parsed(run_in(tmp_path, "jobs", "list", "--json"))
    assert [job["id"] for job in listed["items"]] == [second.id, first.id]
    one = parsed(run_in(tmp_path, "jobs", "list", "--limit", "1", "--json"))
    rest = parsed(run_in(tmp_path, "jobs", "list", "--cursor", one["next"], "--json"))
    assert [job["id"] for job in rest["items"]] == [first.id]
    early = run_in(tmp_path, "jobs", "wait", first.id, "--timeout", "0", "--json")
    assert (early.exit_code, json.loads(early.stdout)["state"]) == (3, "waiting")
    assert parsed(run_in(tmp_path, "jobs", "run", "--json")) == {"begun": 2}
    done = parsed(run_in(tmp_path, "jobs", "wait", first.id, "--json"))
    assert (done["state"], done["result"]["stored"]) == ("done", [True])
    shown = run_in(tmp_path, "jobs", "show", first.id)
    assert shown.exit_code == 0
    assert first.id in shown.stdout
    assert "done" in run_in(tmp_path, "jobs", "list", "--state", "done").stdout
    assert "nothing to do" in run_in(tmp_path, "jobs", "run").stdout
    refused(run_in(tmp_path, "jobs", "retry", first.id, "--json"), "not_failed")
    refused(run_in(tmp_path, "jobs", "show", "job-none", "--json"), "unknown_job")
    refused(run_in(tmp_path, "jobs", "list", "--state", "lost", "--json"), "invalid_input")


def test_an_add_in_the_background(tmp_path: Path) -> None:
    """It is queued, seen by nobody until somebody does it, and then like any other add."""
    put = run_in(tmp_path, "add", "Zoe likes green tea.", "--background", "--tag", "drink")
    assert put.exit_code == 0
    id = put.stdout.strip()
    assert parsed(run_in(tmp_path, "jobs", "show", id, "--json"))["state"] == "waiting"
    assert parsed(run_in(tmp_path, "list", "--json"))["items"] == []
    assert parsed(run_in(tmp_path, "jobs", "run", "--json")) == {"begun": 1}
    (memory,) = parsed(run_in(tmp_path, "list", "--json"))["items"]
    assert (memory["text"], memory["tags"]) == ("Zoe likes green tea.", ["drink"])


def test_an_add_in_the_background_that_is_waited_for(tmp_path: Path) -> None:
    talk = tmp_path / "talk.jsonl"
    said = [("a", "I moved to Porto."), ("a", "It rains."), ("b", "我对花生过敏。")]
    lines = [json.dumps({"role": "user", "content": text, "session": s}) for s, text in said]
    talk.write_text("\n".join(lines), encoding="utf-8")
    told = parsed(
        run_in(tmp_path, "add", "--messages", str(talk), "--background", "--wait", "--json")
    )
    assert [job["state"] for job in told["jobs"]] == ["done", "done"]
    assert [job["result"]["stored"] for job in told["jobs"]] == [[True, True], [True]]
    found = parsed(run_in(tmp_path, "list", "--json"))["items"]
    assert [(m["place"]["session"], m["text"]) for m in found] == said
    plain = run_in(tmp_path, "add", "再见", "--background", "--wait")
    assert plain.stdout.split()[-1] == "done"


def test_an_add_in_the_background_that_fails(tmp_path: Path) -> None:
    with MOS.open(Settings(home=tmp_path)) as mos:
        mos.users.create("zoe")
        mos.cubes.create("work", owner="zoe")
    refused(run_in(tmp_path, "add", "tea", "--wait", "--json"), "usage")
    wrong = run_in(tmp_path, "add", "tea", "--background", "--cube", "work", "--json")
    refused(wrong, "unknown_cube")
    refused(run_in(tmp_path, "add", "  ", "--background", "--json"), "empty")
    assert parsed(run_in(tmp_path, "jobs", "list", "--json"))["items"] == []


def test_an_add_in_the_background_that_is_given_up(tmp_path: Path) -> None:
    with MOS.open(Settings(home=tmp_path), embedder=HashEmbedder()) as mos:
        mos.add("Embedded by another model.")
    told = run_in(tmp_path, "add", "tea", "--background", "--wait", "--json")
    (job,) = json.loads(told.stdout)["jobs"]
    assert (told.exit_code, job["state"], job["code"]) == (1, "failed", "embedder_mismatch")
    again = run_in(tmp_path, "add", "tea", "--background", "--wait")
    assert again.exit_code == 1
    assert "reindex" in again.stdout
