"""How answers look: tables for people, JSON for programs."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from memos.types import Memory

_PIPED_WIDTH: Final = 160
_LONGEST_CELL: Final = 400
_CONTROLS: Final = {
    **{code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"},
    0x7F: 0x2421,
    **dict.fromkeys((*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)), 0xFFFD),
}
"""Control characters become their pictures: a memory must not drive the terminal."""
_RAW_IN_JSON: Final = {code: f"\\u{code:04x}" for code in range(0x7F, 0xA0)}
_ID_WIDTH: Final = 36


def prepare_streams() -> None:
    """Let no character that the terminal's encoding lacks end a command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def give_up_output() -> None:
    """Send what is left for standard output nowhere, so that leaving does not fail over it."""
    with suppress(OSError, ValueError):
        output = sys.stdout.fileno()
        os.dup2(os.open(os.devnull, os.O_WRONLY), output)


def plain(text: object) -> str:
    """Return ``text`` without anything that a terminal would obey."""
    return str(text).translate(_CONTROLS)


def emit(value: object) -> None:
    """Print ``value`` as JSON, dates and values of this package included."""
    from memos.wire import to_json  # noqa: PLC0415

    ascii_only = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    text = json.dumps(to_json(value), ensure_ascii=ascii_only, indent=2)
    print_line(text.translate(_RAW_IN_JSON))


def print_line(text: str) -> None:
    """Print a line as it is."""
    # A lone surrogate comes out as an escape that JSON reads back.
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")


def say(text: str) -> None:
    """Print a sentence for a person."""
    print_line(plain(text))


def complain(text: str) -> None:
    """Print one line on the error stream."""
    console = _console(stderr=True)
    console.print(
        f"error: {plain(text)}", style="red", markup=False, highlight=False, soft_wrap=True
    )


def table(columns: Mapping[str, str], rows: Iterable[Sequence[object]], *, title: str = "") -> None:
    """Print a table.

    Args:
        columns: Heading -> style, empty for none. What has "id" in its heading stays copyable.
        rows: Cells; long ones are cut.
        title: What stands above.
    """
    from rich.table import Table  # noqa: PLC0415

    shown = Table(title=_cell(title) if title else None, title_justify="left", title_style="bold")
    for heading, style in columns.items():
        width = _ID_WIDTH if "id" in heading.split() else None
        shown.add_column(heading, style=style or None, overflow="fold", width=width)
    _fill(shown, rows)
    _console().print(shown)


def source_of(memory: Memory) -> str:
    """Return where a memory comes from: session, date, speaker, message or file."""
    source = memory.sources[0] if memory.sources else None
    at = (source and source.at) or memory.valid_from or memory.created_at
    parts = [
        memory.place.session,
        at.strftime("%Y-%m-%d %H:%M") if at else None,
        (source and source.speaker) or memory.speaker,
        source and (source.uri or source.id),
    ]
    return " · ".join(part for part in parts if part)


@contextmanager
def busy(what: str) -> Generator[None]:
    """Show on a terminal that something is under way."""
    console = _console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(plain(what)):
        yield


class Bar:
    """A progress bar on the error stream; nothing where that is no terminal."""

    def __init__(self, what: str) -> None:
        from rich.progress import Progress  # noqa: PLC0415

        console = _console(stderr=True)
        self._progress = Progress(console=console, transient=True, disable=not console.is_terminal)
        self._task = self._progress.add_task(plain(what), total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` are done."""
        self._progress.update(self._task, completed=done, total=total)


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console  # noqa: PLC0415

    console = Console(stderr=stderr)
    if not console.is_terminal:
        console.width = _PIPED_WIDTH
    return console


def _cell(value: object) -> Text:
    from rich.text import Text  # noqa: PLC0415

    if isinstance(value, datetime):
        value = value.isoformat(sep=" ", timespec="seconds")
    text = "" if value is None else plain(value)
    return Text(text if len(text) <= _LONGEST_CELL else f"{text[: _LONGEST_CELL - 1]}…")


def _fill(shown: Table, rows: Iterable[Sequence[object]]) -> None:
    for row in rows:
        shown.add_row(*(_cell(value) for value in row))
