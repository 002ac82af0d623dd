"""``memos export`` and ``memos import``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, cast

import typer

from memos.cli.output import Bar, emit, say
from memos.cli.session import Session, command

if TYPE_CHECKING:
    from memos import MOS
    from memos.cubes.load import LoadResult, Skipped
    from memos.ingest.exports.conversations import Format
    from memos.options import Who
    from memos.ports.transfer import OnConflict

_EXPORT: Final = (
    "memos export backup.memcube",
    "memos export backups/work-2026-05 --cube work",
)
_IMPORT: Final = (
    "memos import backup.memcube",
    "memos import backup.memcube --cube copy --on-conflict keep",
    "memos import https://example.org/handbook.memcube --sha256 9f2c...",
    "memos import git+https://example.org/team/cube.git",
    "memos import chatgpt-export.zip",
    "memos import notes/ --format markdown --cube notes",
)
_SHOWN: Final = 10


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    command(app, "export", examples=_EXPORT)(export)
    command(app, "import", examples=_IMPORT)(bring_in)


def export(
    session: Session,
    *,
    path: Annotated[
        Path, typer.Argument(help="A new directory, or a new file that ends in .memcube.")
    ],
    cube: Annotated[str | None, typer.Option(help="Which; the user's own when unset.")] = None,
) -> None:
    """Write a cube with its whole history into a directory or an archive."""
    with session.open() as mos, Bar("Exporting") as bar:
        result = mos.dump(path, progress=bar, **_who(cube))
    if session.as_json:
        emit(result)
        return
    say(
        f"{result.memories} memories in {result.versions} versions, {result.links} links, "
        f"{result.blobs} files: {result.path}"
    )


def bring_in(
    session: Session,
    *,
    source: Annotated[
        str, typer.Argument(help="A dump, a chat export, or an address; see the examples.")
    ],
    cube: Annotated[
        str | None, typer.Option(help="Into which; created when new. Dumps know their own.")
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(help="memcube, chatgpt, claude, messages or markdown; found out when unset."),
    ] = None,
    on_conflict: Annotated[
        str, typer.Option(help="Memories the cube has with other content: fail, keep or replace.")
    ] = "fail",
    sha256: Annotated[str | None, typer.Option(help="What the dump must have.")] = None,
) -> None:
    """Load a dump, or remember the conversations that another program exported.

    A dump comes in as a whole or not at all. A chat export that was interrupted goes on when it is
    imported again; nothing is stored twice.
    """
    from memos.cubes.sources import is_dump  # noqa: PLC0415 - importing it costs seconds of --help

    with session.open() as mos:
        if format == "memcube" or (format is None and is_dump(source)):
            with Bar("Importing") as bar:
                result = mos.load(
                    source, on_conflict=cast("OnConflict", on_conflict), sha256=sha256,
                    progress=bar, **_who(cube),
                )  # fmt: skip
            _tell(session, result)
            return
        _chats(session, mos, source, cast("Format | None", format), cube)


def _chats(
    session: Session, mos: MOS, source: str, format: Format | None, cube: str | None
) -> None:
    if cube is not None and cube not in {known.id for known in mos.cubes.list()}:
        mos.cubes.create(cube)
    with Bar("Importing") as bar:
        result = mos.import_chats(source, format=format, progress=bar, **_who(cube))
    if session.as_json:
        emit(result)
        return
    say(
        f"{result.conversations} conversations or documents: {result.stored} memories stored, "
        f"{result.known} known already"
    )
    _tell_skipped(result.skipped)


def _tell(session: Session, result: LoadResult) -> None:
    if session.as_json:
        emit(result)
        return
    new = "new cube" if result.created else "cube"
    say(f"{new} {result.cube}: {result.memories} memories stored, {result.same} known already")
    if result.erased:
        say(f"{result.erased} were erased here before and stay so")
    if result.conflicts:
        kept = "kept as they were" if result.on_conflict == "keep" else "given a new version"
        say(f"{result.conflicts} had other content here and were {kept}")
    if result.embedded:
        say(f"{result.embedded} embedded anew with the configured model")
    _tell_skipped(result.skipped)


def _tell_skipped(skipped: tuple[Skipped, ...]) -> None:
    for part in skipped[:_SHOWN]:
        say(f"left out {part.name}: {part.reason}")
    if len(skipped) > _SHOWN:
        say(f"... and {len(skipped) - _SHOWN} more; --json names them all")


def _who(cube: str | None) -> Who:
    return {} if cube is None else {"cube": cube}
