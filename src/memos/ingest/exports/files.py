"""What an export holds, whichever program made it; the form is found out, or given."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final, TypeAlias, cast

from memos.errors import InvalidInput
from memos.ingest.exports import conversations as forms
from memos.ingest.exports import stream
from memos.ingest.exports.conversations import Conversation, Format
from memos.ingest.reader import Document, decode
from memos.progress import Progress

_LINES: Final = frozenset({".jsonl", ".ndjson"})
_MARKDOWN: Final = frozenset({".md", ".markdown"})
_ENTRY: Final = "conversations.json"
_EXPANSION: Final = 100
"""How many times its size an archive may grow when it is read."""
_FREE_EXPANSION: Final = 64 * 1024 * 1024
_READERS: Final[Mapping[Format, Callable[[object, str], Conversation]]] = {
    "chatgpt": forms.chatgpt,
    "claude": forms.claude,
    "messages": forms.plain,
}


@dataclass(frozen=True, slots=True)
class Refused:
    """A part of an export that cannot be read, and why."""

    name: str
    reason: str


Part: TypeAlias = Conversation | Document | Refused


def read(path: Path, format: Format | None, progress: Progress) -> Iterator[Part]:
    """Yield the conversations or documents of an export, in order.

    Args:
        path: A JSON or JSONL file, a .zip with ``conversations.json``, a Markdown file or a folder
            of them.
        format: The form; None to find it out.
        progress: Called with (bytes read, bytes in all).

    Raises:
        InvalidInput: There is no such file, or nothing in it that can be imported.
    """
    if path.is_dir() and format != "markdown" and (path / _ENTRY).is_file():
        path = path / _ENTRY
    if path.is_dir() or path.suffix.lower() in _MARKDOWN or format == "markdown":
        yield from _documents(path, progress)
        return
    with ExitStack() as stack:
        source, total = stack.enter_context(_opened(path))
        done = 0

        def read_bytes(count: int) -> None:
            nonlocal done
            done += count
            progress(done, max(done, total))

        by_line = path.suffix.lower() in _LINES
        values = (stream.lines if by_line else stream.entries)(source, path.name, read_bytes)
        try:
            yield from _parts(values, format, path)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise InvalidInput(
                f"{path.name} cannot be unpacked ({error})", code="invalid_export"
            ) from None


def _parts(values: Iterator[object], format: Format | None, path: Path) -> Iterator[Part]:
    first = next(values, None)
    if first is None:
        return
    found = format or forms.form_of(first)
    if found is None or found == "markdown":
        raise InvalidInput(
            f"{path.name}: no form that is known; name one of chatgpt, claude, messages, markdown",
            code="unknown_export",
        )
    everything = chain([first], values)
    if found == "messages" and isinstance(first, Mapping) and "messages" not in first:
        yield from _sessions(everything, path)
        return
    for index, value in enumerate(everything):
        alone = index == 0 and found == "messages"
        yield _one(_READERS[found], value, path.stem if alone else f"{path.stem}[{index}]")


def _sessions(values: Iterable[object], path: Path) -> Iterator[Part]:
    """Yield runs of messages with the same ``session``."""
    run: list[object] = []
    named = path.stem
    for value in values:
        session = _session(value) or path.stem
        if run and session != named:
            yield _one(forms.plain, {"session": named, "messages": run}, named)
            run = []
        named = session
        run.append(value)
    if run:
        yield _one(forms.plain, {"session": named, "messages": run}, named)


def _session(value: object) -> str | None:
    if not isinstance(value, Mapping):
        return None
    session = cast("Mapping[str, object]", value).get("session")
    return session if isinstance(session, str) and session else None


def _one(reader: Callable[[object, str], Conversation], value: object, where: str) -> Part:
    try:
        return reader(value, where)
    except InvalidInput as error:
        return Refused(where, error.detail)


@contextmanager
def _opened(path: Path) -> Generator[tuple[BinaryIO, int]]:
    """Open a JSON file, or the one in a .zip."""
    with ExitStack() as stack:
        try:
            if zipfile.is_zipfile(path):
                archive = stack.enter_context(zipfile.ZipFile(path))
                entry = _entry(archive, path)
                source = cast("BinaryIO", stack.enter_context(archive.open(entry)))
                size = entry.file_size
            else:
                source = stack.enter_context(path.open("rb"))
                size = path.stat().st_size
        except FileNotFoundError:
            raise InvalidInput(f"there is no file {str(path)!r}", code="no_file") from None
        except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
            raise InvalidInput(f"{path.name} cannot be read: {error}", code="no_file") from None
        yield source, size


def _entry(archive: zipfile.ZipFile, path: Path) -> zipfile.ZipInfo:
    for entry in archive.infolist():
        if PurePosixPath(entry.filename).name == _ENTRY:
            if entry.file_size > max(_FREE_EXPANSION, _EXPANSION * path.stat().st_size):
                raise InvalidInput(
                    f"{path.name} would unpack to {entry.file_size} bytes, more than {_EXPANSION} "
                    "times its size; it is refused",
                    code="zip_bomb",
                )
            return entry
    raise InvalidInput(f"{path.name} holds no {_ENTRY}", code="unknown_export")


def _documents(path: Path, progress: Progress) -> Iterator[Part]:
    """Yield Markdown files, below a folder by their relative path; links are not followed."""
    base = path if path.is_dir() else path.parent
    paths = [path] if path.is_file() else sorted(path.rglob("*"))
    files = [
        p for p in paths if p.suffix.lower() in _MARKDOWN and p.is_file() and not p.is_symlink()
    ]
    if not files:
        raise InvalidInput(f"{str(path)!r} holds no Markdown files", code="no_file")
    total = sum(file.stat().st_size for file in files)
    done = 0
    for file in files:
        name = file.relative_to(base).as_posix()
        try:
            content = file.read_bytes()
            yield Document(name, decode(name, content))
        except (InvalidInput, OSError) as error:
            yield Refused(name, str(error))
            continue
        done += len(content)
        progress(done, max(done, total))
