"""Late interaction inside this process: a ColBERT directory exported for ONNX.

Question and text go through the model apart; the score is the sum, over the question's tokens, of
the highest cosine with a token of the text (MaxSim: O. Khattab, M. Zaharia, ColBERT, SIGIR 2020).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from string import punctuation
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from memos._offload import Offload
from memos.models.onnx.driver import Session, read_config, unusable
from memos.models.onnx.encoder import Ids
from memos.models.onnx.export import (
    Files,
    PairTokenizer,
    files,
    load_tokenizer,
    opened,
    special_tokens,
)
from memos.models.onnx.projection import Layer, layers
from memos.models.onnx.reranker import OnnxReranker, checked
from memos.ports.backend import Backend, Opened, Role
from memos.ports.models import Vectors

_TOKEN_OUTPUTS: Final = ("token_embeddings", "last_hidden_state")
_TOKEN_RANK: Final = 3
_MASKS: Final = ("[MASK]", "<mask>")
_LEAST_NORM: Final = 1e-12

_Side = Literal["query", "document"]


class LateSettings(BaseModel):
    """Which late-interaction model to use.

    Attributes:
        path: A directory with `model.onnx` (or `onnx/model.onnx`), `tokenizer.json` and
            `config.json`; `1_Dense`, `config_sentence_transformers.json` (PyLate) and
            `artifact.metadata` (ColBERT) are read where they are there.
        batch_size: Texts of one run.
        max_tokens: Most tokens of a text; the model's own limit when that is less.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["late-interaction"] = "late-interaction"
    path: Path
    batch_size: int = Field(default=16, ge=1)
    max_tokens: int = Field(default=512, ge=16)


class _PyLate(BaseModel):
    """``config_sentence_transformers.json``; other models have this file too, without prefixes."""

    model_config = ConfigDict(frozen=True)

    query_prefix: str = ""
    document_prefix: str = ""
    query_length: int = Field(default=32, ge=4)
    document_length: int = Field(default=180, ge=4)
    do_query_expansion: bool | None = None
    attend_to_expansion_tokens: bool = False
    skiplist_words: Sequence[str] = tuple(punctuation)


class _Stanford(BaseModel):
    """``artifact.metadata`` of a ColBERT checkpoint, with its defaults."""

    model_config = ConfigDict(frozen=True)

    query_marker: str = Field(default="[unused0]", alias="query_token_id")
    doc_marker: str = Field(default="[unused1]", alias="doc_token_id")
    query_maxlen: int = Field(default=32, ge=4)
    doc_maxlen: int = Field(default=220, ge=4)
    attend_to_mask_tokens: bool = False
    mask_punctuation: bool = True


class _Special(BaseModel):
    """What ``tokenizer_config.json`` says of the mask token."""

    model_config = ConfigDict(frozen=True)

    mask_token: str | Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Manner:
    """How a model wants its two sides: what marks them, how long they are, what does not count.

    ``expand`` fills a question up to its length with mask tokens, which count as the others do;
    whether the others see them is ``attend``. Tokens of ``skip`` do not count in a text.
    """

    markers: Mapping[_Side, str]
    lengths: Mapping[_Side, int]
    expand: bool
    attend: bool
    skip: Sequence[str]


def manner(path: Path) -> Manner:
    """Read how a directory's model wants to be used; without its files, no marker and no filling.

    Raises:
        ConfigError: A file says what is not understood.
    """
    if (file := path / "artifact.metadata").is_file():
        stanford = read_config(file, _Stanford)
        return Manner(
            {"query": stanford.query_marker, "document": stanford.doc_marker},
            {"query": stanford.query_maxlen, "document": stanford.doc_maxlen},
            expand=True,
            attend=stanford.attend_to_mask_tokens,
            skip=tuple(punctuation) if stanford.mask_punctuation else (),
        )
    file = path / "config_sentence_transformers.json"
    pylate = read_config(file, _PyLate) if file.is_file() else _PyLate()
    expand = pylate.do_query_expansion
    return Manner(
        {"query": pylate.query_prefix, "document": pylate.document_prefix},
        {"query": pylate.query_length, "document": pylate.document_length},
        # PyLate once always filled, and did not say so.
        expand=bool(pylate.query_prefix) if expand is None else expand,
        attend=pylate.attend_to_expansion_tokens,
        skip=pylate.skiplist_words,
    )


@dataclass(frozen=True, slots=True)
class _Batch:
    """Tokens of some texts, (texts, longest): which the model sees, and which count."""

    ids: NDArray[np.int64]
    seen: NDArray[np.int64]
    counted: NDArray[np.bool_]


class LateEncoder:
    """A loaded directory, by the first question; ``scores`` blocks.

    Of the texts the vectors of one run are held at a time.

    Raises:
        ConfigError: The graph, the tokenizer or a layer cannot be used.
    """

    def __init__(self, found: Files, manner: Manner, path: Path, batch_size: int) -> None:
        self._files = found
        self._manner = manner
        self._path = path
        self._batch_size = batch_size

    def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """Return one score per text: between minus and plus the number of the query's tokens."""
        asked = self._query(self._ids(query, "query"))
        (rows,) = self._vectors(asked)
        wanted = rows[asked.counted[0]]
        every = [self._ids(text, "document") for text in texts]
        # Equal lengths together: padding is computed too.
        order = sorted(range(len(texts)), key=lambda place: len(every[place]))
        scores = [0.0] * len(texts)
        for start in range(0, len(order), self._batch_size):
            places = order[start : start + self._batch_size]
            batch = self._documents([every[place] for place in places])
            near = self._vectors(batch) @ wanted.T
            near = np.where(batch.counted[..., np.newaxis], near, np.float32(-1))
            for place, score in zip(places, near.max(axis=1).sum(axis=1), strict=True):
                scores[place] = float(score)
        return checked(scores, self._files.model)

    @cached_property
    def _session(self) -> Session:
        return opened(self._files.model)

    @cached_property
    def _output(self) -> str:
        outputs = self._session.outputs
        of_tokens = [name for name, rank in outputs.items() if rank == _TOKEN_RANK]
        for name in (*_TOKEN_OUTPUTS, *of_tokens):
            if name in of_tokens:
                return name
        raise unusable(
            self._files.model, f"none of its outputs {sorted(outputs)} has a vector per token"
        )

    @cached_property
    def _layers(self) -> Sequence[Layer]:
        return layers(self._path)

    @cached_property
    def _tokenizer(self) -> PairTokenizer:
        return load_tokenizer(self._files.tokenizer)

    @cached_property
    def _around(self) -> tuple[Ids, Ids]:
        return special_tokens(self._tokenizer)

    @cached_property
    def _skipped(self) -> NDArray[np.int64]:
        # A word of one token, as ColBERT's own list has them.
        found = [self._tokenizer.encode(w, add_special_tokens=False).ids for w in self._manner.skip]
        return np.array([ids[0] for ids in found if len(ids) == 1], np.int64)

    @cached_property
    def _mask(self) -> int:
        file = self._path / "tokenizer_config.json"
        said = read_config(file, _Special).mask_token if file.is_file() else None
        named = said.get("content") if isinstance(said, Mapping) else said
        for name in (named, *_MASKS):
            found = self._tokenizer.token_to_id(name) if isinstance(name, str) else None
            if found is not None:
                return found
        raise unusable(self._files.tokenizer, "it has no mask token to fill questions with")

    def _ids(self, text: str, side: _Side) -> Ids:
        """Return a text's tokens, cut at what its side may have, with marker and special ones."""
        before, after = self._around
        marker = self._manner.markers[side]
        # A marker that is a token of its own stands behind the first special token.
        token = self._token(marker)
        marked = [*before, token] if token is not None else [*before]
        plain = text.encode("utf-8", "replace").decode()
        plain = plain if token is not None else marker + plain
        ids = self._tokenizer.encode(plain, add_special_tokens=False).ids
        most = min(self._manner.lengths[side], self._files.tokens)
        return [*marked, *ids[: max(most - len(marked) - len(after), 0)], *after]

    def _token(self, marker: str) -> int | None:
        for name in (marker, marker.strip()):
            if name and (found := self._tokenizer.token_to_id(name)) is not None:
                return found
        return None

    def _query(self, ids: Ids) -> _Batch:
        most = min(self._manner.lengths["query"], self._files.tokens)
        filled = [*ids, *[self._mask] * (most - len(ids))] if self._manner.expand else [*ids]
        batch = self._padded([filled])
        if not self._manner.attend:
            batch.seen[0, len(ids) :] = 0
        return batch

    def _documents(self, texts: Sequence[Ids]) -> _Batch:
        batch = self._padded(texts)
        return _Batch(batch.ids, batch.seen, batch.counted & ~np.isin(batch.ids, self._skipped))

    def _padded(self, texts: Sequence[Ids]) -> _Batch:
        shape = (len(texts), max(1, *map(len, texts)))
        ids = np.full(shape, self._files.pad, np.int64)
        seen = np.zeros(shape, np.int64)
        for row, text in enumerate(texts):
            ids[row, : len(text)] = text
            seen[row, : len(text)] = 1
        return _Batch(ids, seen, seen > 0)

    def _vectors(self, batch: _Batch) -> Vectors:
        """Return the unit vectors of all tokens: (texts, longest, dimensions)."""
        feeds = {
            "input_ids": batch.ids,
            "attention_mask": batch.seen,
            "token_type_ids": np.zeros_like(batch.ids),
        }
        made = self._session.run(self._output, {name: feeds[name] for name in self._session.inputs})
        made = self._projected(made.astype(np.float32, copy=False))
        return made / np.maximum(np.linalg.norm(made, axis=-1, keepdims=True), _LEAST_NORM)

    def _projected(self, vectors: Vectors) -> Vectors:
        if not self._layers or vectors.shape[-1] == self._layers[-1].weight.shape[0]:
            return vectors  # exported with its layers
        for layer in self._layers:
            if vectors.shape[-1] != layer.weight.shape[-1]:
                raise unusable(
                    self._files.model,
                    f"its token vectors have {vectors.shape[-1]} dimensions, the linear layer "
                    f"behind it takes {layer.weight.shape[-1]}",
                )
            vectors = layer(vectors)
        return vectors


def _opened(settings: LateSettings) -> LateEncoder:
    found = files(settings.path, settings.max_tokens)
    return LateEncoder(found, manner(settings.path), settings.path, settings.batch_size)


@asynccontextmanager
async def open_late(settings: LateSettings) -> AsyncGenerator[Opened, None]:
    """Check the model's files; the model itself loads on the first search."""
    encoder = await Offload(limit=1).run(_opened, settings)
    yield Opened(reranker=OnnxReranker(encoder, settings.path.resolve().name))


backend = Backend(
    name="late-interaction",
    roles=frozenset({Role.RERANKER}),
    settings=LateSettings,
    open=open_late,
)
