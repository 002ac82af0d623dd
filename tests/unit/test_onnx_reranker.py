"""The cross-encoder inside this process, on a real graph: it counts words that a pair shares."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from tests.unit.test_onnx_embedder import field, onnx_value
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from memos import MOS
from memos.errors import ConfigError, MemosError, ModelError
from memos.models.onnx.reranker import OnnxRerankerSettings, backend, open_onnx
from memos.ports.backend import Opened, Role
from memos.settings import Settings
from memos.testing import contracts
from memos.testing.fakes import HashEmbedder

WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "ann", "her", "tea", "porto", "train", "long", "why"]
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_FLOAT, _LONG = 1, 7


def node(op: str, inputs: Sequence[str], output: str, **attributes: int) -> bytes:
    ins = b"".join(field(1, name) for name in inputs)
    told = b"".join(
        field(5, field(1, name) + field(3, value) + field(20, 2))
        for name, value in attributes.items()
    )
    return field(1, ins + field(2, output) + field(4, op) + told)


def tensor(name: str, values: np.ndarray) -> bytes:
    kind = _FLOAT if values.dtype == np.float32 else _LONG
    dims = b"".join(field(1, size) for size in values.shape)
    return field(5, dims + field(2, kind) + field(8, name) + field(9, values.tobytes()))


def graph(weight: float, output: str) -> bytes:
    """Return a model that sums a row of a table per word, for each text, and multiplies both."""
    table = np.eye(len(WORDS), dtype=np.float32) * np.float32(weight)
    table[:4] = 0  # special and unknown words count nothing
    nodes = (
        node("Gather", ("table", "input_ids"), "rows"),
        node("Cast", ("token_type_ids",), "types", to=_FLOAT),
        node("Unsqueeze", ("types", "last"), "second"),
        node("Sub", ("one", "second"), "first"),
        node("Mul", ("rows", "first"), "asked_rows"),
        node("Mul", ("rows", "second"), "text_rows"),
        node("ReduceSum", ("asked_rows", "middle"), "asked", keepdims=0),
        node("ReduceSum", ("text_rows", "middle"), "text", keepdims=0),
        node("Mul", ("asked", "text"), "both"),
        node("ReduceSum", ("both", "middle"), output, keepdims=1),
    )
    constants = (
        tensor("table", table), tensor("one", np.ones(1, np.float32)),
        tensor("last", np.array([2])), tensor("middle", np.array([1])),
    )  # fmt: skip
    ins = b"".join(field(11, onnx_value(name, _LONG, "batch", "tokens")) for name in INPUTS)
    out = field(12, onnx_value(output, _FLOAT, "batch", "one"))
    body = b"".join(nodes) + field(2, "pairs") + b"".join(constants) + ins + out
    return field(1, 8) + field(7, body) + field(8, field(1, "") + field(2, 17))


def exported(folder: Path, *, weight: float = 1, output: str = "logits") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "model.onnx").write_bytes(graph(weight, output))
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"hidden_size": len(WORDS), "max_position_embeddings": 128}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


class TestContract(contracts.Rerankers):
    @pytest.fixture
    async def opened(self, tmp_path: Path) -> AsyncIterator[Opened]:
        settings = OnnxRerankerSettings(path=exported(tmp_path / "pairs"), batch_size=2)
        async with open_onnx(settings) as opened:
            yield opened


@pytest.mark.anyio
async def test_scores_are_the_models(tmp_path: Path) -> None:
    async with open_onnx(OnnxRerankerSettings(path=exported(tmp_path / "pairs"))) as opened:
        assert opened.reranker is not None
        assert opened.reranker.name == "pairs"
        texts = ["Ann, her tea", "the train", "tea tea tea", ""]
        assert await opened.reranker.score("tea for Ann", texts) == [2, 0, 3, 0]
        # A long question leaves room for the text, a long text is cut at the model's limit.
        assert (await opened.reranker.score("why " * 500 + "tea", ["why"]))[0] > 10
        assert (await opened.reranker.score("tea", ["tea " * 500]))[0] < 128


@pytest.mark.anyio
async def test_a_score_that_is_no_number_is_an_error(tmp_path: Path) -> None:
    path = exported(tmp_path / "pairs", weight=3e38)
    async with open_onnx(OnnxRerankerSettings(path=path)) as opened:
        assert opened.reranker is not None
        with pytest.raises(ModelError, match="no number"):
            await opened.reranker.score("tea", ["tea"])


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "config.json"])
async def test_a_missing_file_is_named_at_open(tmp_path: Path, name: str) -> None:
    path = exported(tmp_path / "pairs")
    (path / name).unlink()
    with pytest.raises(ConfigError, match=name):
        async with open_onnx(OnnxRerankerSettings(path=path)):
            pass


@pytest.mark.anyio
@pytest.mark.parametrize("what", ["another output", "model.onnx", "tokenizer.json"])
async def test_what_cannot_be_used_is_told_by_the_first_search(tmp_path: Path, what: str) -> None:
    path = exported(tmp_path / "pairs", output="x" if what == "another output" else "logits")
    if what != "another output":
        (path / what).write_bytes(b"broken")
    async with open_onnx(OnnxRerankerSettings(path=path)) as opened:
        assert opened.reranker is not None
        with pytest.raises(MemosError) as caught:
            await opened.reranker.score("tea", ["tea"])
    assert caught.value.code == "model_unusable"


def test_from_the_settings(tmp_path: Path) -> None:
    assert (backend.name, backend.roles) == ("onnx", frozenset({Role.RERANKER}))
    section = {"kind": "onnx", "path": str(exported(tmp_path / "pairs"))}
    settings = Settings(home=tmp_path / "home", reranker=section)
    with MOS.open(settings, embedder=HashEmbedder()) as mos:
        mos.add("the train to porto")
        mos.add("porto and her tea, tea, tea")
        assert mos.search("tea porto").hits[0].memory.text.endswith("tea")
