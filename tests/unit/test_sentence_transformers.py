"""Models in the layout of Sentence Transformers: tiny ones, made here, with random weights."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memos import MOS
from memos.errors import ConfigError
from memos.ports.backend import Role
from memos.registry import load
from memos.settings import Settings

pytestmark = [
    pytest.mark.slow,
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
KIND = "sentence-transformers"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh", "tea", "train", "porto", "ann"]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    """Return a directory, a tokenizer and the configuration of a tiny encoder."""
    import torch
    from transformers import BertConfig, BertTokenizer

    torch.manual_seed(7)
    folder = tmp_path_factory.mktemp("models")
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(WORDS), encoding="utf-8")
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=64, num_labels=1,
    )  # fmt: skip
    return folder, BertTokenizer(str(vocabulary), model_max_length=64), config


@pytest.fixture(scope="module")
def embedder(parts: tuple[Path, Any, Any]) -> Path:
    from sentence_transformers import SentenceTransformer, models
    from transformers import BertModel

    folder, tokenizer, config = parts
    plain = folder / "bert"
    BertModel(config).save_pretrained(plain)
    tokenizer.save_pretrained(plain)
    word = models.Transformer(str(plain))
    SentenceTransformer(modules=[word, models.Pooling(16)]).save(str(folder / "embedder"))
    return folder / "embedder"


@pytest.fixture(scope="module")
def scorer(parts: tuple[Path, Any, Any]) -> Path:
    from transformers import BertForSequenceClassification

    folder, tokenizer, config = parts
    BertForSequenceClassification(config).save_pretrained(folder / "scorer")
    tokenizer.save_pretrained(folder / "scorer")
    return folder / "scorer"


@pytest.mark.anyio
async def test_embedder(embedder: Path) -> None:
    backend = load(KIND, Role.EMBEDDER)
    settings = backend.settings(path=embedder, batch_size=2, query_prefix="a ", device="cpu")
    async with backend.open(settings) as opened:
        found = opened.embedder
        assert found is not None
        assert (found.dimensions, found.name[:12]) == (16, "st-embedder-")
        texts = ["tea", "train porto", "", "half \ud800", "ann " * 300, "tea"]
        vectors = await found.embed(texts, "passage")
        assert vectors.shape == (6, 16)
        assert vectors.dtype == np.float32
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        assert np.allclose(vectors[0], vectors[5], atol=1e-5)
        assert np.allclose(
            await found.embed(["tea"], "query"), await found.embed(["a tea"], "passage"), atol=1e-5
        )
        assert (await found.embed([], "query")).shape == (0, 16)


@pytest.mark.anyio
async def test_reranker(scorer: Path) -> None:
    from sentence_transformers import CrossEncoder

    backend = load(KIND, Role.RERANKER)
    texts = ["tea", "train porto", "", "half \ud800", "ann " * 300]
    async with backend.open(backend.settings(path=scorer, batch_size=2, device="cpu")) as opened:
        found = opened.reranker
        assert found is not None
        assert found.name == "scorer"
        scores = await found.score("tea for ann", texts)
        assert await found.score("tea", []) == []
    assert all(map(math.isfinite, scores))
    direct = CrossEncoder(str(scorer), device="cpu").predict(
        [("tea for ann", t) for t in texts[:2]]
    )
    assert scores[:2] == pytest.approx([float(value) for value in direct], abs=1e-5)


def test_both_from_the_settings(tmp_path: Path, embedder: Path, scorer: Path) -> None:
    settings = Settings(
        home=tmp_path, embedder={"kind": KIND, "path": str(embedder)},
        reranker={"kind": KIND, "path": str(scorer)},
    )  # fmt: skip
    with MOS.open(settings) as mos:
        mos.add("tea ann")
        mos.add("train porto")
        result = mos.search("train")
        assert {hit.memory.text for hit in result.hits} == {"tea ann", "train porto"}
        assert result.degraded == ()


@pytest.mark.anyio
@pytest.mark.parametrize("role", [Role.EMBEDDER, Role.RERANKER])
async def test_a_directory_without_a_model_is_refused(tmp_path: Path, role: Role) -> None:
    backend = load(KIND, role)
    (tmp_path / "empty").mkdir()
    for name, code in (("missing", "model_missing"), ("empty", "model_unusable")):
        with pytest.raises(ConfigError) as caught:
            async with backend.open(backend.settings(path=tmp_path / name)):
                pass
        assert caught.value.code == code
