"""What every command shares: the options that stand anywhere, and the opened memory."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, Final, ParamSpec, cast

import typer

if TYPE_CHECKING:
    from memos import MOS
    from memos.settings import Loaded

P = ParamSpec("P")
_PANEL: Final = "Anywhere"


@dataclass(frozen=True, slots=True)
class Session:
    """The options that every command understands.

    Attributes:
        home: Directory of the store; the configured one when None.
        user: The user who acts; the configured one when None.
        as_json: Whether to answer in JSON.
    """

    home: Path | None = None
    user: str | None = None
    as_json: bool = False

    def loaded(self, more: Mapping[str, object] | None = None) -> Loaded:
        """Return the settings in force; those in ``more`` win, nested as settings are."""
        from memos import settings  # noqa: PLC0415 - importing it costs what --help need not pay

        given = {"home": self.home, "user": self.user}
        arguments: dict[str, object] = {
            name: value for name, value in given.items() if value is not None
        }
        arguments.update(more or {})
        return settings.load(arguments=arguments)

    @contextmanager
    def open(self, more: Mapping[str, object] | None = None) -> Generator[MOS]:
        """Open the memory that the settings describe; see ``loaded``."""
        from memos import MOS  # noqa: PLC0415

        with MOS.open(self.loaded(more).settings) as mos:
            yield mos


def anywhere(
    context: typer.Context,
    *,
    home: Annotated[
        Path | None,
        typer.Option(help="Directory of the store [MEMOS_HOME].", rich_help_panel=_PANEL),
    ] = None,
    user: Annotated[
        str | None,
        typer.Option(help="The user who acts [MEMOS_USER].", rich_help_panel=_PANEL),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Answer in JSON.", rich_help_panel=_PANEL)
    ] = False,
    debug: Annotated[  # noqa: ARG001 - main looks for it itself: parsing may be what fails
        bool, typer.Option("--debug", help="Show where an error arose.", rich_help_panel=_PANEL)
    ] = False,
) -> Session:
    """Merge the options of a command with those that stood before it."""
    before = context.obj if isinstance(context.obj, Session) else Session()
    session = replace(
        before,
        home=before.home if home is None else home,
        user=before.user if user is None else user,
        as_json=before.as_json or as_json,
    )
    context.obj = session
    return session


def command(
    app: typer.Typer, name: str, *, examples: Sequence[str]
) -> Callable[[Callable[Concatenate[Session, P], None]], Callable[Concatenate[Session, P], None]]:
    """Register a function as a command that also takes the options of ``anywhere``.

    Args:
        app: Where the command belongs.
        name: Its name.
        examples: Command lines for its help.
    """

    def register(
        function: Callable[Concatenate[Session, P], None],
    ) -> Callable[Concatenate[Session, P], None]:
        shared = list(inspect.signature(anywhere, eval_str=True).parameters.values())
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        names = {parameter.name for parameter in shared}

        def run(**values: Any) -> None:  # noqa: ANN401 - what typer read
            session = anywhere(**{k: v for k, v in values.items() if k in names})
            work = cast("Callable[..., None]", function)
            work(session, **{k: v for k, v in values.items() if k not in names})

        # typer reads options from a signature: this one is both functions' together.
        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*own, *shared)]
        run.__signature__ = inspect.Signature(parameters)
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        run.__doc__ = function.__doc__
        epilog = "\n\n".join(["Examples:", *examples])
        app.command(name, epilog=epilog)(run)
        return function

    return register
