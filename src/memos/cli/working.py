"""``memos jobs``: how far work in the background is, and doing it here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from memos.cli.output import Bar, emit, say, table
from memos.cli.session import Session, anywhere, command

if TYPE_CHECKING:
    from memos.types import JobStatus

Id = Annotated[str, typer.Argument(help="The job.")]
_FAILED: Final = 1
_NOT_YET: Final = 3
"""Exit codes of ``wait``."""


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    jobs = typer.Typer(help="Work in the background.", no_args_is_help=True)
    jobs.callback()(anywhere)
    command(jobs, "list", examples=("memos jobs list", "memos jobs list --state failed"))(show_all)
    command(jobs, "show", examples=("memos jobs show job-0192...",))(show)
    command(jobs, "wait", examples=("memos jobs wait job-0192... --timeout 60",))(wait)
    command(jobs, "retry", examples=("memos jobs retry job-0192...",))(retry)
    command(jobs, "run", examples=("memos jobs run", "memos jobs run --forever"))(run)
    app.add_typer(jobs, name="jobs")


def show_all(
    session: Session,
    *,
    cube: Annotated[str | None, typer.Option(help="About this cube.")] = None,
    state: Annotated[
        str | None, typer.Option(help="In this state: waiting, running, done, failed.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="Of this kind: add, import, reindex.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most.")] = 20,
    cursor: Annotated[str | None, typer.Option(help="Where the last list ended.")] = None,
) -> None:
    """List jobs about the cubes that one may read, the latest first."""
    asked = {"cube": cube, "state": state, "label": label, "limit": limit, "cursor": cursor}
    options: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    with session.open() as mos:
        page = mos.jobs.list(**options)
    if session.as_json:
        emit(page)
        return
    rows = [
        (job.id, job.label, job.cube, job.state, job.attempts, job.put_at, job.code or "")
        for job in page.items
    ]
    columns = {"job id": "cyan", "kind": "", "cube": "", "state": "", "attempts": "", "put": "dim"}
    table({**columns, "error": "red"}, rows)
    if page.next is not None:
        say(f"more: --cursor {page.next}")


def show(session: Session, *, id: Id) -> None:
    """Show how far a job is."""
    with session.open() as mos:
        _tell(session, mos.jobs.get(id))


def wait(
    session: Session,
    *,
    id: Id,
    timeout: Annotated[float | None, typer.Option(min=0, help="Seconds to wait at most.")] = None,
) -> None:
    """Wait for a job: exit code 0 when it is done, 1 when it failed, 3 when the time is up."""
    with session.open() as mos, Bar("Waiting") as bar:
        status = mos.jobs.wait(id, timeout_s=timeout, progress=bar)
    _tell(session, status)
    if status.state != "done":
        raise typer.Exit(_FAILED if status.state == "failed" else _NOT_YET)


def retry(session: Session, *, id: Id) -> None:
    """Begin a job anew that was given up."""
    with session.open() as mos:
        _tell(session, mos.jobs.retry(id))


def run(
    session: Session,
    *,
    forever: Annotated[bool, typer.Option("--forever", help="Go on until interrupted.")] = False,
) -> None:
    """Do what is due, here; a server does it by itself."""
    with session.open() as mos:
        count = mos.jobs.run(forever=forever)
    if session.as_json:
        emit({"begun": count})
        return
    say(f"{count} begun" if count else "nothing to do")


def _tell(session: Session, status: JobStatus) -> None:
    if session.as_json:
        emit(status)
        return
    facts = {
        "job": status.id, "kind": status.label, "cube": status.cube, "state": status.state,
        "attempts": status.attempts, "put": status.put_at, "started": status.started_at,
        "ended": status.ended_at,
        "progress": None if status.progress is None else "{} of {}".format(*status.progress),
        "result": _short(status.result), "code": status.code, "cause": status.cause,
    }  # fmt: skip
    table({"": "cyan", " ": ""}, [(name, fact) for name, fact in facts.items() if fact is not None])


def _short(result: object) -> str | None:
    if result is None:
        return None
    from memos.wire import to_json  # noqa: PLC0415 - what --help need not pay

    return str(to_json(result))
