"""``memos user`` and ``memos cube``: who there is, and who may use which memories."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, cast

import typer

from memos.cli.output import emit, say, table
from memos.cli.session import Session, anywhere, command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from memos.types import Access, Cube, Role, User

Id = Annotated[str, typer.Argument(help="Its id.")]
Name = Annotated[str | None, typer.Option(help="Its name; the id when unset.")]
_ROLES: Final = "ROOT, ADMIN, USER or GUEST."


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    user = typer.Typer(help="Users and their roles.", no_args_is_help=True)
    user.callback()(anywhere)
    command(user, "list", examples=("memos user list",))(list_users)
    examples = ("memos user create lin --name 林", "memos user create guest --role GUEST")
    command(user, "create", examples=examples)(create_user)
    command(user, "rename", examples=('memos user rename lin "Lin Wei"',))(rename_user)
    command(user, "role", examples=("memos user role lin ADMIN",))(set_role)
    command(user, "deactivate", examples=("memos user deactivate lin",))(deactivate)
    command(user, "activate", examples=("memos user activate lin",))(activate)
    app.add_typer(user, name="user")
    cube = typer.Typer(help="Cubes, and who may use them.", no_args_is_help=True)
    cube.callback()(anywhere)
    command(cube, "list", examples=("memos cube list", "memos cube list --unregistered"))(
        list_cubes
    )
    command(cube, "create", examples=('memos cube create work --name "At work"',))(create_cube)
    command(cube, "rename", examples=('memos cube rename work "The office"',))(rename_cube)
    command(cube, "grants", examples=("memos cube grants work",))(grants)
    examples = ("memos cube share work lin", "memos cube share work lin --write")
    command(cube, "share", examples=examples)(share)
    command(cube, "revoke", examples=("memos cube revoke work lin",))(revoke)
    command(cube, "transfer", examples=("memos cube transfer work lin",))(transfer)
    command(cube, "unregister", examples=("memos cube unregister work",))(unregister)
    command(cube, "register", examples=("memos cube register work",))(register_cube)
    app.add_typer(cube, name="cube")


def list_users(session: Session) -> None:
    """Show the users of the account; only oneself to who may not manage users."""
    with session.open() as mos:
        _show_users(session, mos.users.list())


def create_user(
    session: Session,
    *,
    id: Id,
    name: Name = None,
    role: Annotated[str, typer.Option(help=_ROLES)] = "USER",
) -> None:
    """Create a user and its private cube."""
    with session.open() as mos:
        made = mos.users.create(id, name=name, role=cast("Role", role.upper()))
    _show_users(session, [made])


def rename_user(
    session: Session, *, id: Id, name: Annotated[str, typer.Argument(help="The new name.")]
) -> None:
    """Give a user another name."""
    with session.open() as mos:
        _show_users(session, [mos.users.rename(id, name)])


def set_role(
    session: Session, *, id: Id, role: Annotated[str, typer.Argument(help=_ROLES)]
) -> None:
    """Give a user another role."""
    with session.open() as mos:
        _show_users(session, [mos.users.set_role(id, cast("Role", role.upper()))])


def deactivate(session: Session, *, id: Id) -> None:
    """Refuse every call of a user from now on; its cubes stay."""
    with session.open() as mos:
        _show_users(session, [mos.users.deactivate(id)])


def activate(session: Session, *, id: Id) -> None:
    """Let a deactivated user act again."""
    with session.open() as mos:
        _show_users(session, [mos.users.activate(id)])


def list_cubes(
    session: Session,
    *,
    unregistered: Annotated[
        bool, typer.Option("--unregistered", help="Those that are out of reach.")
    ] = False,
) -> None:
    """Show the cubes that one may read."""
    with session.open() as mos:
        _show_cubes(session, mos.cubes.list(unregistered=unregistered))


def create_cube(session: Session, *, id: Id, name: Name = None) -> None:
    """Create a cube of one's own."""
    with session.open() as mos:
        _show_cubes(session, [mos.cubes.create(id, name=name)])


def rename_cube(
    session: Session, *, id: Id, name: Annotated[str, typer.Argument(help="The new name.")]
) -> None:
    """Give a cube another name; its id stays."""
    with session.open() as mos:
        _show_cubes(session, [mos.cubes.rename(id, name)])


def grants(session: Session, *, id: Id) -> None:
    """Show who may read or write a cube."""
    with session.open() as mos:
        found = mos.cubes.grants(id)
    if session.as_json:
        emit(found)
        return
    table({"user": "cyan", "may": ""}, [(grant.principal, grant.access) for grant in found])


def share(
    session: Session,
    *,
    id: Id,
    to: Annotated[str, typer.Argument(help="The user who shall use it.")],
    write: Annotated[bool, typer.Option("--write", help="Not only read.")] = False,
) -> None:
    """Let another user read a cube, or write it too."""
    access: Access = "write" if write else "read"
    with session.open() as mos:
        grant = mos.cubes.share(id, to, access)
    if session.as_json:
        emit(grant)
        return
    say(f"{to} may {access} {id}")


def revoke(
    session: Session,
    *,
    id: Id,
    of: Annotated[str, typer.Argument(help="The user who shall not use it any more.")],
) -> None:
    """Take back what was shared."""
    with session.open() as mos:
        mos.cubes.revoke(id, of)
    if session.as_json:
        emit({"cube": id, "revoked": of})
        return
    say(f"{of} has no right to {id} any more")


def transfer(
    session: Session, *, id: Id, to: Annotated[str, typer.Argument(help="The new owner.")]
) -> None:
    """Give a cube to another user."""
    with session.open() as mos:
        given = mos.cubes.transfer(id, to)
    if session.as_json:
        emit(given)
        return
    say(f"{id} belongs to {to}")


def unregister(session: Session, *, id: Id) -> None:
    """Put a cube out of reach, for everybody; its memories stay."""
    with session.open() as mos:
        closed = mos.cubes.unregister(id)
    if session.as_json:
        emit(closed)
        return
    say(f"{id} is out of reach; 'memos cube register {id}' brings it back")


def register_cube(session: Session, *, id: Id) -> None:
    """Bring an unregistered cube back, with everybody's rights."""
    with session.open() as mos:
        _show_cubes(session, [mos.cubes.register(id)])


def _show_users(session: Session, users: Sequence[User]) -> None:
    if session.as_json:
        emit(users)
        return
    rows = [
        (user.id, user.name, user.role, "" if user.active else "deactivated", user.created_at)
        for user in users
    ]
    table({"user": "cyan", "name": "", "role": "", "": "red", "created": "dim"}, rows)


def _show_cubes(session: Session, cubes: Sequence[Cube]) -> None:
    if session.as_json:
        emit(cubes)
        return
    rows = [(cube.id, cube.name, cube.owner, cube.created_at) for cube in cubes]
    table({"cube": "cyan", "name": "", "owner": "", "created": "dim"}, rows)
