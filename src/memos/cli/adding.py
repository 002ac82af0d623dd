"""``memos add``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, cast

import typer

from memos.cli.output import busy, emit, say
from memos.cli.session import Session, command
from memos.errors import InvalidInput

if TYPE_CHECKING:
    from memos import MOS
    from memos.mos import AddResult
    from memos.options import AddOptions
    from memos.types import JobStatus

    _Work = tuple[object, AddOptions]

_EXAMPLES: Final = (
    'memos add "Zoe is allergic to peanuts." --tag health',
    "echo 我七月六号到新公司报到 | memos add --user lin",
    "memos add --file notes.md --cube work --info project=apollo",
    "memos add --messages chat.jsonl --session 2026-05-20",
    "memos add --file book.md --background",
)


_SHOWN: Final = 5
_FAILED: Final = 1
_LOOK_S: Final = 1.0
"""How long to wait before looking again for what is due by now, such as another try."""


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    command(app, "add", examples=_EXAMPLES)(add)


def add(  # noqa: PLR0913 - typer reads the options from the signature
    session: Session,
    *,
    text: Annotated[
        str | None, typer.Argument(help="What to remember; - or nothing reads standard input.")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="A text or Markdown file.")] = None,
    messages: Annotated[
        Path | None, typer.Option(help="Messages as JSON or JSON lines, OpenAI style.")
    ] = None,
    cube: Annotated[str | None, typer.Option(help="Where to; the user's own when unset.")] = None,
    chat: Annotated[
        str | None, typer.Option("--session", help="The session that the messages belong to.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(help="A tag; repeatable.")] = None,
    info: Annotated[
        list[str] | None,
        typer.Option(help="key=text or key:=JSON, kept with every memory; repeatable."),
    ] = None,
    background: Annotated[
        bool, typer.Option("--background", help="Put it on the queue and print the job's id.")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="With --background: wait until it is done.")
    ] = False,
) -> None:
    """Remember a text, a file or a conversation."""
    if wait and not background:
        raise InvalidInput("--wait goes with --background", code="usage")
    if sum(given is not None for given in (text, file, messages)) > 1:
        raise InvalidInput("give a text, --file or --messages, one of them", code="usage")
    options: AddOptions = {"tags": tag or [], "info": read_info(info or [])}
    if cube is not None:
        options["cube"] = cube
    if chat is not None:
        options["session"] = chat
    batches = list(read_messages(messages)) if messages else [(None, file or _text(text))]
    work: list[_Work] = [
        (content, {**options, "session": named} if named else options) for named, content in batches
    ]
    if background:
        _queue(session, work, wait=wait)
        return
    with session.open() as mos, busy("Adding ..."):
        results: list[AddResult] = [mos.add(content, **here) for content, here in work]
    ids = [id for result in results for id in result.ids]
    _tell(session, ids, [new for result in results for new in result.stored])


def _queue(session: Session, work: Sequence[_Work], *, wait: bool) -> None:
    """Put jobs, one for each session of the messages.

    Raises:
        Exit: With code 1, if one of those that are waited for was given up.
    """
    with session.open() as mos, busy("Waiting ..." if wait else "Adding ..."):
        jobs = [mos.jobs.add(content, **here) for content, here in work]
        if wait:
            jobs = [_done(mos, job) for job in jobs]
    if session.as_json:
        emit({"jobs": jobs})
    else:
        for job in jobs:
            say(f"{job.id} {job.state}{f': {job.cause}' if job.cause else ''}" if wait else job.id)
    if any(job.state == "failed" for job in jobs):
        raise typer.Exit(_FAILED)


def _done(mos: MOS, job: JobStatus) -> JobStatus:
    """Return how a job ended. What is due is done here, in case that no server does it."""
    while job.state not in ("done", "failed"):
        mos.jobs.run()
        job = mos.jobs.wait(job.id, timeout_s=_LOOK_S)
    return job


def _tell(session: Session, ids: Sequence[str], stored: Sequence[bool]) -> None:
    if session.as_json:
        emit({"ids": ids, "stored": stored})
        return
    known = len(ids) - sum(stored)
    also = f", {known} known already" if known else ""
    say(f"{sum(stored)} stored{also}")
    for stored_id in ids[:_SHOWN]:
        say(stored_id)
    if len(ids) > _SHOWN:
        say(f"... and {len(ids) - _SHOWN} more; --json names them all")


def read_info(pairs: Sequence[str]) -> dict[str, object]:
    """Return the mapping that ``key=text`` and ``key:=JSON`` describe.

    Raises:
        InvalidInput: A pair has no key, no value, or malformed JSON.
    """
    found: dict[str, object] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.removesuffix(":"):
            raise InvalidInput(f"--info {pair!r}: expected key=text or key:=JSON", code="usage")
        if key.endswith(":"):
            found[key.removesuffix(":")] = read_json(value, f"--info {key}")
        else:
            found[key] = value
    return found


def read_json(text: str, where: str) -> object:
    """Return the value of a JSON text.

    Raises:
        InvalidInput: It is malformed.
    """
    try:
        return cast("object", json.loads(text))
    except json.JSONDecodeError as error:
        raise InvalidInput(
            f"{where} is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}",
            code="invalid_json",
        ) from None
    except (ValueError, RecursionError):  # too many digits, or brackets
        raise InvalidInput(f"{where} is not JSON that can be read", code="invalid_json") from None


def read_messages(path: Path) -> Iterator[tuple[str | None, list[object]]]:
    """Yield the messages of a file, in runs of the same ``session`` field.

    Raises:
        InvalidInput: The file cannot be read or holds no messages.
    """
    text = _decode(_bytes(path), path.name)
    if path.suffix.lower() == ".jsonl":
        lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        loaded: object = [read_json(line, f"{path.name}, line {number},") for number, line in lines]
    else:
        loaded = read_json(text, path.name)
    if isinstance(loaded, Mapping):
        wrapped = cast("Mapping[str, object]", loaded)
        loaded = wrapped.get("messages", [wrapped])
    if not isinstance(loaded, list) or not loaded:
        raise InvalidInput(f"{path.name} holds no list of messages", code="empty")
    for named, run in groupby(cast("list[object]", loaded), key=_session):
        yield named, [_without_session(message) for message in run]


def _session(message: object) -> str | None:
    if not isinstance(message, Mapping):
        return None
    named = cast("Mapping[str, object]", message).get("session")
    return named if isinstance(named, str) and named else None


def _without_session(message: object) -> object:
    if _session(message) is None:
        return message
    fields = cast("Mapping[str, object]", message)
    return {name: value for name, value in fields.items() if name != "session"}


def _text(text: str | None) -> str:
    if text is not None and text != "-":
        return text
    if text is None and sys.stdin.isatty():
        raise InvalidInput(
            "nothing to add: give a text, --file, --messages, or pipe it in", code="usage"
        )
    return _decode(sys.stdin.buffer.read(), "standard input")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}", code="no_file") from None


def _decode(content: bytes, where: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"{where}: byte {error.start} is not UTF-8; convert it first", code="invalid_text"
        ) from None
