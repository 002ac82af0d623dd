"""Model directories in the layout that Hugging Face tools export.

Read are ``model.onnx`` (or ``onnx/model.onnx``), ``tokenizer.json``, ``config.json`` and, where
present, ``1_Pooling/config.json`` and ``sentence_bert_config.json``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from memos.errors import ConfigError
from memos.models.onnx.driver import Session, read_config, unusable
from memos.models.onnx.encoder import Card, Ids
from memos.models.onnx.settings import OnnxSettings, digest
from memos.ports.models import EmbedRole, Vectors

_MODELS = ("model.onnx", "onnx/model.onnx")
_OUTPUTS = ("sentence_embedding", "last_hidden_state", "token_embeddings", "pooler_output")
_POOLED_RANK = 2
"""Rank of an output that the graph has pooled by itself."""
INPUTS = frozenset({"input_ids", "attention_mask", "token_type_ids"})
_NO_PREFIX: Mapping[EmbedRole, str] = {"query": "", "passage": ""}

Pooling: TypeAlias = Literal["mean", "cls"]


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True)

    hidden_size: int
    model_type: str = ""
    max_position_embeddings: int = 512
    pad_token_id: int | None = 0

    @property
    def positions(self) -> int:
        # RoBERTa and its kin number their positions from the padding id on.
        if "roberta" in self.model_type or self.model_type == "camembert":
            return self.max_position_embeddings - (self.pad_token_id or 0) - 1
        return self.max_position_embeddings


class _Lengths(BaseModel):
    model_config = ConfigDict(frozen=True)

    max_seq_length: int | None = None


class _Pooling(BaseModel):
    model_config = ConfigDict(frozen=True)

    pooling_mode_cls_token: bool = False
    pooling_mode_mean_tokens: bool = False


@dataclass(frozen=True, slots=True)
class _Plan:
    """What the small files of the directory say about using the model."""

    model: Path
    tokenizer: Path
    dimensions: int
    tokens: int
    pad: int
    pooling: Pooling


def card(path: Path, settings: OnnxSettings) -> Card:
    """Describe the model in a directory from its small files.

    Raises:
        ConfigError: A file is missing or says something that is not supported.
    """
    plan = _plan(path, settings.batch_tokens)
    prefixes = settings.prefixes(_NO_PREFIX)
    facts = digest(
        (path / "config.json").read_bytes(),
        plan.tokenizer.stat().st_size,
        plan.model.stat().st_size,
        plan.pooling,
        plan.tokens,
        prefixes,
    )
    return Card(
        f"{path.resolve().name}-{facts}", plan.dimensions, prefixes, lambda: ExportedModel(plan)
    )


@dataclass(frozen=True, slots=True)
class Files:
    """The files of a model directory, its most tokens, and the token that pads."""

    model: Path
    tokenizer: Path
    tokens: int
    pad: int


def files(path: Path, most: int) -> Files:
    """Look at a model directory, whatever the model is for.

    Raises:
        ConfigError: A file is missing or cannot be used.
    """
    model, tokenizer = _found(path)
    config = read_config(path / "config.json", _Config)
    return Files(model, tokenizer, min(config.positions, most), config.pad_token_id or 0)


def _found(path: Path) -> tuple[Path, Path]:
    model = next((path / name for name in _MODELS if (path / name).is_file()), None)
    tokenizer = path / "tokenizer.json"
    if model is None or not tokenizer.is_file():
        missing = "tokenizer.json" if model else " or ".join(_MODELS)
        raise ConfigError(
            f"model directory {str(path)!r} has no {missing}; name a directory exported for ONNX",
            code="model_missing",
            path=str(path),
        )
    return model, tokenizer


def _plan(path: Path, batch_tokens: int) -> _Plan:
    model, tokenizer = _found(path)
    config = read_config(path / "config.json", _Config)
    tokens = min(config.positions, batch_tokens)
    lengths = path / "sentence_bert_config.json"
    if lengths.is_file() and (length := read_config(lengths, _Lengths).max_seq_length):
        tokens = min(tokens, length)
    pad = config.pad_token_id or 0
    return _Plan(model, tokenizer, config.hidden_size, tokens, pad, _pooling(path))


def _pooling(path: Path) -> Pooling:
    file = path / "1_Pooling" / "config.json"
    if not file.is_file():
        return "mean"
    modes = read_config(file, _Pooling)
    if modes.pooling_mode_mean_tokens == modes.pooling_mode_cls_token:
        raise unusable(file, "it asks for a pooling other than the mean or the first token alone")
    return "mean" if modes.pooling_mode_mean_tokens else "cls"


class _Encoding(Protocol):
    @property
    def ids(self) -> list[int]: ...
    @property
    def type_ids(self) -> list[int]: ...


class PairTokenizer(Protocol):
    """The part of ``tokenizers.Tokenizer`` that is used."""

    def encode(
        self, text: str, pair: str | None = None, /, *, add_special_tokens: bool = True
    ) -> _Encoding:
        """Return the tokens of a text, or of a pair."""
        ...

    def token_to_id(self, token: str, /) -> int | None:
        """Return the number of a token of the vocabulary."""
        ...

    def enable_truncation(self, max_length: int, *, strategy: str) -> None:
        """Cut what is longer."""
        ...

    def no_truncation(self) -> None:
        """Cut nothing."""
        ...

    def no_padding(self) -> None:
        """Pad nothing."""
        ...


class ExportedModel:
    """A loaded model directory.

    Raises:
        ConfigError: The graph or the tokenizer cannot be used.
    """

    rows = 64

    def __init__(self, plan: _Plan) -> None:
        self._plan = plan
        self._session = opened(plan.model)
        self._output = _output(plan.model, self._session.outputs)
        self._tokenizer = load_tokenizer(plan.tokenizer)
        self._before, self._after = special_tokens(self._tokenizer)

    @property
    def window(self) -> int:
        """Most tokens of one window, without the special ones."""
        return self._plan.tokens - len(self._before) - len(self._after)

    def tokens(self, text: str) -> Ids:
        """Return the tokens of a text without special ones."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def pooled(self, windows: Sequence[Ids]) -> Vectors:
        """Return one vector per window."""
        full = [[*self._before, *window, *self._after] for window in windows]
        shape = (len(full), max(map(len, full)))
        ids = np.full(shape, self._plan.pad, np.int64)
        mask = np.zeros(shape, np.int64)
        for row, window in enumerate(full):
            ids[row, : len(window)] = window
            mask[row, : len(window)] = 1
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        wanted = {name: feeds[name] for name in self._session.inputs}
        return self._checked(self._reduced(self._session.run(self._output, wanted), mask))

    def _reduced(self, output: Vectors, mask: NDArray[np.int64]) -> Vectors:
        if output.ndim == _POOLED_RANK:
            return output
        if self._plan.pooling == "cls":
            return output[:, 0]
        weights = mask[..., np.newaxis].astype(np.float32)
        return (output * weights).sum(axis=1) / weights.sum(axis=1)

    def _checked(self, vectors: Vectors) -> Vectors:
        if vectors.shape[-1] != self._plan.dimensions:
            raise unusable(
                self._plan.model,
                f"its vectors have {vectors.shape[-1]} dimensions, config.json says "
                f"{self._plan.dimensions}",
            )
        return vectors.astype(np.float32, copy=False)


def _output(path: Path, outputs: Mapping[str, int]) -> str:
    """Choose the output: an embedding that the graph makes, else the states of the tokens."""
    for name in _OUTPUTS:
        if name in outputs:
            return name
    raise unusable(path, f"none of its outputs {sorted(outputs)} is an embedding")


def opened(model: Path) -> Session:
    """Return a graph whose inputs are those of a text's tokens.

    Raises:
        ConfigError: It has others.
    """
    session = Session(model)
    if unknown := session.inputs - INPUTS:
        raise unusable(model, f"it has the inputs {sorted(unknown)}")
    return session


def load_tokenizer(path: Path) -> PairTokenizer:
    """Load a tokenizer that neither cuts nor pads.

    Raises:
        ConfigError: The file is none.
    """
    # Imported here for the reason given in ``driver``.
    from tokenizers import Tokenizer  # noqa: PLC0415

    try:
        # From a buffer, because the other constructors raise bare ``Exception``.
        tokenizer: PairTokenizer = Tokenizer.from_buffer(path.read_bytes())
    except ValueError as error:
        raise unusable(path, str(error)) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def special_tokens(tokenizer: PairTokenizer) -> tuple[Ids, Ids]:
    """Return the tokens that belong before and after every window."""
    plain = tokenizer.encode("a", add_special_tokens=False).ids
    full = tokenizer.encode("a").ids
    for start in range(len(full) - len(plain) + 1):
        if full[start : start + len(plain)] == plain:
            return full[:start], full[start + len(plain) :]
    return (), ()
