"""The comparison as a table for the terminal and as Markdown for the documentation."""

from __future__ import annotations

from rich.console import Console

from benchmarks.peers.run import Report, Row
from benchmarks.reporting import rows as table

HEAD = (
    "system", "R@5", "R@10", "R@50", "add p50 / p95 ms", "search p50 / p95 ms", "RSS MB", "disk MB",
)  # fmt: skip

_KEPT = {
    "disk": "an add is synced to the disk when it returns",
    "file": "an add is written to a file, not synced, when it returns",
    "memory": "an add is in memory only",
}


def print_table(console: Console, report: Report) -> None:
    """Print the figures, then what has to be borne in mind."""
    title = f"{report.config['suite']}: {report.config['turns']} turns, one add each"
    console.print(table(title, HEAD, [_cells(row) for row in report.rows]))
    for row in report.rows:
        if note := _note(row):
            console.print(note, soft_wrap=True)


def markdown(report: Report) -> str:
    """Return the same for a page."""
    lines = [" | ".join(("", *HEAD, "")).strip(), "|" + "---|" * len(HEAD)]
    lines += [" | ".join(("", *_cells(row), "")).strip() for row in report.rows]
    notes = [f"- {note}" for row in report.rows if (note := _note(row))]
    return "\n".join((*lines, "", *notes)) + "\n"


def _note(row: Row) -> str:
    if row.failed:
        return f"{row.name}: {row.failed}"
    kept = _KEPT.get(row.keeps)
    facts = [
        f"ranks by {row.reads}",
        *([kept] if kept else []),
        *([row.leaves_out] if row.leaves_out else []),
    ]
    return f"{row.name}: {'; '.join(facts)}."


def _cells(row: Row) -> tuple[str, ...]:
    if row.failed:
        return (row.name, *("failed",) * (len(HEAD) - 1))
    recalls = tuple(f"{value:.1f}" for value in row.recall.values())
    return (
        row.name,
        *recalls,
        _pair(row.add_ms),
        _pair(row.search_ms),
        _number(row.rss_mb),
        _number(row.disk_mb),
    )


def _pair(pair: tuple[float, float] | None) -> str:
    return "-" if pair is None else f"{pair[0]:.1f} / {pair[1]:.1f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
