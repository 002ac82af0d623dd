"""``memos audit``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Final

import typer

from memos.cli.output import emit, table
from memos.cli.session import Session, command

if TYPE_CHECKING:
    from memos.users.audit import AuditPage

_EXAMPLES: Final = ("memos audit", "memos audit --days 7 --of zoe --cube work --json")


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    command(app, "audit", examples=_EXAMPLES)(audit)


def audit(
    session: Session,
    *,
    days: Annotated[int | None, typer.Option(min=1, help="Days back; all kept if unset.")] = None,
    of: Annotated[str | None, typer.Option(help="Only what this user did.")] = None,
    cube: Annotated[str | None, typer.Option(help="Only what was done to this cube.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Entries at most.")] = 50,
) -> None:
    """Show who did what to which cube over HTTP, newest first; never contents."""
    since = None if days is None else datetime.now(UTC) - timedelta(days=days)
    page = _read(session, since, of, cube, limit)
    if session.as_json:
        emit(page)
        return
    rows = [
        (entry.at, entry.user, entry.key or "operator", entry.action, " ".join(entry.cubes),
         entry.target, entry.status)
        for entry in page.items
    ]  # fmt: skip
    styles = {"at": "dim", "user": "cyan", "key": "", "did": "", "cubes": "", "to": "", "": "dim"}
    table(styles, rows)


def _read(
    session: Session, since: datetime | None, of: str | None, cube: str | None, limit: int
) -> AuditPage:
    import anyio  # noqa: PLC0415 - what --help need not pay

    from memos.build import new_id, open_engine  # noqa: PLC0415
    from memos.users.audit import Audit  # noqa: PLC0415

    settings = session.loaded().settings

    async def run() -> AuditPage:
        async with open_engine(settings) as engine:
            await engine.mos().users.ensure(settings.user)
            log = Audit(
                engine.accounts, lambda: datetime.now(UTC), new_id, settings.server.audit_days
            )
            return await log.entries(
                engine.gate(settings.account), settings.user, since=since, user=of, cube=cube,
                limit=limit,
            )  # fmt: skip

    return anyio.run(run)
