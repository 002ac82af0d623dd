"""Vector, text and feature indexes: all three read the cube images."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, cast

import apsw
import numpy as np
from numpy.typing import NDArray

from memos._offload import Offload
from memos.backends.sqlite import codec, scoring
from memos.backends.sqlite.connection import READERS, File
from memos.backends.sqlite.image import CubeImage
from memos.backends.sqlite.images import Images
from memos.filters import EVERYTHING, Filter
from memos.ports import refusals
from memos.ports.stores import Feature, Features, Question
from memos.types import Change, Place, Scope, Scored, Statistics, Vector

_ANY_TIME: Final = datetime.min.replace(tzinfo=UTC)
"""Lanes leave expiry to the filter."""
_NOTHING: Final = Question(None, "", {}, frozenset(), EVERYTHING, _ANY_TIME, None, 0)
_ALL: Final = 1 << 30
_CUBE: Final = (
    "SELECT c.cube, c.embedder, ifnull(e.dimensions, 0), e.name"
    " FROM cubes c LEFT JOIN embedders e ON e.embedder = c.embedder"
    " WHERE c.account = ? AND c.id = ?"
)


@dataclass(frozen=True, slots=True)
class _View:
    """A cube's image with what is needed to filter it."""

    image: CubeImage
    mask: NDArray[np.bool_] | None


class Indexes:
    """``VectorIndex``, ``TextIndex`` and ``FeatureIndex`` over the images of one file."""

    def __init__(self, file: File, images: Images) -> None:
        self._file = file
        self._images = images
        self._offload = Offload(READERS // 2)
        self._beside = ThreadPoolExecutor(READERS // 2, thread_name_prefix="memos-scan")

    def close(self) -> None:
        """End the threads."""
        self._beside.shutdown()

    async def sync(self, changes: Sequence[Change]) -> None:
        """Do nothing: an image follows the log by itself before every search."""

    async def features(self, question: Question, cube: str, scope: Scope) -> Features:
        """Return the best candidates of a cube with their features."""
        return await self._offload.run(self._features, question, cube, scope)

    def _features(self, question: Question, cube: str, scope: Scope) -> Features:
        with self._file.reading() as db, self._view(db, question, cube, scope) as view:
            if view is None:
                return Features(cube, (), {}, {})
            return scoring.features(view.image, question, view.mask, cube, self._beside)

    async def centre(self, cube: str, scope: Scope) -> Vector | None:
        """Return the mean vector of a cube."""

        def run() -> Vector | None:
            with self._file.reading() as db, self._view(db, _NOTHING, cube, scope) as view:
                return None if view is None else view.image.centre

        return await self._offload.run(run)

    async def nearest(
        self, vectors: Sequence[Vector], scope: Scope, where: Filter, limit: int
    ) -> list[list[Scored]]:
        """Return the nearest memories of each query vector, over the cubes of the scope."""

        def run() -> list[list[Scored]]:
            asked = replace(_NOTHING, where=where, limit=limit)
            return [
                self._lane("vector", Feature.COSINE, replace(asked, vector=vector), scope, limit)
                for vector in vectors
            ]

        return await self._offload.run(run)

    async def match(
        self, terms: Sequence[str], scope: Scope, where: Filter, limit: int
    ) -> list[Scored]:
        """Return memories that hold any of the terms, by BM25."""

        def run() -> list[Scored]:
            weights = dict.fromkeys(terms, 1.0)
            # The lane ranks by windows too: the best by the words alone may be far down.
            asked = replace(_NOTHING, where=where, limit=_ALL, terms=weights)
            found = self._lane("text", Feature.BM25, asked, scope, _ALL)
            return [scored for scored in found if scored.score > 0][:limit]

        return await self._offload.run(run)

    def _lane(
        self, lane: str, feature: Feature, question: Question, scope: Scope, limit: int
    ) -> list[Scored]:
        found: list[Scored] = []
        for cube in scope.grants:
            with self._file.reading() as db, self._view(db, question, cube, scope) as view:
                if view is None:
                    continue
                part = scoring.features(
                    view.image, question, view.mask, cube, self._beside, adapted=False
                )
            if lane in part.lanes:
                rows = zip(part.ids, part.columns[feature], part.lanes[lane], strict=True)
                found += [Scored(cube, id, float(score)) for id, score, rank in rows if rank >= 0]
        return sorted(found, key=lambda scored: (-scored.score, scored.id))[:limit]

    async def statistics(self, terms: Sequence[str], cube: str, scope: Scope) -> Statistics:
        """Return the live frequencies of ``terms`` in a cube."""

        def run() -> Statistics:
            with self._file.reading() as db, self._view(db, _NOTHING, cube, scope) as view:
                if view is None:
                    return Statistics(0, 0.0, dict.fromkeys(terms, 0))
                layout, postings = view.image.layout, view.image.postings
                counts = {
                    term: int((layout.rank[postings.of(codec.term_hash(term))[0]] >= 0).sum())
                    for term in terms
                }
                return Statistics(
                    len(layout.order),
                    layout.mean_length,
                    counts,
                    view.image.speaking,
                    view.image.newest,
                )

        return await self._offload.run(run)

    @contextmanager
    def _view(
        self, db: apsw.Connection, question: Question, cube: str, scope: Scope
    ) -> Generator[_View | None]:
        refusals.check_read(scope, cube)
        row = db.execute(_CUBE, (scope.account, cube)).fetchone()
        if row is None:
            yield None
            return
        number, embedder, dimensions, name = cast("tuple[int, int | None, int, str | None]", row)
        if name is not None:
            if question.embedder not in ("", name):
                raise refusals.other_embedder(cube, name, question.embedder)
            if question.vector is not None and len(question.vector) != dimensions:
                raise refusals.other_query(cube, dimensions, len(question.vector))
        which = (number, -1 if embedder is None else embedder, dimensions)
        home = Place(scope.account, cube)
        if question.as_of is None:
            lent = self._images.current(db, *which)
        else:
            lent = self._images.past(db, *which, question.as_of)
        with lent as image:
            yield _View(image, self._images.mask(db, image, question, number, home))
