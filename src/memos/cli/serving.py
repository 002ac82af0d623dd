"""``memos serve``."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Annotated, Final

import typer

from memos.cli.output import say
from memos.cli.session import Session, command
from memos.errors import ConfigError

if TYPE_CHECKING:
    from memos.settings import Settings

_KEEP_ALIVE_S: Final = 75
"""Longer than pools and proxies keep what is idle: who hangs up first must not be the server, which
may do so just as the next request comes."""
_EXAMPLES: Final = ("memos serve", "memos serve --host 0.0.0.0 --port 8000 --workers 2")


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    command(app, "serve", examples=_EXAMPLES)(serve)


def serve(
    session: Session,
    *,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=64, help="Processes.")] = None,
) -> None:
    """Serve the store over HTTP, for this machine only unless told otherwise."""
    from memos import settings as configuration  # noqa: PLC0415 - what --help need not pay
    from memos.registry import missing_extra  # noqa: PLC0415

    given = {"home": session.home, "user": session.user}
    arguments: dict[str, object] = {k: v for k, v in given.items() if v is not None}
    server = {"host": host, "port": port, "workers": workers}
    arguments["server"] = {k: v for k, v in server.items() if v is not None}
    settings = configuration.load(arguments=arguments).settings
    _check_address(settings)
    try:
        import uvicorn  # noqa: PLC0415

        from memos.server.app import served  # noqa: PLC0415
        from memos.server.logs import configure  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise missing_extra("server", error) from error
    configuration.hand_on(arguments)
    configure(settings.server.log_level)
    say(f"http://{settings.server.host}:{settings.server.port} serves {settings.home}")
    uvicorn.run(
        f"{served.__module__}:{served.__name__}",
        factory=True,
        host=settings.server.host,
        port=settings.server.port,
        workers=settings.server.workers,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=20,
        timeout_keep_alive=_KEEP_ALIVE_S,
    )


def _check_address(settings: Settings) -> None:
    """Refuse to serve others while nobody has a key.

    Raises:
        ConfigError: Saying what to do.
    """
    host = settings.server.host
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if local or settings.server.bootstrap_key is not None or _has_key(settings):
        return
    raise ConfigError(
        f"others reach {host}, and nobody has an API key: make one with 'memos key create', or set"
        " MEMOS_BOOTSTRAP_KEY",
        code="no_key",
    )


def _has_key(settings: Settings) -> bool:
    import anyio  # noqa: PLC0415

    from memos.build import open_engine  # noqa: PLC0415
    from memos.users.keys import SYSTEM, ApiKey  # noqa: PLC0415

    async def run() -> bool:
        async with open_engine(settings) as engine:
            keys = await engine.accounts.list_entries(ApiKey, SYSTEM)
            return any(key.revoked_at is None for key in keys)

    return anyio.run(run)
