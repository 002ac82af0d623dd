"""The images of many cubes: held while there is memory for them, rebuilt when they are not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from memos import MOS
from memos.backends.sqlite.connection import File
from memos.backends.sqlite.images import Images
from memos.settings import Settings
from memos.testing.fakes import HashEmbedder

CUBES = 30
DIMENSIONS = HashEmbedder().dimensions


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of many small cubes."""
    where = tmp_path_factory.mktemp("home")
    with MOS.open(Settings(home=where), embedder=HashEmbedder()) as mos:
        mos.users.create("ann")
        for number in range(CUBES):
            mos.cubes.create(f"c{number}", owner="ann")
            for word in ("one", "two"):
                mos.add(f"{word} {number}", user="ann", cube=f"c{number}")
    return where


@pytest.fixture
def file(home: Path) -> Iterator[File]:
    with closing(File(home)) as opened:
        yield opened


def _numbers(file: File) -> list[int]:
    with file.reading() as db:
        return [n for (n,) in db.execute("SELECT cube FROM cubes WHERE id LIKE 'c%'").fetchall()]


def _use(images: Images, file: File, cube: int) -> list[str]:
    with file.reading() as db, images.current(db, cube, 0, DIMENSIONS) as image:
        return list(image.ids)


def test_images_keep_to_their_budget(file: File, home: Path) -> None:
    with closing(Images(file, home / "images", 10**9)) as images:
        known = {cube: _use(images, file, cube) for cube in _numbers(file)}
        count, used = images.held()
    assert count == CUBES
    assert all(len(ids) == 2 for ids in known.values())
    budget = used // 3
    with closing(Images(file, home / "images", budget)) as images:
        for _ in range(2):
            for cube, ids in known.items():
                assert _use(images, file, cube) == ids
                held, taken = images.held()
                assert taken <= budget
                assert held <= CUBES // 3
        assert held > CUBES // 6
        first = next(iter(known))
        for cube in known:  # what is used again and again stays
            _use(images, file, first)
            with file.reading() as db, images.current(db, first, 0, DIMENSIONS) as before:
                _use(images, file, cube) if cube != first else None
            with file.reading() as db, images.current(db, first, 0, DIMENSIONS) as after:
                assert after is before


def test_an_image_larger_than_the_budget_is_lent_alone(file: File, home: Path) -> None:
    with closing(Images(file, home / "images", 1)) as images:
        for cube in _numbers(file):
            assert len(_use(images, file, cube)) == 2
            assert images.held()[0] == 1


def test_what_was_forgotten_counts_no_more(file: File, home: Path) -> None:
    with closing(Images(file, home / "images", 10**9)) as images:
        for cube in _numbers(file):
            _use(images, file, cube)
            images.forget(cube)
        assert images.held() == (0, 0)
