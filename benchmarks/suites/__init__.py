"""Loaders: each reads one data set in the format in which its authors publish it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.cases import Conversation, DataError, Suite
from benchmarks.suites.beam import load_beam
from benchmarks.suites.locomo import load_locomo
from benchmarks.suites.longmemeval import load_longmemeval
from benchmarks.suites.memdaily import load_memdaily
from benchmarks.suites.personamem import load_personamem
from benchmarks.suites.prefeval import load_prefeval

LOADERS: Mapping[str, Callable[[Path], tuple[Conversation, ...]]] = {
    "locomo": load_locomo,
    "longmemeval": load_longmemeval,
    "beam": load_beam,
    "prefeval": load_prefeval,
    "memdaily": load_memdaily,
    "personamem": load_personamem,
}


def load(name: str, path: Path) -> Suite:
    """Read the suite ``name`` from a file or folder.

    Raises:
        DataError: The suite is unknown, or ``path`` does not hold it.
    """
    if name not in LOADERS:
        raise DataError(f"unknown suite {name!r}; there are {', '.join(LOADERS)}")
    if not path.exists():
        raise DataError(f"{path} does not exist")
    try:
        conversations = LOADERS[name](path)
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise DataError(f"{path} does not have the format of {name}: {error!r}") from error
    if not conversations:
        raise DataError(f"nothing of {name} found in {path}")
    return Suite(name, conversations)
