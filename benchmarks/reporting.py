"""Results as tables for people, as JSON and rankings for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from rich.console import Console
from rich.table import Table

from benchmarks.metrics import Average, auroc, average, percentiles
from benchmarks.recall import Answer, Outcome

Averages = dict[str, Average]

_BY_CATEGORY = (
    "turn.recall@10",
    "turn.recall@50",
    "session.recall@1",
    "session.recall@5",
    "turn.packed@1000",
    "pooled.recall@10",
)


class Separation(TypedDict):
    """How well a signal tells answerable questions from others."""

    auroc: float
    answerable: int
    unanswerable: int


class Report(TypedDict):
    """The JSON that ``--json`` writes."""

    suite: str
    config: dict[str, object]
    metrics: Averages
    corrected: Averages
    bm25: Averages
    abstention: dict[str, Separation]
    latency_ms: dict[str, dict[str, float]]


def summarise(suite: str, config: Mapping[str, object], outcome: Outcome) -> Report:
    """Average an outcome."""
    return Report(
        suite=suite,
        config=dict(config),
        metrics=average(outcome.raw),
        corrected=average(outcome.corrected),
        bm25=average(outcome.bm25),
        abstention=_abstention(outcome.answers),
        latency_ms={
            "search": percentiles(outcome.latencies.search),
            "add": percentiles(outcome.latencies.add),
            "add_per_turn": percentiles(outcome.latencies.add_turn),
        },
    )


def _abstention(answers: Sequence[Answer]) -> dict[str, Separation]:
    known = [answer.signals for answer in answers if answer.question.answerable]
    unknown = [answer.signals for answer in answers if not answer.question.answerable]
    if not known or not unknown:
        return {}
    return {
        name: Separation(
            auroc=auroc([a[name] for a in known], [a[name] for a in unknown]),
            answerable=len(known),
            unanswerable=len(unknown),
        )
        for name in known[0]
    }


def write_json(path: Path, content: object) -> None:
    """Write a result, readable by people too."""
    text = json.dumps(content, ensure_ascii=False, indent=2)
    path.write_text(text + "\n", encoding="utf-8")


def write_rankings(path: Path, answers: Iterable[Answer]) -> None:
    """Write one JSON line per question, so that others can score the rankings."""
    with path.open("w", encoding="utf-8") as lines:
        for answer in answers:
            lines.write(json.dumps(_line(answer), ensure_ascii=False) + "\n")


def _line(answer: Answer) -> dict[str, object]:
    question = answer.question
    line: dict[str, object] = {
        "id": question.id,
        "conversation": answer.conversation,
        "category": question.category,
        "gold": {level: sorted(ids) for level, ids in question.gold.items()},
    }
    if question.corrected is not None:
        line["corrected"] = {level: sorted(ids) for level, ids in question.corrected.items()}
    line["ranked"] = [[source, round(score, 6)] for source, score in answer.ranking]
    return line


def print_report(console: Console, report: Report) -> None:
    """Print the tables of a report."""
    console.print(_overall(report))
    for metric in _BY_CATEGORY:
        if metric in report["metrics"]:
            console.print(_by_category(metric, report))
    if report["abstention"]:
        console.print(_separations(report["abstention"]))
    console.print(_latency(report["latency_ms"]))


def _overall(report: Report) -> Table:
    table = Table(title=f"{report['suite']}: percent, 95% interval by cluster")
    for name in ("metric", "n", "micro", "interval", "macro", "BM25", "BM25 macro"):
        table.add_column(name, justify="left" if name == "metric" else "right", no_wrap=True)
    if report["corrected"]:
        table.add_column("corrected", justify="right", no_wrap=True)
    for metric, value in report["metrics"].items():
        floor, corrected = report["bm25"].get(metric), report["corrected"].get(metric)
        low, high = value["ci"]
        cells = [
            metric,
            str(value["n"]),
            _percent(value["micro"]),
            f"{_percent(low)} - {_percent(high)}",
            _percent(value["macro"]),
            _percent(floor and floor["micro"]),
            _percent(floor and floor["macro"]),
        ]
        if report["corrected"]:
            cells.append(_percent(corrected and corrected["micro"]))
        table.add_row(*cells)
    return table


def _by_category(metric: str, report: Report) -> Table:
    table = Table(title=f"{metric} by category")
    parts = {
        "MemOS": report["metrics"], "BM25": report["bm25"], "corrected": report["corrected"]
    }  # fmt: skip
    columns = [(name, part) for name, part in parts.items() if metric in part]
    table.add_column("category")
    for name, _ in columns:
        table.add_column(name, justify="right")
    for category in report["metrics"][metric]["by"]:
        values = (part[metric]["by"].get(category) for _, part in columns)
        table.add_row(category, *(_percent(value) for value in values))
    return table


def _separations(found: Mapping[str, Separation]) -> Table:
    return rows(
        "answerable questions against unanswerable ones",
        ("signal", "answerable", "unanswerable", "AUROC"),
        [
            (name, str(s["answerable"]), str(s["unanswerable"]), _percent(s["auroc"]))
            for name, s in found.items()
        ],
    )


def _latency(latency: Mapping[str, Mapping[str, float]]) -> Table:
    return rows(
        "latency in ms, embedding excluded",
        ("call", "n", "p50", "p95"),
        [
            (name, f"{v['n']:.0f}", f"{v['p50']:.2f}", f"{v['p95']:.2f}")
            for name, v in latency.items()
        ],
    )


def rows(title: str, columns: Sequence[str], cells: Iterable[Sequence[str]]) -> Table:
    """Return a table whose first column is text and whose others are figures."""
    table = Table(title=title)
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number else "left", no_wrap=True)
    for row in cells:
        table.add_row(*row)
    return table


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"
