"""The entry point: the commands together, and the one place where every error ends."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from typing import Any, Final, NoReturn, cast

import typer
from typer.core import TyperGroup

from memos.cli import (
    adding,
    auditing,
    chatting,
    demo,
    finding,
    forgetting,
    keys,
    people,
    serving,
    starting,
    stats,
    transfer,
    upkeep,
    working,
)
from memos.cli.output import complain, emit, give_up_output, prepare_streams
from memos.cli.session import anywhere
from memos.errors import MemosError, RateLimited, UpstreamError

_USAGE: Final = 2


class Root(TyperGroup):
    """The group of all commands; it turns every error into one clear line and an exit code."""

    def main(  # pyright: ignore[reportIncompatibleMethodOverride] - the rest goes through
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        **extra: Any,  # noqa: ANN401
    ) -> NoReturn:
        """Run the command line and leave the process."""
        prepare_streams()
        arguments = list(sys.argv[1:] if args is None else args)
        flags = arguments[: arguments.index("--")] if "--" in arguments else arguments
        as_json = "--json" in flags
        extra["standalone_mode"] = not as_json
        try:
            try:
                code = super().main(arguments, prog_name or "memos", **extra)
            except SystemExit as left:
                code = left.code
            sys.stdout.flush()
        except BrokenPipeError:
            give_up_output()  # whoever read had enough
            code = 1
        except Exception as error:  # noqa: BLE001 - the last line of defence; see the module
            if "--debug" in flags:
                traceback.print_exception(error)
            code = _report(error, as_json=as_json)
        sys.exit(code or 0)


app = typer.Typer(
    cls=Root,
    name="memos",
    help="A memory for AI agents: add what happened, find what matters, with its sources.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.callback()(anywhere)
for group in (
    starting,
    demo,
    adding,
    finding,
    chatting,
    forgetting,
    transfer,
    stats,
    people,
    keys,
    auditing,
    serving,
    upkeep,
    working,
):
    group.register(app)


def main() -> None:
    """Run the command ``memos``."""
    app()


def _report(error: Exception, *, as_json: bool) -> int:
    exit_code, described = _describe(error)
    if as_json and not (isinstance(error, OSError) and error.filename is None):
        emit({"error": described})
    else:
        complain(str(described["detail"]))
    if isinstance(error, OSError):
        give_up_output()  # it may be standard output itself that failed
    return exit_code


def _describe(error: Exception) -> tuple[int, dict[str, object]]:
    if isinstance(error, MemosError):
        facts: dict[str, object] = {name: _plain(value) for name, value in error.context.items()}
        if isinstance(error, UpstreamError):
            facts |= {"service": error.service, "retryable": error.retryable}
        if isinstance(error, RateLimited):
            facts["retry_after"] = error.retry_after
        return error.exit_code, {**facts, "code": error.code, "detail": error.detail}
    if isinstance(error, typer.Abort):
        return 1, {"code": "aborted", "detail": "stopped; nothing was changed"}
    told = getattr(error, "format_message", None)
    if told is not None:
        return _USAGE, {"code": "usage", "detail": str(told())}
    detail = f"{type(error).__name__}: {error}".strip().splitlines()[0]
    return 1, {"code": "internal", "detail": f"{detail} (--debug shows where)"}


def _plain(value: object) -> object:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in cast("Sequence[object]", value)]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
