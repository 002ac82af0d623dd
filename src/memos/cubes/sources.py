"""What is to be loaded, wherever it is: a dump of ours, a dump of MemOS, an address of either."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from hashlib import file_digest, sha256
from pathlib import Path

from memos.cubes import containers, foreign, remote
from memos.cubes import format as form
from memos.cubes.foreign import ForeignCube
from memos.cubes.load import DumpedCube, Incoming
from memos.errors import InvalidInput
from memos.network import Policy
from memos.progress import Progress


@contextmanager
def opened(
    source: str | Path,
    serving: str,
    policy: Policy,
    *,
    expected: str | None = None,
    progress: Progress | None = None,
) -> Generator[Incoming]:
    """Fetch, open and verify what is to be loaded.

    Args:
        source: A directory, an archive, an http(s) address of an archive, or a git repository.
        serving: The embedder that will serve.
        policy: What addresses may be reached.
        expected: SHA-256 of the archive, or of a directory's ``manifest.json``.
        progress: Called while an archive is fetched.

    Raises:
        InvalidInput: There is nothing that can be loaded.
        Forbidden: The address is not public.
        StoreError: It cannot be fetched.
        DataError: It is damaged, unfinished, or not what was expected.
    """
    with ExitStack() as stack:
        if isinstance(source, str) and remote.is_remote(source):
            path = stack.enter_context(remote.fetched(source, policy, progress))
        else:
            path = Path(source)
        if path.is_dir():
            path = _inside(path)
        if expected is not None:
            remote.check_digest(expected, _digest(path))
        if path.is_dir() and not (path / form.MANIFEST).exists() and foreign.is_foreign(path):
            yield ForeignCube.open(path)
            return
        container = stack.enter_context(containers.reading(path))
        yield DumpedCube.open(container, serving)


def _inside(folder: Path) -> Path:
    """Return the one archive of a directory that is no dump itself, else the directory."""
    if (folder / form.MANIFEST).exists() or foreign.is_foreign(folder):
        return folder
    archives = [p for p in folder.glob(f"*{form.SUFFIX}") if p.is_file() and not p.is_symlink()]
    return archives[0] if len(archives) == 1 else folder


def _digest(path: Path) -> str:
    try:
        if path.is_dir():
            return sha256((path / form.MANIFEST).read_bytes()).hexdigest()
        with path.open("rb") as stream:
            return file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:
        raise InvalidInput(f"there is no dump at {str(path)!r}", code="no_dump") from None


def is_dump(source: str) -> bool:
    """Whether a source is an address, or a path that looks like a dump: finished or not."""
    if remote.is_remote(source) or source.endswith((form.SUFFIX, form.UNFINISHED)):
        return True
    path = Path(source)
    if path.is_dir():
        unfinished = any(form.is_name(entry.name) for entry in path.iterdir())
        return unfinished or (path / form.MANIFEST).exists() or foreign.is_foreign(path)
    return path.is_file() and containers.is_archive(path)
