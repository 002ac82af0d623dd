"""The benchmark's cache of embeddings, and its generated text."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from benchmarks.corpus import Corpus, HashEmbedder
from benchmarks.limits import BareFile, SearchLimit, rows_of
from benchmarks.vector_cache import CachedEmbedder

from memos.analysis import count_terms
from memos.ports.models import EmbedRole, Vectors


class Counting(HashEmbedder):
    def __init__(self) -> None:
        super().__init__(8)
        self.asked: list[tuple[str, EmbedRole]] = []

    async def embed(self, texts: Sequence[str], role: EmbedRole) -> Vectors:
        self.asked.extend((text, role) for text in texts)
        return await super().embed(texts, role)


def test_texts_are_embedded_once_per_role_and_kept(tmp_path: Path) -> None:
    inner = Counting()
    with CachedEmbedder(inner, tmp_path) as cached:
        first = asyncio.run(cached.embed(["a b", "c", "a b"], "passage"))
        asyncio.run(cached.embed(["c"], "query"))
    with CachedEmbedder(inner, tmp_path) as cached:
        again = asyncio.run(cached.embed(["c", "a b", "\ud800"], "passage"))
        assert cached.computed == 1
    assert inner.asked == [
        ("a b", "passage"),
        ("c", "passage"),
        ("c", "query"),
        ("\ud800", "passage"),
    ]
    np.testing.assert_array_equal(first[:2], again[[1, 0]])
    np.testing.assert_array_equal(first[0], first[2])


def test_no_text_has_no_vectors(tmp_path: Path) -> None:
    with CachedEmbedder(Counting(), tmp_path) as cached:
        assert asyncio.run(cached.embed([], "query")).shape == (0, 8)


def test_generated_text_is_the_same_every_time() -> None:
    first, second = Corpus(), Corpus()
    assert list(first.turns(30)) == list(second.turns(30))
    assert first.query() == second.query()


def test_generated_sessions_have_unique_ids_and_alternate_speakers() -> None:
    turns = list(Corpus().turns(45, length=20))
    assert len({turn.id for turn in turns}) == 45
    assert len({turn.session for turn in turns}) == 3
    assert {turn.speaker for turn in turns[::2]} == {"Alice"}


def test_generated_queries_have_the_promised_length() -> None:
    corpus = Corpus()
    assert all(5 <= len(corpus.query().split()) <= 8 for _ in range(50))
    assert len(set(corpus.common_query().split())) == 8


def test_common_words_are_common_and_rare_words_rare() -> None:
    corpus = Corpus()
    found: dict[str, int] = {}
    for turn in corpus.turns(500):
        for term in count_terms(turn.text):
            found[term] = found.get(term, 0) + 1
    common = [found[term] for term in count_terms(corpus.common_query())]
    assert min(common) > 30
    assert sum(count == 1 for count in found.values()) > len(found) / 3


def test_chinese_share_is_kept() -> None:
    corpus = Corpus(chinese_share=1.0)
    assert all(ord(character) > 0x2FFF for character in corpus.message())


def test_hash_vectors_are_normalised_and_near_for_shared_words() -> None:
    near, base, far = HashEmbedder().vectors(["red boat sank", "red boat swam", "quiet green hill"])
    assert np.linalg.norm(base) == np.float32(1.0) or abs(np.linalg.norm(base) - 1) < 1e-5
    assert near @ base > far @ base


def test_the_limit_reads_what_a_search_must_read(tmp_path: Path) -> None:
    turns = list(Corpus().turns(50))
    vectors = HashEmbedder().vectors([turn.text for turn in turns])
    rows = list(rows_of(turns, vectors))
    assert len(rows[0][3]) == 384 * 4
    assert len(rows[0][2]) == 10 * len(count_terms(turns[0].text))
    file = BareFile(tmp_path / "bare.db")
    try:
        assert file.insert(rows[:10]) > 0
        assert file.fetch([turns[3].id, turns[7].id, turns[20].id]) == 2
        limit = SearchLimit(file, turns[10:], vectors[10:])
        assert file.fetch([turns[20].id, turns[49].id]) == 2
        assert limit.seconds("time people", vectors[0]) > 0
    finally:
        file.close()
