"""``memos stats``."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from memos.cli.output import emit, table
from memos.cli.session import Session, command

_MEGABYTE: Final = 1_000_000


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    command(app, "stats", examples=("memos stats", "memos stats --cube work --json"))(stats)


def stats(
    session: Session,
    *,
    cube: Annotated[str | None, typer.Option(help="Which; the user's own when unset.")] = None,
) -> None:
    """Say how much a cube holds: memories by kind, tier and status, sessions, dates, size."""
    with session.open() as mos:
        found = mos.stats() if cube is None else mos.stats(cube=cube)
    if session.as_json:
        emit(found)
        return
    rows: list[tuple[str, object]] = [
        ("memories", found.memories),
        *((f"  kind {name}", count) for name, count in sorted(found.kinds.items())),
        *((f"  tier {name}", count) for name, count in sorted(found.tiers.items())),
        ("retired", found.retired),
        *((f"status {name}", count) for name, count in sorted(found.statuses.items())),
        ("versions", found.versions),
        ("erased", found.erased),
        ("links", found.links),
        ("sessions", found.sessions),
        ("first recorded", found.first),
        ("last recorded", found.last),
        ("store on disk", f"{found.bytes / _MEGABYTE:.1f} MB"),
    ]
    table({"": "cyan", "value": ""}, rows)
