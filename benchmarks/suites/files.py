"""Finding and reading data files; reading the dates that they write."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

Json: TypeAlias = Any
"""A JSON value in a format that is not ours."""

_MONTHS = str.split(
    "january february march april may june july august september october november december"
)
_CLOCK = re.compile(r"\b(\d{1,2}):(\d{2})\s*([ap]m)?", re.IGNORECASE)
_YEAR_FIRST = re.compile(r"(\d{4})\s*[/年-]\s*(\d{1,2})\s*[/月-]\s*(\d{1,2})")
_MONTH_FIRST = re.compile(r"([A-Za-z]{3,9})[ -](\d{1,2}),?[ -](\d{4})")
_DAY_FIRST = re.compile(r"(\d{1,2}) ([A-Za-z]{3,9}),? (\d{4})")


def read_json(path: Path) -> Json:
    """Return the content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def json_files(path: Path) -> Iterator[Path]:
    """Yield ``path`` itself, or the JSON files anywhere in the folder, in order of name."""
    if path.is_file():
        yield path
    else:
        yield from sorted(path.rglob("*.json"))


def natural(path: Path) -> tuple[tuple[int, int, str], ...]:
    """Return a key that sorts ``2`` before ``10``."""
    parts = re.split(r"(\d+)", str(path))
    return tuple((0, int(p), "") if p.isdigit() else (1, 0, p) for p in parts if p)


def parse_date(text: str | None) -> datetime | None:
    """Read a date with its time of day, as the data sets write them; None when not understood.

    The data sets state no zone; all of their times are taken as UTC.
    """
    if not text:
        return None
    day = _parse_day(text)
    clock = _CLOCK.search(text)
    try:
        date = datetime(*day, tzinfo=UTC) if day else None
        if date and clock:
            date = date.replace(hour=_hour(clock), minute=int(clock[2]))
    except ValueError:
        return None
    return date


def stated_at(text: str | None) -> str | None:
    """Return a session date for ``chat_time``: ISO 8601 when understood, else the words."""
    date = parse_date(text)
    return date.isoformat() if date else text or None


def _hour(clock: re.Match[str]) -> int:
    hour, half = int(clock[1]), (clock[3] or "").lower()
    if not half:
        return hour
    return hour % 12 + (12 if half == "pm" else 0)


def _parse_day(text: str) -> tuple[int, int, int] | None:
    if found := _YEAR_FIRST.search(text):
        return int(found[1]), int(found[2]), int(found[3])
    if (found := _MONTH_FIRST.search(text)) and (month := _month(found[1])):
        return int(found[3]), month, int(found[2])
    if (found := _DAY_FIRST.search(text)) and (month := _month(found[2])):
        return int(found[3]), month, int(found[1])
    return None


def _month(name: str) -> int | None:
    prefix = name.lower()
    matches = (i for i, month in enumerate(_MONTHS, 1) if month.startswith(prefix[:3]))
    return next(matches, None)
