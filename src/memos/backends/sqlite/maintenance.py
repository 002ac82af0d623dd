"""Proving that a file is sound and that what is derived agrees with the records."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import cast

import apsw
import numpy as np

from memos._offload import Offload
from memos.analysis import count_terms, index_text
from memos.backends.sqlite import codec
from memos.backends.sqlite.connection import File
from memos.backends.sqlite.image import CubeImage
from memos.backends.sqlite.images import Images
from memos.backends.sqlite.records import cube_numbers
from memos.errors import Forbidden, MemosError
from memos.ports.stores import Finding
from memos.types import Memory, Scope


class Upkeep:
    """``Maintenance`` of one file."""

    def __init__(self, file: File, images: Images) -> None:
        self._file = file
        self._images = images
        self._offload = Offload(1)

    async def check(self, account: str) -> AsyncIterator[Finding]:
        """Check the pages, the rows, and every cube's image."""
        yield await self._offload.run(self._pages)
        for cube, number in (await self._offload.run(self._cubes, account)).items():
            yield await self._offload.run(self._rows, cube, number)
            yield await self._offload.run(self._image, cube, number)

    async def rebuild(self, cube: str, scope: Scope) -> None:
        """Throw away a cube's images; the next search builds them anew."""
        if not scope.may(cube, "write"):
            raise Forbidden(f"{scope.principal!r} may not write cube {cube!r}")
        number = await self._offload.run(self._number, scope.account, cube)
        if number is not None:
            await self._offload.run(self._images.forget, number)

    def _number(self, account: str, cube: str) -> int | None:
        with self._file.reading() as db:
            return cube_numbers(db, account, [cube]).get(cube)

    def _cubes(self, account: str) -> dict[str, int]:
        with self._file.reading() as db:
            rows = db.execute(
                "SELECT id, cube FROM cubes WHERE account = ? ORDER BY id", (account,)
            )
            return dict(cast("Iterable[tuple[str, int]]", rows))

    def _pages(self) -> Finding:
        with self._file.reading() as db:
            found = db.execute("PRAGMA integrity_check(3)").fetchall()
        said = "; ".join(str(line) for (line,) in found)
        return Finding("file", said == "ok", said if said != "ok" else "all pages are sound")

    def _rows(self, cube: str, number: int) -> Finding:
        count = 0
        with self._file.reading() as db:
            rows = db.execute(
                "SELECT id, version, position, body, terms FROM memories WHERE cube = ?", (number,)
            )
            for row in cast("Iterable[tuple[str, int, int | None, bytes, bytes]]", rows):
                count += 1
                try:
                    memory = codec.decode_memory(row[3])
                except MemosError as error:
                    return Finding(f"records of {cube}", False, error.detail)  # noqa: FBT003
                if (memory.id, memory.version, memory.position) != row[:3] or not _agree(
                    memory, row[4]
                ):
                    return Finding(
                        f"records of {cube}",
                        ok=False,
                        detail=f"memory {row[0]!r} and its columns differ",
                    )
            lost = _lost(db, number)
        if lost:
            return Finding(f"records of {cube}", ok=False, detail=lost)
        return Finding(f"records of {cube}", ok=True, detail=f"{count} versions agree")

    def _image(self, cube: str, number: int) -> Finding:
        name = f"image of {cube}"
        with self._file.reading() as db:
            serving = db.execute(
                "SELECT e.embedder, e.dimensions FROM cubes c JOIN embedders e USING (embedder)"
                " WHERE cube = ?",
                (number,),
            ).fetchone()
            embedder, dimensions = (-1, 0) if serving is None else cast("tuple[int, int]", serving)
            with self._images.current(db, number, embedder, dimensions) as image:
                fresh = CubeImage.empty(dimensions)
                self._images.read_into(db, fresh, number, embedder)
                difference = _difference(image, fresh)
        if difference:
            return Finding(
                name, ok=False, detail=f"{difference}; rebuild it with 'memos doctor --fix'"
            )
        return Finding(name, ok=True, detail=f"{len(fresh.layout.order)} live memories agree")


def _agree(memory: Memory, terms: bytes) -> bool:
    return sorted(_pairs(codec.encode_terms(count_terms(index_text(memory))))) == sorted(
        _pairs(terms)
    )


def _pairs(terms: bytes) -> list[tuple[int, int]]:
    hashes, frequencies, _ = codec.decode_terms([terms])
    return list(zip(hashes.tolist(), frequencies.tolist(), strict=True))


def _lost(db: apsw.Connection, cube: int) -> str:
    """Return what refers to memories that are not there, or nothing."""
    checks = {
        "a duplicate key": "SELECT count(*) FROM keys k WHERE cube = ?1 AND NOT EXISTS (SELECT 1"
        " FROM memories m WHERE m.cube = k.cube AND m.id = k.id)",
        "a link": "SELECT count(*) FROM links l WHERE cube = ?1 AND NOT EXISTS (SELECT 1"
        " FROM memories m WHERE m.cube = l.cube AND m.id = l.source)",
        "a latest version": "SELECT count(*) FROM (SELECT id FROM memories WHERE cube = ?1"
        " GROUP BY id HAVING sum(latest) <> 1)",
    }
    wrong = [what for what, query in checks.items() if db.execute(query, (cube,)).get]
    return f"{' and '.join(wrong)} lost its memory" if wrong else ""


def _difference(image: CubeImage, fresh: CubeImage) -> str:
    """Return how an image differs from one built anew, or nothing."""
    held, true = image.layout.order, fresh.layout.order
    rows = image.columns.rows[held]
    if not np.array_equal(rows, fresh.columns.rows[true]):
        return "it holds other memories than the records"
    if not np.array_equal(image.columns.lengths[held], fresh.columns.lengths[true]):
        return "its lengths differ from the records"
    if not np.array_equal(_gather(image)[held], _gather(fresh)[true]):
        return "its vectors differ from the records"
    if _live_triples(image) != _live_triples(fresh):
        return "its postings differ from the records"
    return ""


def _gather(image: CubeImage) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.concatenate(image.matrix.parts)


def _live_triples(image: CubeImage) -> int:
    """Return a fingerprint of the live postings that does not depend on document numbers."""
    terms, docs, frequencies = image.postings.triples()
    live = image.columns.live[docs]
    rows = image.columns.rows[docs[live]].astype(np.uint64)
    mixed = terms[live] * np.uint64(0x9E3779B97F4A7C15) ^ rows * np.uint64(0xC2B2AE3D27D4EB4F)
    return int((mixed * (frequencies[live].astype(np.uint64) + np.uint64(1))).sum(dtype=np.uint64))
