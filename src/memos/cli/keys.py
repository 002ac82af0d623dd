"""``memos key``: the API keys of the server."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar, cast

import typer

from memos.cli.output import emit, say, table
from memos.cli.session import Session, anywhere, command

if TYPE_CHECKING:
    from memos.types import ApiKey, KeyScope
    from memos.users.keys import Keys, NewKey

T = TypeVar("T")
Id = Annotated[str, typer.Argument(help="The key's id, not the key.")]
_EXAMPLES: Final = (
    "memos key create laptop",
    "memos key create dashboard --scope read --bind-user zoe --bind-cube work --days 90",
)


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    key = typer.Typer(help="API keys of the server.", no_args_is_help=True)
    key.callback()(anywhere)
    command(key, "create", examples=_EXAMPLES)(create)
    command(key, "list", examples=("memos key list",))(show)
    command(key, "rotate", examples=("memos key rotate 0123456789ab",))(rotate)
    command(key, "revoke", examples=("memos key revoke 0123456789ab",))(revoke)
    command(key, "generate", examples=("memos key generate",))(generate)
    app.add_typer(key, name="key")


def create(
    session: Session,
    *,
    name: Annotated[str, typer.Argument(help="What people call it.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="read, write or admin; repeatable.")
    ] = None,
    bind_user: Annotated[str | None, typer.Option(help="The only user it acts for.")] = None,
    bind_cube: Annotated[
        list[str] | None, typer.Option(help="A cube it may touch; repeatable. All when unset.")
    ] = None,
    days: Annotated[int | None, typer.Option(min=1, help="Days until it expires.")] = None,
) -> None:
    """Make an API key; it is shown now and never again."""
    scopes = cast("Sequence[KeyScope]", scope or ["read", "write"])
    until = None if days is None else datetime.now(UTC) + timedelta(days=days)
    made = _with_keys(
        session,
        lambda keys, account: keys.create(
            account, name, scopes=scopes, user=bind_user, cubes=bind_cube, expires_at=until
        ),
    )
    _show_new(session, made)


def show(session: Session) -> None:
    """Show the keys of the account."""
    found = _with_keys(session, lambda keys, account: keys.list(account))
    if session.as_json:
        emit([_told(key) for key in found])
        return
    rows = [
        (key.id, key.name, " ".join(key.scopes), key.user or "any", key.last_used_at,
         "revoked" if key.revoked_at else key.expires_at)
        for key in found
    ]  # fmt: skip
    table({"key": "cyan", "name": "", "scopes": "", "user": "", "used": "dim", "ends": ""}, rows)


def rotate(session: Session, *, id: Id) -> None:
    """Give a key another secret; the former one is refused from now on."""
    _show_new(session, _with_keys(session, lambda keys, account: keys.rotate(account, id)))


def revoke(session: Session, *, id: Id) -> None:
    """Refuse a key from now on."""
    gone = _with_keys(session, lambda keys, account: keys.revoke(account, id))
    if session.as_json:
        emit(_told(gone))
        return
    say(f"{gone.id} ({gone.name}) is refused from now on")


def generate(session: Session) -> None:
    """Print a new key for MEMOS_BOOTSTRAP_KEY; no store knows it before a server starts with it."""
    from memos.users.keys import new_token  # noqa: PLC0415

    token = new_token()
    if session.as_json:
        emit({"token": token})
        return
    say(token)


def _with_keys(session: Session, work: Callable[[Keys, str], Coroutine[Any, Any, T]]) -> T:
    import anyio  # noqa: PLC0415 - what --help need not pay

    from memos.build import open_engine  # noqa: PLC0415
    from memos.server.pepper import pepper  # noqa: PLC0415
    from memos.users.keys import Keys  # noqa: PLC0415

    settings = session.loaded().settings

    async def run() -> T:
        async with open_engine(settings) as engine:
            await engine.mos().users.ensure(settings.user)
            keys = Keys(engine.accounts, pepper(settings), lambda: datetime.now(UTC))
            return await work(keys, settings.account)

    return anyio.run(run)


def _show_new(session: Session, made: NewKey) -> None:
    if session.as_json:
        emit({"key": _told(made.key), "token": made.token})
        return
    say(made.token)
    say(f"id {made.key.id}; keep the key: it is not shown again")


def _told(key: ApiKey) -> dict[str, object]:
    from memos.users.keys import shown  # noqa: PLC0415 - what --help need not pay

    return shown(key)
