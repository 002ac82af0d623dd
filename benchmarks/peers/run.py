"""Install every peer beside the others, run it on the same turns, and score what it found."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bm25 import Bm25
from benchmarks.cases import Suite, Turn
from benchmarks.metrics import measure
from benchmarks.peers.endpoint import Vectors, serving
from benchmarks.peers.roster import ROSTER, Peer
from benchmarks.vector_cache import CachedEmbedder
from memos.analysis import count_terms

Say = Callable[[str], None]
Found = Mapping[str, Sequence[str]]
"""Question id -> turn ids, best first."""

MODEL = "benchmark"
_LIMIT = 50
_WORKERS = Path(__file__).with_name("workers")
_METRICS = ("turn.recall@5", "turn.recall@10", "turn.recall@50")


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured of one system; times in milliseconds, sizes in MB."""

    name: str
    keeps: str
    reads: str
    recall: Mapping[str, float]
    by_category: Mapping[str, float]
    add_ms: tuple[float, float] | None = None
    search_ms: tuple[float, float] | None = None
    rss_mb: float | None = None
    disk_mb: float | None = None
    leaves_out: str = ""
    failed: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that a run found, and under which conditions."""

    config: Mapping[str, object]
    rows: Sequence[Row]


def run(
    suite: Suite, embedder: CachedEmbedder, only: Sequence[str], folder: Path, say: Say
) -> Report:
    """Measure the peers named in ``only``, or all; environments are kept in ``folder``."""
    turns = [turn for conversation in suite.conversations for turn in conversation.turns]
    questions = [
        question for conversation in suite.conversations for question in conversation.questions
    ]
    say("embedding")
    vectors = Vectors(embedder)
    vectors.prepare([turn.words() for turn in turns], "passage")
    vectors.prepare([question.text for question in questions], "query")
    rows: list[Row] = []
    with serving(vectors) as endpoint:
        transport = _transport_ms(endpoint, [question.text for question in questions])
        for peer in ROSTER:
            if not only or peer.worker in only:
                say(peer.name)
                rows.append(_measured(peer, suite, endpoint, embedder.dimensions, folder))
    say("baselines")
    rows += _baselines(suite, vectors)
    config = {
        "suite": suite.name, "turns": len(turns), "questions": len(questions), "limit": _LIMIT,
        "embedder": embedder.name, "embedding_request_ms": transport,
    }  # fmt: skip
    return Report(config, rows)


def _measured(peer: Peer, suite: Suite, endpoint: str, dimensions: int, folder: Path) -> Row:
    try:
        outcome, disk_mb = _driven(peer, suite, endpoint, dimensions, folder)
    except subprocess.CalledProcessError as error:
        return Row(peer.name, peer.keeps, peer.reads, {}, {}, failed=_last_line(error))
    recall, by_category = _scored(suite, outcome["found"])
    return Row(
        peer.name, peer.keeps, peer.reads, recall, by_category, _quantiles(outcome["add_s"]),
        _quantiles(outcome["search_s"]), outcome["rss_mb"], disk_mb, peer.leaves_out,
    )  # fmt: skip


def _driven(
    peer: Peer, suite: Suite, endpoint: str, dimensions: int, folder: Path
) -> tuple[dict[str, Any], float]:
    python = _environment(peer, folder)
    with tempfile.TemporaryDirectory(prefix="memos-peers-") as place:
        home = Path(place) / "home"
        home.mkdir()
        plan = {
            "endpoint": endpoint, "model": MODEL, "dimensions": dimensions, "home": str(home),
            "variant": peer.variant, "limit": _LIMIT, "conversations": list(_conversations(suite)),
        }  # fmt: skip
        told, said = Path(place) / "plan.json", Path(place) / "outcome.json"
        told.write_text(json.dumps(plan), encoding="utf-8")
        command = [str(python), str(_WORKERS / f"{peer.worker}_driver.py"), str(told), str(said)]
        environment = os.environ | {
            "OPENAI_API_KEY": "none",
            "OPENAI_BASE_URL": endpoint,
            "MEM0_TELEMETRY": "False",
            "MEM0_DIR": str(home / "mem0"),
            "MEMOS_BASE_PATH": str(home),
        }
        subprocess.run(
            command, check=True, env=environment, cwd=place, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        size = sum(path.stat().st_size for path in home.rglob("*") if path.is_file())
        return json.loads(said.read_text(encoding="utf-8")), size / 2**20


def _environment(peer: Peer, folder: Path) -> Path:
    """Return the interpreter of the peer's own environment, made when it is not there yet."""
    if not peer.packages:
        return Path(sys.executable)
    home = folder / peer.worker / peer.variant
    python, ready = home / "bin" / "python", home / ".ready"
    wanted = "\n".join(peer.packages)
    if not ready.exists() or ready.read_text(encoding="utf-8") != wanted:
        shutil.rmtree(home, ignore_errors=True)
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        for command in ([sys.executable, "-m", "venv", str(home)], [*pip, *peer.packages]):
            subprocess.run(
                command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
            )
        ready.write_text(wanted, encoding="utf-8")
    return python


def _conversations(suite: Suite) -> Iterator[dict[str, object]]:
    for number, conversation in enumerate(suite.conversations):
        turns = [
            {
                "id": turn.id, "session": turn.session, "role": turn.role, "text": turn.text,
                "speaker": turn.speaker, "words": turn.words(), "at": turn.at,
            }
            for turn in conversation.turns
        ]  # fmt: skip
        questions = [
            {"id": question.id, "text": question.text} for question in conversation.questions
        ]
        yield {"user": f"user-{number}", "turns": turns, "questions": questions}


def _scored(suite: Suite, found: Found) -> tuple[dict[str, float], dict[str, float]]:
    """Return recall over the headline questions, and recall@10 by category."""
    scores: dict[str, list[float]] = {}
    by_category: dict[str, list[float]] = {}
    for question in (q for c in suite.conversations for q in c.questions):
        if "turn" not in question.gold or not question.headline:
            continue
        measured = measure("turn", list(found.get(question.id, ())), question.gold["turn"])
        for metric in _METRICS:
            scores.setdefault(metric, []).append(measured[metric])
        by_category.setdefault(question.category, []).append(measured["turn.recall@10"])
    return (
        {metric: 100 * float(np.mean(values)) for metric, values in scores.items()},
        {name: 100 * float(np.mean(values)) for name, values in sorted(by_category.items())},
    )


def _baselines(suite: Suite, vectors: Vectors) -> Iterator[Row]:
    """Yield plain BM25, plain cosines, and the plain sum of their z-scores: recall alone."""
    found: dict[str, dict[str, list[str]]] = {"BM25": {}, "cosine": {}, "BM25 + cosine": {}}
    count = lru_cache(maxsize=100_000)(count_terms)
    for conversation in suite.conversations:
        words = Bm25(count)
        for turn in conversation.turns:
            words.add(turn.id, turn.words())
        matrix = np.array([vectors[turn.words()] for turn in conversation.turns])
        for question in conversation.questions:
            bm25 = dict(words.rank(question.text, limit=len(conversation.turns)))
            lexical = np.array([bm25.get(turn.id, 0.0) for turn in conversation.turns])
            dense = matrix @ vectors[question.text]
            for name, scores in (
                ("BM25", lexical), ("cosine", dense), ("BM25 + cosine", _z(lexical) + _z(dense)),
            ):  # fmt: skip
                found[name][question.id] = _best(conversation.turns, scores)
    reads = {"BM25": "words", "cosine": "vectors", "BM25 + cosine": "words, vectors"}
    for name, answers in found.items():
        yield Row(f"plain {name}", "-", reads[name], *_scored(suite, answers))


def _best(turns: Sequence[Turn], scores: np.ndarray) -> list[str]:
    return [turns[at].id for at in np.argsort(-scores, kind="stable")[:_LIMIT]]


def _z(scores: np.ndarray) -> np.ndarray:
    return (scores - scores.mean()) / (scores.std() or 1.0)


def _quantiles(seconds: Sequence[float]) -> tuple[float, float]:
    p50, p95 = np.quantile(np.array(seconds), (0.5, 0.95)) * 1000
    return float(p50), float(p95)


def _transport_ms(endpoint: str, texts: Sequence[str]) -> float:
    """Return the median time of one embedding request, which every add and search contains."""
    spent: list[float] = []
    for text in texts[:100]:
        body = json.dumps({"model": MODEL, "input": [text]}).encode()
        request = urllib.request.Request(
            f"{endpoint}/embeddings", body, {"Content-Type": "application/json"}
        )
        start = time.perf_counter()
        with urllib.request.urlopen(request) as answer:
            json.load(answer)
        spent.append(time.perf_counter() - start)
    return float(np.median(spent)) * 1000


def _last_line(error: subprocess.CalledProcessError) -> str:
    lines = [line for line in (error.stderr or "").splitlines() if line.strip()]
    return lines[-1] if lines else f"exit code {error.returncode}"
