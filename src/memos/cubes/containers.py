"""Directories and archives that a dump is written to and read from.

Both are written aside and renamed when they are complete. What is read is never trusted: names
come from the manifest alone, sizes are checked before bytes are taken, links are refused.
"""

from __future__ import annotations

import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from memos.cubes import format as form
from memos.errors import DataError, InvalidInput, StoreError

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_EXPANSION: Final = 200
"""How many times its size an archive may grow when it is read."""
_FREE_EXPANSION: Final = 256 * 1024 * 1024


class Sink(Protocol):
    """Takes the files of a dump, one after the other."""

    def add(self, name: str, content: bytes) -> None:
        """Store a file durably."""
        ...


class Container(Protocol):
    """Gives the files of a dump."""

    def read(self, name: str, limit: int) -> bytes:
        """Return a file's bytes.

        Raises:
            DataError: There is none, it is larger than ``limit``, or no plain file.
        """
        ...


@contextmanager
def writing(target: Path) -> Generator[Sink]:
    """Write a dump: an archive when the name ends in ``.memcube``, else a directory.

    Raises:
        InvalidInput: The directory is not empty, or the archive exists.
        StoreError: It cannot be written.
    """
    archive = target.suffix == form.SUFFIX
    taken = target.exists() and (archive or not target.is_dir() or any(target.iterdir()))
    if taken:
        raise InvalidInput(
            f"{str(target)!r} exists already and is not empty; dump to another place",
            code="target_exists",
        )
    aside = target.with_name(f"{target.name}{form.UNFINISHED}")
    with _mapped(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove(aside)  # what an interrupted dump left
        try:
            with _ZipSink.open(aside) if archive else _FolderSink.open(aside) as sink:
                yield sink
            aside.replace(target)
            _sync(target.parent)
        finally:
            _remove(aside)


@contextmanager
def reading(source: Path) -> Generator[Container]:
    """Read a dump from a directory or an archive.

    Raises:
        InvalidInput: There is neither.
        DataError: The dump is unfinished, or the archive is damaged.
    """
    if source.is_dir():
        yield _Folder(source)
    elif source.is_file():
        with _archive(source) as archive:
            yield archive
    else:
        raise InvalidInput(f"there is no dump at {str(source)!r}", code="no_dump")


def is_archive(source: Path) -> bool:
    """Whether a file is a zip archive with a manifest in it."""
    if not zipfile.is_zipfile(source):
        return False
    with zipfile.ZipFile(source) as archive:
        return form.MANIFEST in archive.namelist()


class _FolderSink:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    @contextmanager
    def open(cls, folder: Path) -> Generator[_FolderSink]:
        folder.mkdir(mode=0o700)
        yield cls(folder)
        _sync(folder)

    def add(self, name: str, content: bytes) -> None:
        path = self._folder / name
        path.parent.mkdir(exist_ok=True)
        with path.open("xb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())


class _ZipSink:
    """Entries carry one fixed time, so that equal dumps are equal archives."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Generator[_ZipSink]:
        with path.open("xb") as out:
            path.chmod(0o600)
            with zipfile.ZipFile(out, "w") as archive:
                yield cls(archive)
            out.flush()
            os.fsync(out.fileno())

    def add(self, name: str, content: bytes) -> None:
        entry = zipfile.ZipInfo(name, _EPOCH)
        entry.external_attr = 0o600 << 16
        text = name.endswith((".jsonl", ".json"))
        entry.compress_type = zipfile.ZIP_DEFLATED if text else zipfile.ZIP_STORED
        self._archive.writestr(entry, content)


class _Folder:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, name: str, limit: int) -> bytes:
        path = self._folder / name
        plain = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        try:
            if path.parent != self._folder and path.parent.is_symlink():
                raise form.damaged(name, "its folder is a link")
            file = os.open(path, plain)
        except FileNotFoundError:
            raise _missing(name, unfinished=name == form.MANIFEST) from None
        except OSError as error:
            raise form.damaged(name, f"it cannot be read ({error.strerror})") from None
        with os.fdopen(file, "rb") as stream:
            facts = os.fstat(file)
            if not stat.S_ISREG(facts.st_mode):
                raise form.damaged(name, "it is no plain file")
            return _limited(stream.read(limit + 1), name, limit)


class _Zip:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._entries = {entry.filename: entry for entry in archive.infolist()}

    def read(self, name: str, limit: int) -> bytes:
        entry = self._entries.get(name)
        if entry is None:
            raise _missing(name, unfinished=name == form.MANIFEST)
        try:
            with self._archive.open(entry) as stream:
                return _limited(stream.read(limit + 1), name, limit)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError,
                OSError, ValueError) as error:  # fmt: skip
            raise form.damaged(name, f"it cannot be unpacked ({error})") from None


@contextmanager
def _archive(source: Path) -> Generator[_Zip]:
    try:
        archive = zipfile.ZipFile(source)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, OSError, ValueError) as error:
        raise DataError(
            f"{source.name} is no archive, or only the beginning of one ({error}); dump it anew",
            code="damaged_dump",
        ) from None
    with archive:
        _check_entries(archive, source)
        yield _Zip(archive)


def _check_entries(archive: zipfile.ZipFile, source: Path) -> None:
    """Refuse an archive that would unpack to far more than it is, or to something else."""
    entries = archive.infolist()
    if len({entry.filename for entry in entries}) < len(entries):
        raise form.damaged(source.name, "two of its entries have the same name")
    for entry in entries:
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise form.damaged(source.name, f"entry {entry.filename!r} is a link")
        if entry.filename != form.MANIFEST and not form.is_name(entry.filename):
            raise form.damaged(source.name, f"entry {entry.filename!r} belongs to no dump")
    total = sum(entry.file_size for entry in entries)
    if total > max(_FREE_EXPANSION, _EXPANSION * source.stat().st_size):
        raise DataError(
            f"{source.name} would unpack to {total} bytes, more than {_EXPANSION} times its size; "
            "it is refused",
            code="zip_bomb",
        )


def _limited(content: bytes, name: str, limit: int) -> bytes:
    if len(content) > limit:
        raise form.damaged(name, "it is larger than it should be")
    return content


def _missing(name: str, *, unfinished: bool) -> DataError:
    if unfinished:
        return DataError(
            f"there is no {form.MANIFEST}: this is no dump, or one that was not finished; "
            "dump the cube again",
            code="unfinished_dump",
        )
    return form.damaged(name, "it is not there")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def _mapped(target: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{str(target)!r} cannot be written: {error.strerror or error}",
            service="dump",
            code="dump_failed",
        ) from error
