"""What words nominate in a large cube: blocks, bytes and lists of places agree with the formula."""

from __future__ import annotations

import numpy as np
import pytest

from memos.backends.sqlite import lexical
from memos.backends.sqlite.codec import encode_terms
from memos.backends.sqlite.image import CubeImage, Row
from memos.ports.stores import Feature
from memos.relevance import K1, SPANS, length_norm

COUNT = 2_000
REACH = SPANS[Feature.BM25_WIDE]


def _image(dice: np.random.Generator, *, most: int) -> CubeImage:
    """Sessions of all lengths, some turns without one, some dead; words from rare to common."""
    image = CubeImage.empty(2)
    rows: list[Row] = []
    place, position = 0, 0
    for number in range(COUNT):
        if dice.random() < 0.1:
            place, position = place + 1, 0
        alone = dice.random() < 0.2
        held = {
            word: int(dice.integers(1, most + 1))
            for word, share in (("tea", 0.4), ("cake", 0.1), ("yak", 0.004))
            if dice.random() < share
        }
        live = int(dice.random() < 0.9)
        rows.append(
            Row(
                number, f"m{number}", place, None if alone else position, live, None, number,
                None, encode_terms({"other": 3, **held}), 0, 0, 0, 0, None,
            )
        )  # fmt: skip
        position += 1
    image.update(rows, [], COUNT)
    return image


def _expected(image: CubeImage, terms: list[lexical.Term]) -> np.ndarray:
    """The same, slot by slot."""
    layout = image.layout
    chains, lengths = image.columns.chains[layout.order], image.columns.lengths[layout.order]
    scores = np.zeros(len(layout.order))
    for term in terms:
        counts = np.zeros(len(image.ids))
        docs, often = image.postings.of(lexical.term_hash(term.text))
        counts[docs] = often
        counts = counts[layout.order]
        for slot in range(len(scores)):
            for reach in (0, REACH):
                near = slice(max(0, slot - reach), slot + reach + 1)
                same = chains[near] == chains[slot]
                often_here = counts[near][same].sum()
                length = np.array([lengths[near][same].sum()], np.float32)
                norm = float(length_norm(length, layout.mean_length, reach)[0])
                scores[slot] += term.weight * (K1 + 1) * often_here / (often_here + norm)
    return scores


@pytest.mark.parametrize("most", [3, 400])
@pytest.mark.parametrize("block", [64, 16_384])
@pytest.mark.parametrize("small", [0, 20_000])
def test_nomination_follows_the_formula(
    monkeypatch: pytest.MonkeyPatch, most: int, block: int, small: int
) -> None:
    monkeypatch.setattr(lexical, "_BLOCK", block)
    monkeypatch.setattr(lexical, "_SMALL", small)
    image = _image(np.random.default_rng(5), most=most)
    layout = image.layout
    terms = lexical.query_terms(image, layout, {"tea": 1.0, "cake": 1.0, "yak": 2.0, "nobody": 1})
    assert [term.text for term in terms] == ["tea", "cake", "yak"]
    assert [term.turns is None for term in terms] == [False, False, small == 0]
    found = lexical.nomination(layout, terms)
    assert found == pytest.approx(_expected(image, terms), abs=1e-4)
    chosen = np.arange(0, len(layout.order), 7)
    columns, words = lexical.bm25(layout, terms, chosen)
    both = columns[Feature.BM25] + columns[Feature.BM25_WIDE]
    assert both == pytest.approx(found[chosen], abs=1e-4)
    assert set(words) == {"tea", "cake", "yak"}
