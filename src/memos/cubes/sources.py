"""What a path holds: a dump of ours, a dump of MemOS, or neither."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from memos.cubes import containers
from memos.cubes.load import DumpedCube, Incoming


@contextmanager
def opened(source: Path, serving: str) -> Generator[Incoming]:
    """Open and verify what is to be loaded.

    Args:
        source: A directory or an archive.
        serving: The embedder that will serve.

    Raises:
        InvalidInput: There is nothing that can be loaded.
        DataError: It is damaged or unfinished.
    """
    with containers.reading(source) as container:
        yield DumpedCube.open(container, serving)
