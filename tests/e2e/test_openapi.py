"""The OpenAPI document holds: every answer has a status and a shape that it names."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.servers import openai, serving
from tests.serving import TOKEN, in_process, on_loopback

HERE = Path(__file__).parent
DOCUMENT = json.loads((HERE.parents[1] / "docs" / "openapi.json").read_text("utf-8"))
OPEN = {"/health", "/ready"}


def test_the_server_gives_the_committed_document(tmp_path: Path) -> None:
    with in_process(tmp_path) as client:
        assert client.get("/openapi.json").json() == DOCUMENT


def test_every_operation_says_what_it_answers() -> None:
    ids = set()
    for path, operations in DOCUMENT["paths"].items():
        for method, operation in operations.items():
            ids.add(operation["operationId"])
            assert operation["description"], (method, path)
            answers = operation["responses"]
            if path in OPEN:
                continue
            assert {"401", "403", "404", "422", "429", "500", "503"} <= set(answers), path
            assert operation["security"] == [{"key": []}]
            for status, answer in answers.items():
                if int(status) >= 400:
                    assert answer == {"$ref": f"#/components/responses/Problem{status}"}
                elif status not in ("204", "304"):
                    assert answer["content"], (path, status)
    assert len(ids) == sum(len(operations) for operations in DOCUMENT["paths"].values())


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", ["exclude", "include"])
def test_no_request_gets_an_answer_that_the_document_does_not_know(
    part: str, tmp_path: Path
) -> None:
    """Routes that can refuse the very key that asks are tried apart: after that all is 401."""
    with serving(openai(lambda _: "Noted.")) as provider:
        environment = {
            "MEMOS_BOOTSTRAP_KEY": TOKEN,
            "MEMOS_SERVER__OPEN_LOOPBACK": "false",
            "MEMOS_SERVER__BURST": "1000000",
            "MEMOS_CHAT__KIND": "openai",
            "MEMOS_CHAT__BASE_URL": f"{provider.url}/v1",
            "MEMOS_CHAT__MODEL": "fake",
        }
        with on_loopback(tmp_path / "home", **environment) as url:
            command = [
                str(Path(sys.executable).with_name("schemathesis")),
                "--config-file", str(HERE / "schemathesis.toml"), "run", f"{url}/openapi.json",
                "--header", f"Authorization: Bearer {TOKEN}",
                f"--{part}-path-regex", "/v1/keys/", "--max-examples", "40", "--seed", "1",
                "--continue-on-failure", "--no-color",
            ]  # fmt: skip
            done = subprocess.run(
                command, cwd=tmp_path, capture_output=True, text=True, check=False
            )
    figures = re.search(r"Test cases:\n +(.+)", done.stdout)
    assert done.returncode == 0, done.stdout[-8000:]
    assert figures, done.stdout[-2000:]
