"""The comparison as a drawing: how much is found, and how long a search takes. SVG, no library."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from benchmarks.peers.run import Report, Row

_CUT = "turn.recall@10"
_LEFT, _BAR, _GAP, _HALF = 190, 22, 10, 250
_TOP = 56
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#222}.t{font-weight:600}.n{fill:#666;font-size:12px}"
    ".r{fill:#3b6fb6}.s{fill:#c98a2b}.b{fill:#b9c4d2}"
    "@media(prefers-color-scheme:dark){text{fill:#ddd}.n{fill:#999}}"
)


def svg(report: Report) -> str:
    """Return bars for every system that did not fail: recall, and the median of a search."""
    rows = [row for row in report.rows if not row.failed]
    height = _TOP + len(rows) * (_BAR + _GAP) + 30
    width = _LEFT + 2 * _HALF + 110
    slowest = max((row.search_ms[0] for row in rows if row.search_ms), default=1.0)
    second = _LEFT + _HALF + 70
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">',
        f"<title>Recall and search time of {len(rows)} systems</title>",
        f"<style>{_STYLE}</style>",
        _text(_LEFT, 24, "recall@10, percent", "t"),
        _text(second, 24, "search p50, milliseconds (embedding request included)", "t"),
        *(line for n, row in enumerate(rows) for line in _row(n, row, slowest, second)),
        _text(_LEFT, height - 10, _caption(report), "n"),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _row(number: int, row: Row, slowest: float, second: int) -> Sequence[str]:
    y = _TOP + number * (_BAR + _GAP)
    found = row.recall[_CUT]
    kind = "b" if row.search_ms is None else "r"
    lines = [
        _text(10, y + 16, row.name),
        _bar(_LEFT, y, found / 100 * _HALF, kind),
        _text(int(_LEFT + found / 100 * _HALF) + 6, y + 16, f"{found:.1f}"),
    ]
    if row.search_ms is not None:
        length = row.search_ms[0] / slowest * _HALF * 0.8
        lines.append(_bar(second, y, length, "s"))
        lines.append(_text(int(second + length) + 6, y + 16, f"{row.search_ms[0]:.1f}"))
    return lines


def _caption(report: Report) -> str:
    config = report.config
    return f"{config['suite']}, {config['turns']} turns, the same vectors for all, one run"


def _bar(x: int, y: int, length: float, kind: str) -> str:
    return f'<rect class="{kind}" x="{x}" y="{y}" width="{length:.1f}" height="{_BAR}" rx="3"/>'


def _text(x: int, y: int, text: str, kind: str = "") -> str:
    return f'<text class="{kind}" x="{x}" y="{y}">{escape(text)}</text>'
