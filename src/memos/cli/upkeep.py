"""``memos reindex``, ``doctor``, ``config`` and ``version``."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Annotated, Final

import typer

from memos.cli.output import Bar, busy, emit, say, table
from memos.cli.session import Session, anywhere, command

if TYPE_CHECKING:
    from memos import MOS

_CONFIG_ERROR: Final = 2


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    examples = ("memos reindex", "memos reindex --cube work --user maya")
    command(app, "reindex", examples=examples)(reindex)
    command(app, "doctor", examples=("memos doctor", "memos doctor --fix"))(doctor)
    config = typer.Typer(help="Show or try the settings.", no_args_is_help=True)
    config.callback()(anywhere)
    command(config, "show", examples=("memos config show",))(show)
    command(config, "check", examples=("memos config check --json",))(check)
    app.add_typer(config, name="config")
    command(app, "version", examples=("memos version",))(version)


def reindex(
    session: Session,
    *,
    cube: Annotated[
        str | None, typer.Option(help="Only this cube; else all that one owns.")
    ] = None,
) -> None:
    """Embed memories anew, after another embedder was configured; it can be interrupted."""
    user = session.loaded().settings.user
    with session.open() as mos:
        cubes = [cube] if cube else _own(mos, user)
        done: dict[str, int] = {}
        for name in cubes:
            with Bar(f"Embedding {name}") as bar:
                done[name] = mos.reindex(cube=name, progress=bar)
    if session.as_json:
        emit({"embedded": done})
        return
    for name, count in done.items():
        say(f"{name}: {count} embedded" if count else f"{name}: nothing to do")


def doctor(
    session: Session,
    *,
    fix: Annotated[bool, typer.Option("--fix", help="Rebuild what is derived, then look.")] = False,
) -> None:
    """Prove that the store is sound and that every index agrees with the records."""
    with session.open() as mos, busy("Checking ..."):
        if fix:
            for user in mos.users.list():
                for cube in _own(mos, user.id):
                    mos.rebuild(user=user.id, cube=cube)
        findings = mos.check()
    if session.as_json:
        emit({"ok": all(finding.ok for finding in findings), "findings": findings})
    else:
        rows = [("ok" if found.ok else "FAILED", found.check, found.detail) for found in findings]
        table({"": "", "check": "cyan", "detail": ""}, rows)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def show(session: Session) -> None:
    """Show every setting in force and where it comes from, secrets masked."""
    from memos import settings  # noqa: PLC0415

    rows = list(settings.rows(session.loaded()))
    if session.as_json:
        emit({path: {"value": value, "source": source} for path, value, source in rows})
        return
    table({"setting": "cyan", "value": "", "source": "dim"}, rows)


def check(session: Session) -> None:
    """Open everything that the settings name, and say what happened."""
    import anyio  # noqa: PLC0415

    from memos.build import check_settings  # noqa: PLC0415

    checked = anyio.run(check_settings, session.loaded().settings)
    fine = all(part.error is None for part in checked)
    if session.as_json:
        emit({"ok": fine, "checks": checked})
    else:
        rows = [(part.section, part.kind, part.error or "ok") for part in checked]
        table({"section": "cyan", "kind": "", "result": ""}, rows)
    if not fine:
        raise typer.Exit(_CONFIG_ERROR)


def version(session: Session) -> None:
    """Show the versions of MemOS and of what it stands on."""
    import apsw  # noqa: PLC0415

    from memos import __version__  # noqa: PLC0415

    facts = {
        "memos": __version__,
        "python": platform.python_version(),
        "sqlite": apsw.sqlite_lib_version(),
    }
    if session.as_json:
        emit(facts)
        return
    say(", ".join(f"{name} {value}" for name, value in facts.items()))


def _own(mos: MOS, user: str) -> list[str]:
    return [cube.id for cube in mos.cubes.list(user=user) if cube.owner == user]
