"""A question that is a long text is asked by its ends, with bounded work."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memos import MOS
from memos.analysis import query_terms, tokens
from memos.models.onnx import OnnxEmbedder, OnnxEncoder, OnnxSettings, card
from memos.ports.models import EmbedRole, Vectors
from memos.ports.web import WebPage
from memos.relevance import MOST_TERMS, rarest
from memos.retrieve.aspects import LONGEST, aspects, shortened
from memos.settings import Settings
from memos.testing.fakes import HashEmbedder, ScriptedReranker, ScriptedWeb

EMBEDDED_AT_MOST = LONGEST * 3 // 2
"""Tokens of one search, by the estimate of ``memos.analysis``."""
TOPICS = {
    "en": "The {} report of the {} team says that sales in {} went up and costs went down.",
    "zh": "{}部门关于{}的季度报告说，{}的销售额上升了，成本下降了。",
}
NOUNS = {
    "en": [
        "northern",
        "southern",
        "marketing",
        "finance",
        "product",
        "harbour",
        "railway",
        "water",
    ],
    "zh": ["市场", "财务", "产品", "设计", "港口", "铁路", "能源", "水利", "北方", "南方"],
}
NEEDS = {
    "en": ("Where did I put the spare key of the cottage?",
           "The spare key of the cottage is in the blue teapot."),
    "zh": ("我把小屋的备用钥匙放在哪里了？", "小屋的备用钥匙在蓝色茶壶里。"),
}  # fmt: skip


class Counted:
    """An ``Embedder`` that counts the tokens of questions."""

    def __init__(self) -> None:
        self._encoder = OnnxEncoder(card(OnnxSettings()))
        self._inner = OnnxEmbedder(self._encoder)
        self.name, self.dimensions = self._inner.name, self._inner.dimensions
        self.asked = 0

    async def embed(self, texts: Sequence[str], role: EmbedRole) -> Vectors:
        if role == "query":
            self.asked += sum(map(tokens, texts))
        return await self._inner.embed(texts, role)

    def close(self) -> None:
        self._encoder.close()


def filler(language: str, words: int) -> str:
    draw = random.Random(7)
    size = 15 if language == "en" else 25
    said = (
        TOPICS[language].format(*draw.choices(NOUNS[language], k=3)) for _ in range(words // size)
    )
    return (" " if language == "en" else "").join(said)


@pytest.fixture(scope="module")
def embedder() -> Iterator[Counted]:
    counted = Counted()
    yield counted
    counted.close()


@pytest.fixture(scope="module")
def mos(tmp_path_factory: pytest.TempPathFactory, embedder: Counted) -> Iterator[MOS]:
    """Two hundred memories about what the long text is about, and one that is asked for."""
    settings = Settings(home=tmp_path_factory.mktemp("home"))
    with MOS.open(settings, embedder=embedder) as mos:
        draw = random.Random(3)
        for language in ("en", "zh"):
            said = [
                TOPICS[language].format(*draw.choices(NOUNS[language], k=3)) for _ in range(100)
            ]
            mos.add([{"role": "user", "content": text} for text in said], session=language)
            mos.add(NEEDS[language][1])
        yield mos


@pytest.mark.parametrize("recipe", ["fast", "words"])
@pytest.mark.parametrize("place", ["start", "end"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_need_at_either_end_of_ten_thousand_words_finds_its_memory(
    mos: MOS, embedder: Counted, language: str, place: str, recipe: str
) -> None:
    need, answer = NEEDS[language]
    text = filler(language, 10_000)
    question = f"{need}\n{text}" if place == "start" else f"{text}\n{need}"
    embedder.asked = 0
    hits = mos.search(question, limit=10, recipe=recipe).hits
    assert answer in [hit.memory.text for hit in hits]
    assert embedder.asked <= EMBEDDED_AT_MOST


def test_a_question_of_ordinary_length_is_asked_as_it_is() -> None:
    for question in ("", "tea", "Where is Ann? And Bo?", "why " * 400, "为什么" * 170):
        assert shortened(question) == question.strip()
    both = ("Where does Ann live?", "And which car does she drive?")
    assert aspects(" ".join(both)) == both


@given(
    st.lists(
        st.sampled_from(
            ["word ", "Ann came. ", "天气很好。", "没有空格", "\n", "?", "x" * 700, "😀", "é "]
        ),
        max_size=2000,
    ).map("".join)
)  # fmt: skip
def test_any_text_is_shortened_to_its_ends(text: str) -> None:
    short = shortened(text)
    assert tokens(short) <= LONGEST + 8
    before, _, after = short.partition("\n…\n")
    assert text.strip().startswith(before)
    assert text.strip().endswith(after or before)
    if tokens(text.strip()) > LONGEST:
        assert tokens(short) >= LONGEST // 4
        first, last = aspects(short)
        assert before.startswith(first)
        assert after.endswith(last)


def test_the_ends_are_whole_sentences() -> None:
    text = " ".join(f"This is sentence number {n}, as it stands." for n in range(900))
    before, _, after = shortened(text).partition("\n…\n")
    assert before.startswith("This is sentence number 0,")
    assert before.endswith("as it stands.")
    assert after.startswith("This is sentence number ")
    assert after.endswith("899, as it stands.")


def test_nobody_else_is_sent_the_whole_text(tmp_path: Path) -> None:
    web, reranker = ScriptedWeb(WebPage("https://a.example/", "A", "a page")), ScriptedReranker()
    question = "Who likes tea? " + "Much else is said here. " * 2000
    with MOS.open(
        Settings(home=tmp_path), embedder=HashEmbedder(), web=web, reranker=reranker
    ) as mos:
        mos.add("Zoe likes tea.")
        assert mos.search(question, internet=True).hits[0].memory.text == "Zoe likes tea."
    for sent in (*web.queries, *(query for query, _ in reranker.calls)):
        assert tokens(sent) <= LONGEST + 8
        assert sent.startswith("Who likes tea?")


def test_the_rarest_terms_are_looked_for() -> None:
    terms = dict.fromkeys((f"t{n}" for n in range(MOST_TERMS + 50)), 1.0)
    said = {term: n + 1 for n, term in enumerate(terms)}
    kept = rarest(terms, 1000, said)
    assert list(kept) == list(terms)[:MOST_TERMS]
    assert rarest(kept, 1000, said) is kept
    unheard = {**said, "t0": 0}
    assert "t0" not in rarest(terms, 1000, unheard)
    twice = {**terms, f"t{MOST_TERMS}": 9.0}
    assert f"t{MOST_TERMS}" in rarest(twice, 1000, said)


def test_both_engines_look_for_the_same_terms(tmp_path: Path) -> None:
    words = [f"w{n}x" for n in range(200)]
    question = " ".join(words)
    assert len(query_terms(question)) > MOST_TERMS
    assert shortened(question) == question
    found: dict[str, list[tuple[str, float, tuple[str, ...]]]] = {}
    for kind in ("sqlite", "memory"):
        settings = Settings.model_validate({"home": tmp_path / kind, "store": {"kind": kind}})
        with MOS.open(settings, embedder=HashEmbedder()) as mos:
            draw = random.Random(1)
            for _ in range(60):
                mos.add(" ".join(draw.sample(words, 30 + draw.randrange(9))))
            hits = mos.search(question, limit=60).hits
            found[kind] = [(h.memory.text, round(h.score, 2), h.why.words) for h in hits]
    assert {text: (score, sorted(held)) for text, score, held in found["sqlite"]} == {
        text: (score, sorted(held)) for text, score, held in found["memory"]
    }
    assert len({word for _, _, held in found["sqlite"] for word in held}) == MOST_TERMS
