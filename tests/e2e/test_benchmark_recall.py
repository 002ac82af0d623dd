"""``python -m benchmarks recall`` from a data file to its figures, through the real API."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from benchmarks.__main__ import app
from typer.testing import CliRunner


def turn(session: int, number: int, speaker: str, text: str) -> dict[str, str]:
    return {"speaker": speaker, "dia_id": f"D{session}:{number}", "text": text}


def talk(name: str) -> dict[str, object]:
    return {
        "sample_id": name,
        "conversation": {
            "speaker_a": "Mira",
            "speaker_b": "Jonas",
            "session_1_date_time": "10:00 am on 4 March, 2024",
            "session_1": [
                turn(1, 1, "Mira", "I adopted a grey parrot called Pistachio last weekend."),
                turn(1, 2, "Jonas", "Lovely! My pottery course starts on Thursday."),
                turn(1, 3, "Mira", "Which glaze will you try first?"),
            ],
            "session_2_date_time": "6:30 pm on 20 April, 2024",
            "session_2": [
                turn(2, 1, "Jonas", "The kiln cracked my blue vase, what a pity."),
                turn(2, 2, "Mira", "We are moving to Lisbon in September."),
            ],
        },
        "qa": [
            {
                "question": "What is the name of Mira's parrot?",
                "answer": "Pistachio",
                "evidence": ["D1:1"],
                "category": 4,
            },
            {
                "question": "Where is Mira moving to?",
                "answer": "Lisbon",
                "evidence": ["D2:2"],
                "category": 2,
            },
            {
                "question": "Who stole the parrot?",
                "adversarial_answer": "Jonas",
                "evidence": ["D1:1"],
                "category": 5,
            },
        ],
    }


@pytest.fixture
def data(tmp_path: Path) -> Path:
    file = tmp_path / "talks.json"
    file.write_text(json.dumps([talk("talk-1"), talk("talk-2")]), encoding="utf-8")
    return file


def test_recall_of_a_small_conversation(tmp_path: Path, data: Path) -> None:
    out, rankings = tmp_path / "out.json", tmp_path / "rankings.jsonl"
    arguments = ["recall", "--suite", "locomo", "--data", str(data), "--json", str(out)]
    arguments += ["--rankings", str(rankings), "--embeddings", str(tmp_path / "vectors")]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "turn.recall@10" in result.stdout

    report = json.loads(out.read_text(encoding="utf-8"))
    assert set(report) == {
        "suite",
        "config",
        "metrics",
        "corrected",
        "bm25",
        "abstention",
        "latency_ms",
    }
    assert report["config"]["questions"] == 6
    assert report["metrics"]["turn.recall@5"]["micro"] == 1.0
    assert report["metrics"]["turn.recall@5"]["n"] == 4
    assert set(report["metrics"]["turn.recall@5"]["by"]) == {
        "single-hop",
        "temporal",
        "adversarial",
    }
    assert report["metrics"]["session.recall@3"]["micro"] == 1.0
    assert report["metrics"]["isolation.foreign"]["micro"] == 0.0
    assert report["bm25"]["turn.recall@5"]["micro"] == 1.0
    assert report["corrected"] == {}
    assert report["metrics"]["turn.packed@500"]["micro"] == 1.0
    assert report["abstention"]["top_score"]["answerable"] == 4
    assert report["abstention"]["top_score"]["unanswerable"] == 2
    assert 0 <= report["abstention"]["top_score"]["auroc"] <= 1
    assert report["latency_ms"]["search"]["n"] == 6

    lines = [json.loads(line) for line in rankings.read_text(encoding="utf-8").splitlines()]
    assert [line["id"] for line in lines[:2]] == ["talk-1/0", "talk-1/1"]
    assert lines[0]["gold"] == {"session": ["D1"], "turn": ["D1:1"]}
    ranked = [source for source, _ in lines[0]["ranked"]]
    assert sorted(ranked) == sorted(set(ranked))
    assert ranked[0] == "D1:1"


def test_recipes_embedders_and_ablations(tmp_path: Path, data: Path) -> None:
    out = tmp_path / "out.json"
    arguments = ["recall", "--suite", "locomo", "--data", str(data), "--json", str(out)]
    arguments += ["--embeddings", str(tmp_path / "vectors"), "--limit-conversations", "1"]
    ablated = [*arguments, "--recipe", "words", "--without", "text", "--embedder", "onnx"]
    result = CliRunner().invoke(app, ablated, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    report = json.loads(out.read_text(encoding="utf-8"))
    assert report["config"]["recipe"] == "words-text"
    assert report["metrics"]["turn.recall@50"]["micro"] == 0.0

    for wrong in (["--recipe", "magic"], ["--without", "magic"], ["--embedder", "magic"]):
        result = CliRunner().invoke(app, [*arguments, *wrong])
        assert result.exit_code == 2
        assert "magic" in result.stderr


def test_wrong_data_is_a_usage_error(tmp_path: Path) -> None:
    arguments = ["recall", "--suite", "locomo", "--data", str(tmp_path / "nowhere.json")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "does not exist" in result.stderr


def test_peers_are_given_the_same_vectors_and_scored_alike(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    out, table, plot = (tmp_path / f"peers.{kind}" for kind in ("json", "md", "svg"))
    asked = ["peers", "--suite", "locomo", "--data", str(data), "--only", "ours"]
    run = CliRunner().invoke(
        app, [*asked, "--json", str(out), "--table", str(table), "--plot", str(plot)]
    )
    assert run.exit_code == 0, run.output
    rows = {row["name"]: row for row in json.loads(out.read_text())["rows"]}
    assert set(rows) == {
        "memos",
        "memos, dense only",
        "plain BM25",
        "plain cosine",
        "plain BM25 + cosine",
    }
    assert all(not row["failed"] for row in rows.values())
    assert rows["memos"]["recall"]["turn.recall@5"] == 100
    assert rows["memos"]["add_ms"][0] > 0
    assert "| memos | 100.0 |" in table.read_text()
    drawn = ET.fromstring(plot.read_text())
    assert sum(part.tag.endswith("rect") for part in drawn) == 3 + 2 * 2
