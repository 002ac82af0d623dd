"""MemOS's own client, from the package index and in an environment of its own, against our server.

It is installed whole: its client imports the rest of its package.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import venv
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from tests import servers
from tests.dialects import OPENMEM
from tests.servers import Asked, serving
from tests.serving import on_loopback

SCRIPT = Path(__file__).with_name("memos_client.py")
UNREACHABLE = re.compile(r"No matching distribution|connection|resolv|timed out", re.IGNORECASE)
NOT_BUILT = {
    "add_feedback", "extract_memory", "create_knowledgebase", "delete_knowledgebase",
    "add_knowledgebase_file_json", "add_knowledgebase_file_form", "delete_knowledgebase_file",
    "get_knowledgebase_file", "bind_profile_template", "edit_profile", "delete_profile",
}  # fmt: skip
REFUSED = {
    "delete_memory of an empty filter": (400, 40000),
    "get_memory_by_id of none": (404, 40001),
}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def interpreter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("client")
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    command = [str(python), "-m", "pip", "install", "--quiet", "MemoryOS"]
    installed = subprocess.run(command, capture_output=True, text=True, check=False)
    if installed.returncode and UNREACHABLE.search(installed.stderr):
        pytest.skip("the package index, where MemOS's client comes from, cannot be reached")
    assert installed.returncode == 0, installed.stderr
    return python


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    def said(asked: Asked) -> str:
        return f"{len(asked.body['messages'])} messages, 花生."

    with serving(servers.openai(said)) as provider:
        chat = {
            "MEMOS_CHAT__KIND": "openai", "MEMOS_CHAT__MODEL": "one",
            "MEMOS_CHAT__BASE_URL": provider.url, "MEMOS_CHAT__API_KEY": "sk-x",
        }  # fmt: skip
        with on_loopback(tmp_path_factory.mktemp("home"), **chat) as url:
            yield url


def run(interpreter: Path, url: str, folder: Path) -> dict[str, Any]:
    command = [str(interpreter), str(SCRIPT), url, "mpg-anything"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])
    sys.stdout.write(f"\n{url}\n")
    for name, result in results.items():
        sys.stdout.write(f"{name}: {json.dumps(result, ensure_ascii=False):.160}\n")
    return results


@pytest.mark.parametrize("prefix", OPENMEM)
def test_every_method_runs(interpreter: Path, server: str, prefix: str, tmp_path: Path) -> None:
    results = run(interpreter, server + prefix, tmp_path)
    assert results.pop("left out") == []
    for name in NOT_BUILT:
        told = results.pop(name)
        assert (told["error"], told["answer"]["status"]) == ("HTTPError", 501), name
        assert told["answer"]["message"]
    for name, (status, code) in REFUSED.items():
        told = results.pop(name)["answer"]
        assert (told["status"], told["code"], told["data"]) == (status, code, None)
    failed = {name: result for name, result in results.items() if not result["ok"]}
    assert failed == {}
    data = {name: result["value"] for name, result in results.items()}
    best = data["search_memory"]["data"]["memory_detail_list"][0]
    assert best["memory_value"] == "I am allergic to peanuts."
    said = [one["content"] for one in data["get_message"]["data"]["message_detail_list"]]
    assert said == ["I am allergic to peanuts.", "Noted: no peanuts.", "我住在里斯本。"]
    assert data["get_task_status"]["data"]["status"] == "completed"
    assert data["rerank"]["data"]["results"][0]["index"] == 1
    assert data["chat"]["data"]["response"].endswith("花生.")
    pieces = [json.loads(line) for line in data["chat stream"]]
    assert "".join(piece["data"] for piece in pieces).endswith("花生.")
    assert data["get_memory of none"]["data"]["total"] == 0
