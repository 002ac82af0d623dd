"""``memos jobs``: what is on its way, and doing it here."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.test_cli import parsed, refused, run_in

from memos import MOS
from memos.settings import Settings


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
