"""Late interaction inside this process, on real graphs: every token is a row of a table."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from tests.unit.test_onnx_embedder import onnx_lookup
from tests.unit.test_onnx_reranker import graph
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from memos import MOS
from memos.errors import ConfigError, MemosError, ModelError
from memos.models.onnx.late import LateSettings, backend, open_late
from memos.ports.backend import Opened, Role
from memos.settings import Settings
from memos.testing import contracts
from memos.testing.fakes import HashEmbedder

SPECIAL = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]", "[Q]", "[D]"]
WORDS = [*SPECIAL, "ann", "her", "tea", "porto", "train", "long", "why", ".", ",", "!", "茶", "火"]
PYLATE = {"query_prefix": "[Q] ", "document_prefix": "[D] ", "query_length": 8}


def table() -> np.ndarray:
    """Return one direction per word; special and unknown tokens have one that no word has."""
    rows = np.eye(len(WORDS), dtype=np.float32) * 2
    rows[: len(SPECIAL)] = 0
    return rows


def exported(
    folder: Path,
    rows: np.ndarray | None = None,
    *,
    output: str = "last_hidden_state",
    said: Mapping[str, Mapping[str, object]] | None = None,
) -> Path:
    folder.mkdir(exist_ok=True)
    rows = table() if rows is None else rows
    inputs = ["input_ids", "attention_mask"]
    (folder / "model.onnx").write_bytes(onnx_lookup(rows, output, inputs))
    tokenizer = Tokenizer(models.WordLevel({w: n for n, w in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"hidden_size": rows.shape[1], "max_position_embeddings": 128}
    for name, content in {"config.json": config, **(said or {})}.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return folder


def save(file: Path, arrays: Mapping[str, np.ndarray], dtype: str = "F32") -> None:
    """Write arrays in the format safetensors."""
    file.parent.mkdir(exist_ok=True)
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, array in arrays.items():
        end = len(data) + array.nbytes
        header[name] = {"dtype": dtype, "shape": array.shape, "data_offsets": [len(data), end]}
        data += array.tobytes()
    head = json.dumps(header).encode()
    file.write_bytes(len(head).to_bytes(8, "little") + head + data)


async def scores(path: Path, query: str, texts: list[str], **settings: int) -> list[float]:
    async with open_late(LateSettings.model_validate({"path": path, **settings})) as opened:
        assert opened.reranker is not None
        return await opened.reranker.score(query, texts)


class TestContract(contracts.Rerankers):
    @pytest.fixture
    async def opened(self, tmp_path: Path) -> AsyncIterator[Opened]:
        path = exported(tmp_path / "late", said={"config_sentence_transformers.json": PYLATE})
        async with open_late(LateSettings(path=path, batch_size=2)) as opened:
            yield opened


@pytest.mark.anyio
async def test_every_token_of_the_question_counts_its_nearest_of_the_text(tmp_path: Path) -> None:
    path = exported(tmp_path / "late")
    # Once a word, however often the text has it; the two special tokens are near nothing.
    found = await scores(
        path, "tea Ann 茶", ["Ann, her tea", "tea tea tea", "train", "喝茶。茶", ""]
    )
    assert found == [2, 1, 0, 1, 0]


@pytest.mark.anyio
async def test_words_between_two_directions_have_cosines(tmp_path: Path) -> None:
    rows = table()
    rows[WORDS.index("her")] = rows[WORDS.index("ann")] + rows[WORDS.index("tea")]
    found = await scores(exported(tmp_path / "late", rows), "ann", ["her", "her ann"])
    assert found == pytest.approx([math.sqrt(0.5), 1])


@pytest.mark.anyio
async def test_punctuation_of_a_text_does_not_count_and_that_of_a_question_does(
    tmp_path: Path,
) -> None:
    rows = table()
    rows[WORDS.index("!")] = rows[WORDS.index("tea")]
    path = exported(tmp_path / "late", rows)
    assert await scores(path, "tea", ["!", "tea"]) == [0, 1]
    assert await scores(path, "!", ["tea"]) == [1]
    file = path / "config_sentence_transformers.json"
    file.write_text(json.dumps({"skiplist_words": [], "prompts": {}}))
    assert await scores(path, "tea", ["!"]) == [1]


def told(kind: str, *, attend: bool) -> Mapping[str, Mapping[str, object]]:
    if kind == "pylate":
        said = {**PYLATE, "attend_to_expansion_tokens": attend}
        return {"config_sentence_transformers.json": said}
    stanford = {"query_token_id": "[Q]", "doc_token_id": "[D]", "query_maxlen": 8}
    return {"artifact.metadata": {**stanford, "attend_to_mask_tokens": attend}}


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["pylate", "stanford"])
async def test_markers_and_filling_are_those_the_directory_names(tmp_path: Path, kind: str) -> None:
    rows = table()
    rows[WORDS.index("[MASK]")] = rows[WORDS.index("porto")]
    rows[WORDS.index("[Q]")] = rows[WORDS.index("train")]
    rows[WORDS.index("[D]")] = rows[WORDS.index("train")]
    path = exported(tmp_path / "late", rows, said=told(kind, attend=False))
    # [CLS] [Q] tea [SEP], and four tokens that fill: they find "porto", the markers each other.
    assert await scores(path, "tea", ["tea", "porto", "why"]) == [2, 5, 1]
    # A question as long as the model takes has no room for filling, and is cut there.
    assert await scores(path, "tea " * 5 + "why", ["porto", "why", "tea"]) == [1, 1, 6]


@pytest.mark.anyio
async def test_a_mask_token_of_another_name(tmp_path: Path) -> None:
    rows = table()
    rows[WORDS.index("long")] = rows[WORDS.index("porto")]
    named = {"tokenizer_config.json": {"mask_token": {"content": "long", "special": True}}}
    path = exported(tmp_path / "late", rows, said={**told("pylate", attend=True), **named})
    assert (await scores(path, "tea", ["porto"])) == [4]


@pytest.mark.anyio
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
async def test_linear_layers_of_the_directory_come_behind_the_graph(
    tmp_path: Path, dtype: str
) -> None:
    weight = np.zeros((2, len(WORDS)), np.float32)
    weight[0, WORDS.index("tea")] = weight[0, WORDS.index("porto")] = weight[1, 7] = 1
    arrays = {"F32": weight, "F16": weight.astype("<f2")}
    arrays["BF16"] = (weight.view(np.uint32) >> 16).astype("<u2")
    path = exported(tmp_path / "late")
    save(path / "1_Dense" / "model.safetensors", {"linear.weight": arrays[dtype]}, dtype)
    config = {"activation_function": "torch.nn.modules.linear.Identity", "bias": False}
    (path / "1_Dense" / "config.json").write_text(json.dumps(config))
    assert await scores(path, "tea", ["porto", "ann", "why"]) == [1, 0, 0]


@pytest.mark.anyio
async def test_a_second_layer_with_bias_residual_and_tanh(tmp_path: Path) -> None:
    size = len(WORDS)
    path = exported(tmp_path / "late")
    first = {"linear.weight": np.eye(size, dtype=np.float32)}
    save(path / "1_Dense" / "model.safetensors", first)
    second = {
        "linear.weight": np.zeros((3, size), np.float32),
        "linear.bias": np.array([0, 0, 1], np.float32),
        "residual.weight": np.eye(3, size, 7, dtype=np.float32),
    }
    save(path / "2_Dense" / "model.safetensors", second)
    for name, function in (("1_Dense", "Identity"), ("2_Dense", "Tanh")):
        config = {"activation_function": f"torch.nn.{function}", "use_residual": name[0] == "2"}
        (path / name / "config.json").write_text(json.dumps(config))
    bias = math.tanh(1)
    # (2, 0, t) for "ann", (0, 2, t) for "her", (0, 0, t) for each special token.
    (found,) = await scores(path, "ann", ["her"])
    near = bias / math.hypot(2, bias)
    assert found == pytest.approx(2 + near)


@pytest.mark.anyio
async def test_the_layer_of_a_checkpoint_and_a_graph_that_has_it_already(tmp_path: Path) -> None:
    weight = np.zeros((2, len(WORDS)), np.float32)
    weight[0, WORDS.index("tea")] = weight[0, WORDS.index("porto")] = 1
    path = exported(tmp_path / "late")
    save(path / "model.safetensors", {"bert.x": np.ones(3, np.float32), "linear.weight": weight})
    assert await scores(path, "tea", ["porto", "ann"]) == [1, 0]
    projected = exported(tmp_path / "whole", table() @ weight.T, output="output")
    save(projected / "model.safetensors", {"linear.weight": weight})
    assert await scores(projected, "tea", ["porto", "ann"]) == [1, 0]


@pytest.mark.anyio
async def test_long_texts_are_cut_and_batches_change_nothing(tmp_path: Path) -> None:
    path = exported(tmp_path / "late")
    texts = ["why " * 500 + "tea", "her tea", "train " * 40 + "tea", *["ann tea"] * 5, ""]
    one = await scores(path, "tea for Ann", texts, batch_size=1)
    assert one == [0, 1, 1, *[2] * 5, 0]
    assert await scores(path, "tea for Ann", texts, batch_size=4) == one
    assert (await scores(path, "tea", texts, max_tokens=16))[2] == 0


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "config.json"])
async def test_a_missing_file_is_named_at_open(tmp_path: Path, name: str) -> None:
    path = exported(tmp_path / "late")
    (path / name).unlink()
    with pytest.raises(ConfigError, match=name):
        await scores(path, "tea", ["tea"])


@pytest.mark.anyio
@pytest.mark.parametrize(
    "name",
    ["config_sentence_transformers.json", "artifact.metadata", "config.json"],
)
async def test_a_broken_configuration_is_named_at_open(tmp_path: Path, name: str) -> None:
    path = exported(tmp_path / "late")
    (path / name).write_text('{"query_length": "x", "query_maxlen": "x", "hidden_size": "x"}')
    with pytest.raises(ConfigError, match=name):
        async with open_late(LateSettings(path=path)):
            pass


def _broken(path: Path, what: str) -> None:
    dense = path / "1_Dense"
    if what == "no weights":
        dense.mkdir()
        (dense / "config.json").write_text("{}")
    elif what == "weights of torch":
        save(dense / "model.safetensors", {"linear.weight": np.ones((2, 3), np.int64)}, "I64")
        (dense / "config.json").write_text("{}")
    elif what == "weights of another width":
        save(dense / "model.safetensors", {"linear.weight": np.ones((2, 3), np.float32)})
        (dense / "config.json").write_text("{}")
    elif what == "another activation":
        save(dense / "model.safetensors", {"linear.weight": np.ones((2, 3), np.float32)})
        (dense / "config.json").write_text('{"activation_function": "torch.nn.GELU"}')
    elif what == "no weight":
        save(dense / "model.safetensors", {"other": np.ones((2, 3), np.float32)})
        (dense / "config.json").write_text("{}")
    else:
        (path / what).write_bytes(b"broken")


@pytest.mark.anyio
@pytest.mark.parametrize(
    "what",
    [
        "model.onnx",
        "tokenizer.json",
        "model.safetensors",
        "no weights",
        "weights of torch",
        "weights of another width",
        "another activation",
        "no weight",
    ],
)
async def test_what_cannot_be_used_is_told_by_the_first_search(tmp_path: Path, what: str) -> None:
    path = exported(tmp_path / "late")
    _broken(path, what)
    async with open_late(LateSettings(path=path)) as opened:
        assert opened.reranker is not None
        with pytest.raises(MemosError) as caught:
            await opened.reranker.score("tea", ["tea"])
    assert caught.value.code in ("model_unusable", "model_missing")


@pytest.mark.anyio
async def test_a_graph_without_a_vector_per_token(tmp_path: Path) -> None:
    path = exported(tmp_path / "late")
    (path / "model.onnx").write_bytes(graph(1, "sentence_embedding"))
    with pytest.raises(ConfigError, match="vector per token"):
        await scores(path, "tea", ["tea"])


@pytest.mark.anyio
async def test_no_mask_token_to_fill_with(tmp_path: Path) -> None:
    path = exported(tmp_path / "late", said={"config_sentence_transformers.json": PYLATE})
    file = path / "tokenizer.json"
    file.write_text(file.read_text(encoding="utf-8").replace("[MASK]", "[OTHER]"), encoding="utf-8")
    with pytest.raises(ConfigError, match="mask token"):
        await scores(path, "tea", ["tea"])


@pytest.mark.anyio
async def test_a_score_that_is_no_number_is_an_error(tmp_path: Path) -> None:
    rows = table()
    rows[WORDS.index("tea")] = np.nan
    with pytest.raises(ModelError, match="no number"):
        await scores(exported(tmp_path / "late", rows), "tea", ["tea"])


def test_from_the_settings(tmp_path: Path) -> None:
    assert (backend.name, backend.roles) == ("late-interaction", frozenset({Role.RERANKER}))
    section = {"kind": "late-interaction", "path": str(exported(tmp_path / "late"))}
    settings = Settings(home=tmp_path / "home", reranker=section)
    with MOS.open(settings, embedder=HashEmbedder()) as mos:
        mos.add("the train to porto, and the train back")
        mos.add("porto and her tea with ann")
        (first, *_) = mos.search("her train tea ann").hits
        assert first.memory.text.endswith("ann")
        assert first.why.lanes["rerank"] == 0
