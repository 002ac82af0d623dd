"""The embedder that asks Ollama, and what its answers may look like."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import numpy as np
import pytest
from tests.servers import Answer, Asked, Provider, as_json, serving

from memos.errors import ModelError
from memos.models.ollama_embedder import OllamaEmbedderSettings, backend, open_ollama
from memos.ports.backend import Role
from memos.ports.models import Embedder


def embedded(asked: Asked) -> Answer:
    if asked.path != "/api/embed":
        return Answer(b"no such path", 404)
    return Answer(
        as_json({"embeddings": [[float(len(text)), 3.0] for text in asked.body["input"]]})
    )


@pytest.fixture
def server() -> Iterator[Provider]:
    with serving(embedded) as found:
        yield found


@pytest.fixture
async def embedder(server: Provider) -> AsyncIterator[Embedder]:
    settings = OllamaEmbedderSettings(
        base_url=server.url, model="bge-m3", batch_size=2, query_prefix="q: ", max_retries=0
    )
    async with open_ollama(settings) as opened:
        assert opened.embedder is not None
        yield opened.embedder


@pytest.mark.anyio
async def test_texts_become_unit_vectors_in_order(embedder: Embedder, server: Provider) -> None:
    assert embedder.dimensions == 2
    vectors = await embedder.embed(["a", "bbb", "ccccc"], "passage")
    expected = np.array([[1, 3], [3, 3], [5, 3]], np.float32)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.allclose(vectors, expected)
    await embedder.embed(["x"], "query")
    assert server.asked[-1].body == {"model": "bge-m3", "input": ["q: x"]}
    assert [len(asked.body["input"]) for asked in server.asked] == [1, 2, 1, 1]


@pytest.mark.anyio
async def test_names_tell_prefixes_apart(embedder: Embedder, server: Provider) -> None:
    async with open_ollama(OllamaEmbedderSettings(base_url=server.url, model="bge-m3")) as opened:
        assert opened.embedder is not None
        assert opened.embedder.name == "ollama-bge-m3"
    assert embedder.name.startswith("ollama-bge-m3-")


@pytest.mark.anyio
@pytest.mark.parametrize(
    "answer",
    [
        Answer(b"{}"),
        Answer(as_json({"embeddings": []})),
        Answer(as_json({"embeddings": [[0.0, 0.0]]})),
        Answer(as_json({"embeddings": [[1.0, 2.0, 3.0]]})),
        Answer(as_json({"error": "model not found"}), 404),
    ],
)
async def test_other_answers_are_errors(
    embedder: Embedder, server: Provider, answer: Answer
) -> None:
    server.planned.append(answer)
    with pytest.raises(ModelError):
        await embedder.embed(["a"], "passage")


def test_backend() -> None:
    assert (backend.name, backend.roles) == ("ollama", frozenset({Role.EMBEDDER}))
