"""The bundled model: a 4-bit table of words, a small encoder, a SentencePiece tokenizer.

The word table stays on disk, memory-mapped; only the rows of the words at hand are expanded, so
that the 384 MB of its floats never are in memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from memos.errors import ConfigError
from memos.models.onnx.driver import Session, read_config, unusable
from memos.models.onnx.encoder import Card, Ids
from memos.models.onnx.settings import OnnxSettings, digest
from memos.ports.models import EmbedRole, Vectors

BUNDLED = Path(__file__).parents[1] / "e5small"
MANIFEST = "manifest.json"

_ENCODER, _TOKENIZER, _WORDS = "encoder.onnx", "tokenizer.model", "words.q4"
_SCALE_BYTES = 2
_MIDDLE = 8


class FileFacts(BaseModel):
    """What the manifest promises of one file."""

    model_config = ConfigDict(frozen=True)

    size: int
    sha256: str


class Manifest(BaseModel):
    """What ``scripts/build_embedder.py`` wrote about the artifact."""

    model_config = ConfigDict(frozen=True)

    name: str
    dimensions: int
    max_tokens: int
    words: int
    block: int
    bos: int
    eos: int
    prefixes: Mapping[EmbedRole, str]
    files: Mapping[str, FileFacts]


def card(path: Path, settings: OnnxSettings) -> Card:
    """Describe the artifact after a look at the sizes of its files.

    Raises:
        ConfigError: A file is missing or has another size than the manifest says.
    """
    manifest = read_config(path / MANIFEST, Manifest)
    for name in (_ENCODER, _TOKENIZER, _WORDS):
        _check_size(path / name, manifest.files.get(name))
    prefixes = settings.prefixes(manifest.prefixes)
    name = manifest.name
    if prefixes != manifest.prefixes:
        name = f"{name}-{digest(prefixes)}"
    return Card(name, manifest.dimensions, prefixes, lambda: BundledModel(path, manifest))


def _check_size(path: Path, facts: FileFacts | None) -> None:
    if facts is None:
        raise unusable(path.with_name(MANIFEST), f"it does not list {path.name!r}")
    if not path.is_file():
        raise ConfigError(
            f"model file {str(path)!r} is missing; install the package again, or rebuild it with "
            "scripts/build_embedder.py",
            code="model_missing",
            path=str(path),
        )
    if (size := path.stat().st_size) != facts.size:
        raise unusable(path, f"it has {size} bytes instead of {facts.size}")


def _check_content(path: Path, facts: FileFacts) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != facts.sha256:
        raise unusable(path, f"its sha256 is {found} instead of {facts.sha256}")


class _Tokenizer(Protocol):
    """The part of SentencePieceProcessor that is used."""

    def encode(self, text: str, /) -> list[int]: ...


class BundledModel:
    """The loaded artifact.

    Raises:
        ConfigError: A file does not have the content that the manifest says.
    """

    rows = 1
    """Windows of one run. Activations share one scale per run: with one window, a text's vector
    does not depend on its neighbours."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self._manifest = manifest
        # The tokenizer takes as long as all the rest together, and leaves the interpreter free.
        with ThreadPoolExecutor(1) as beside:
            _check_content(path / _TOKENIZER, manifest.files[_TOKENIZER])
            tokenizer = beside.submit(_load_tokenizer, path / _TOKENIZER)
            for name in (_ENCODER, _WORDS):
                _check_content(path / name, manifest.files[name])
            self._session = Session(path / _ENCODER)
            self._words = WordTable.open(path / _WORDS, manifest)
            self._tokenizer = tokenizer.result()

    @property
    def window(self) -> int:
        """Most tokens of one window, without the special ones."""
        return self._manifest.max_tokens - 2

    def tokens(self, text: str) -> Ids:
        """Return the tokens of a text without special ones."""
        return self._tokenizer.encode(text)

    def pooled(self, windows: Sequence[Ids]) -> Vectors:
        """Return the mean of the token vectors of the single window."""
        (window,) = windows
        ids = np.array([self._manifest.bos, *window, self._manifest.eos])
        return self._session.run("pooled", {"inputs_embeds": self._words.rows(ids)[np.newaxis]})


def _load_tokenizer(path: Path) -> _Tokenizer:
    # Imported here for the reason given in ``driver``.
    import sentencepiece  # noqa: PLC0415

    return sentencepiece.SentencePieceProcessor(model_file=str(path))


@dataclass(frozen=True, slots=True)
class WordTable:
    """Word vectors in blocks of 4-bit numbers, each block with a half-precision scale."""

    blocks: NDArray[np.uint8]

    @classmethod
    def open(cls, path: Path, manifest: Manifest) -> WordTable:
        """Map the file into memory."""
        per_word = manifest.dimensions // manifest.block
        shape = (manifest.words, per_word, _SCALE_BYTES + manifest.block // 2)
        return cls(np.memmap(path, np.uint8, mode="r", shape=shape))

    def rows(self, ids: NDArray[np.int64]) -> Vectors:
        """Return the vectors of these words in full precision."""
        blocks = self.blocks[ids]
        scales = blocks[..., :_SCALE_BYTES].copy().view("<f2").astype(np.float32)
        packed = blocks[..., _SCALE_BYTES:]
        # Byte j of a block of 32 holds the numbers j (low half) and j + 16 (high half).
        values = np.concatenate([packed & 15, packed >> 4], axis=-1).astype(np.float32)
        return ((values - _MIDDLE) * scales).reshape(len(ids), -1)
