"""``memos forget``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Final

import typer

from memos.cli.adding import read_json
from memos.cli.output import busy, emit, say
from memos.cli.session import Session, command
from memos.errors import InvalidInput
from memos.filters import parse, selects_everything

if TYPE_CHECKING:
    from memos.options import ForgetOptions

_EXAMPLES: Final = (
    "memos forget 0199f3c2-6a0e-7cc1-9d5e-0d6a3b0a4f11",
    """memos forget --filter '{"session": "2026-05-20"}' --yes""",
    "memos forget 0199f3c2-6a0e-7cc1-9d5e-0d6a3b0a4f11 --erase",
)


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    command(app, "forget", examples=_EXAMPLES)(forget)


def forget(
    session: Session,
    *,
    ids: Annotated[list[str] | None, typer.Argument(help="Ids of memories.")] = None,
    filter_: Annotated[str | None, typer.Option("--filter", help="A filter, in JSON.")] = None,
    cube: Annotated[str | None, typer.Option(help="The cube that holds them.")] = None,
    erase: Annotated[
        bool, typer.Option("--erase", help="Leave nothing but a tombstone, no history either.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Hide memories and keep their history, or erase every trace of them."""
    where = None if filter_ is None else read_json(filter_, "--filter")
    if bool(ids) == (filter_ is not None):
        raise InvalidInput("name ids or a --filter, one of the two", code="no_selector")
    if not ids and selects_everything(parse(where)):
        raise InvalidInput("an empty filter would forget everything; name what", code="no_selector")
    options: ForgetOptions = {"mode": "erase" if erase else "retire"}
    if not ids:
        options["where"] = where
    if cube is not None:
        options["cube"] = cube
    if not yes:
        _ask(len(ids or ()), erase=erase)
    with session.open() as mos, busy("Forgetting ..."):
        result = mos.forget(ids or None, **options)
    if session.as_json:
        emit(result)
        return
    say(f"{len(result.ids)} {'erased' if erase else 'retired'}")


def _ask(count: int, *, erase: bool) -> None:
    what = f"{count} named {'memory' if count == 1 else 'memories'}" if count else "all that match"
    how = "Erase for ever" if erase else "Retire"
    # Not typer.confirm: it writes to standard output, where the answer in JSON goes.
    sys.stderr.write(f"{how}: {what}? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise typer.Abort
