"""The vectors of a cube image: exact and rounded products, growth, erasure."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Event

import numpy as np
import pytest

from memos.backends.sqlite import matrix, scoring
from memos.backends.sqlite.codec import encode_vector
from memos.backends.sqlite.image import CubeImage, Row
from memos.backends.sqlite.matrix import Matrix, Rounded
from memos.filters import EVERYTHING
from memos.ports.stores import Feature, Question

DIMENSIONS = 48


def _vectors(count: int, seed: int = 7) -> np.ndarray:
    """Unit vectors that crowd together, as those of real embedders do."""
    random = np.random.default_rng(seed)
    found = random.normal(size=(count, DIMENSIONS)) + 2.0
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def test_rounded_products_are_near_the_exact_ones() -> None:
    vectors, query = _vectors(500), _vectors(1, seed=8)[0]
    rough = Rounded.of(vectors).dot(query)
    assert rough == pytest.approx(vectors @ query, abs=0.005)
    assert np.abs(rough - vectors @ query).max() > 0  # it is the rounded ones that were read
    assert Rounded.of(np.zeros((2, 4), np.float32)).dot(np.zeros(4, np.float32)).tolist() == [0, 0]


@pytest.mark.parametrize("step", [7, 65_536])
@pytest.mark.parametrize("rounded_from", [1, 10**6])
def test_base_and_tail_answer_as_one(
    monkeypatch: pytest.MonkeyPatch, rounded_from: int, step: int
) -> None:
    monkeypatch.setattr(matrix, "ROUNDED_FROM", rounded_from)
    monkeypatch.setattr(matrix, "_STEP", step)
    vectors, query = _vectors(300), _vectors(1, seed=8)[0]
    held = Matrix(vectors[:100])
    held.extend(vectors[100:130])
    held.extend(vectors[130:])
    assert len(held) == 300
    some = np.array([3, 99, 100, 250])
    assert held.exact(some, query) == pytest.approx((vectors @ query)[some], abs=1e-6)
    close = 1e-6 if rounded_from > 300 else 0.005
    assert held.scan(query) == pytest.approx(vectors @ query, abs=close)
    kept = np.array([0, 5, 120, 299])
    assert held.compacted(kept).scan(query) == pytest.approx((vectors @ query)[kept], abs=close)


def test_cleared_vectors_leave_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix, "ROUNDED_FROM", 1)
    held = Matrix(_vectors(20))
    held.extend(_vectors(20, seed=9))
    held.clear([2, 30])
    for scores in (held.scan(_vectors(1)[0]), held.exact(np.arange(40), _vectors(1)[0])):
        assert scores[[2, 30]].tolist() == [0, 0]
        assert np.count_nonzero(scores) == 38


def _image(count: int) -> CubeImage:
    image = CubeImage.empty(DIMENSIONS)
    vectors = _vectors(count)
    rows = [
        Row(
            n,
            f"m{n}",
            n // 50,
            n % 50,
            1,
            None,
            n,
            None,
            b"",
            0,
            0,
            0,
            0,
            encode_vector(vectors[n]),
        )
        for n in range(count)
    ]
    image.update(rows, [], count)
    return image


def test_who_waits_for_a_scan_does_what_nobody_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix, "_STEP", 500)
    vectors, query = _vectors(3000), _vectors(1, seed=8)[0]
    busy, free = Event(), Event()
    with ThreadPoolExecutor(1) as beside:
        beside.submit(lambda: (busy.set(), free.wait()))
        busy.wait()
        try:
            found = scoring.Scan(Matrix(vectors), query, beside).done()
        finally:
            free.set()
        assert found == pytest.approx(vectors @ query, abs=1e-6)
        shared = scoring.Scan(Matrix(vectors), query, beside).done()
        assert np.array_equal(found, shared)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 1.0])
def test_a_rounded_scan_finds_what_an_exact_one_finds(
    monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    found: dict[str, int] = {"vector": 0, "window": 0}
    exact, mask = _image(6000), np.random.default_rng(3).random(6000) < share
    monkeypatch.setattr(matrix, "ROUNDED_FROM", 1)
    rounded = _image(6000)
    now = datetime.now(UTC)
    beside = ThreadPoolExecutor(1)
    for query in _vectors(20, seed=11):
        question = Question(query, "e", {}, frozenset(), EVERYTHING, now, None, 50)
        one = scoring.features(exact, question, mask, "c", beside)
        two = scoring.features(rounded, question, mask, "c", beside)
        own = dict(zip(one.ids, one.columns[Feature.COSINE_NEAR], strict=True))
        for id, near in zip(two.ids, two.columns[Feature.COSINE_NEAR], strict=True):
            assert own.get(id, near) == pytest.approx(near, abs=1e-6)
        for lane in found:
            best = [
                {id for id, rank in zip(part.ids, part.lanes[lane], strict=True) if rank >= 0}
                for part in (one, two)
            ]
            assert len(best[1]) == 50
            found[lane] += len(best[0] & best[1])
    beside.shutdown()
    assert min(found.values()) >= 0.99 * 20 * 50
