"""Sentence Transformers, loaded on first use, and its failures as errors of this package."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from memos.errors import ConfigError, ModelError


class Encoder(Protocol):
    """The part of ``SentenceTransformer`` that is used."""

    def get_sentence_embedding_dimension(self) -> int | None:
        """Return the length of a vector."""
        ...

    def encode(
        self, sentences: list[str], *, batch_size: int, show_progress_bar: bool
    ) -> NDArray[np.float32]:
        """Return one vector per sentence."""
        ...


class PairScorer(Protocol):
    """The part of ``CrossEncoder`` that is used."""

    def predict(
        self, sentences: Sequence[tuple[str, str]], *, batch_size: int, show_progress_bar: bool
    ) -> NDArray[np.float32]:
        """Return one score per pair."""
        ...


class _Library(Protocol):
    def SentenceTransformer(  # noqa: N802 - the library's name
        self, path: str, *, device: str | None, local_files_only: bool
    ) -> Encoder: ...

    def CrossEncoder(  # noqa: N802 - the library's name
        self, path: str, *, device: str | None, local_files_only: bool
    ) -> PairScorer: ...


@cache
def _library() -> _Library:
    """Import the library, which takes many seconds and which only an opened adapter needs."""
    return cast("_Library", import_module("sentence_transformers"))


def open_encoder(path: Path, device: str | None) -> Encoder:
    """Load an embedder from a directory.

    Raises:
        ConfigError: The directory holds none.
    """
    library = _library()
    with _loading(path):
        return library.SentenceTransformer(str(path), device=device, local_files_only=True)


def open_scorer(path: Path, device: str | None) -> PairScorer:
    """Load a cross-encoder from a directory.

    Raises:
        ConfigError: The directory holds none.
    """
    library = _library()
    with _loading(path):
        return library.CrossEncoder(str(path), device=device, local_files_only=True)


@contextmanager
def mapped(path: Path) -> Generator[None, None, None]:
    """Turn what PyTorch raises while it runs a model into a ``ModelError``."""
    try:
        yield
    except (RuntimeError, ValueError, IndexError) as error:
        raise ModelError(
            f"the model in {str(path)!r} failed ({type(error).__name__}); try a smaller "
            "batch_size, or another device",
            service=path.name,
            code="model_run",
        ) from error


@contextmanager
def _loading(path: Path) -> Generator[None, None, None]:
    if not path.is_dir():
        raise ConfigError(
            f"there is no model directory {str(path)!r}; nothing is downloaded, name a directory",
            code="model_missing",
            path=str(path),
        )
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, AttributeError) as error:
        raise ConfigError(
            f"model directory {str(path)!r} cannot be used ({type(error).__name__}); "
            "name one that Sentence Transformers wrote",
            code="model_unusable",
            path=str(path),
        ) from error
