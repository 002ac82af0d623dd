"""The images of a store's cubes: brought up to date before every use, evicted by least use."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, cast

import apsw
import numpy as np
from numpy.typing import NDArray

from memos.backends.sqlite import codec, imagefile
from memos.backends.sqlite.connection import File, mapped
from memos.backends.sqlite.image import CubeImage, Row
from memos.backends.sqlite.lock import ProcessLock
from memos.backends.sqlite.schema import EMBEDDERS_PER_FILE
from memos.filters import PLACE_FIELDS, Filter, leaves, matches, selects_everything
from memos.ports.stores import Question
from memos.types import Memory, Place

WORTH_A_FILE: Final = 2_000
"""Documents from which on an image is kept in a file; a smaller one is rebuilt in milliseconds."""
_PAST_IMAGES: Final = 4
_PAST_SHARE: Final = 4
"""Which part of the budget those may take in addition, if they are more than one."""
_MASKS: Final = 32
_CHUNK: Final = 2_000


@dataclass(slots=True)
class _Slot:
    """A cube's image, the lock under which it is refreshed and read, and the bytes it counts."""

    image: CubeImage | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)
    size: int = 0


class Images:
    """Loads, refreshes, saves and drops cube images of one file.

    What images take is summed up as they change, so that keeping to the budget costs a search the
    same whether ten images are held or ten thousand.
    """

    def __init__(self, file: File, folder: Path, budget_bytes: int) -> None:
        self._file = file
        self._folder = folder
        self._budget = budget_bytes
        self._file_lock = ProcessLock(folder.parent / "images.lock")
        self._slots: OrderedDict[tuple[int, int], _Slot] = OrderedDict()
        self._used = 0
        self._guard = threading.Lock()
        self._past: OrderedDict[tuple[int, int, int], CubeImage] = OrderedDict()

    @contextmanager
    def current(
        self, db: apsw.Connection, cube: int, embedder: int, dimensions: int
    ) -> Generator[CubeImage]:
        """Lend the cube's image, as new as the read transaction of ``db``."""
        slot = self._slot(cube, embedder)
        with slot.lock:
            image = slot.image or self._load(cube, embedder) or CubeImage.empty(dimensions)
            slot.image = image = self._refreshed(db, image, cube, embedder)
            yield image
        self._account((cube, embedder), slot)

    @contextmanager
    def past(
        self, db: apsw.Connection, cube: int, embedder: int, dimensions: int, instant: datetime
    ) -> Generator[CubeImage]:
        """Lend an image of the versions that were current at ``instant``."""
        key = (cube, embedder, codec.micros(instant))
        head = _head(db, cube)
        with self._guard:
            image = self._past.get(key)
        if image is None or image.cursor != head:
            image = CubeImage.empty(dimensions)
            image.update(_past_rows(db, cube, embedder, codec.micros(instant)), (), head)
        with self._guard:
            self._past[key] = image
            while len(self._past) > 1 and (
                len(self._past) > _PAST_IMAGES
                or sum(past.nbytes for past in self._past.values()) > self._budget // _PAST_SHARE
            ):
                self._past.popitem(last=False)
        yield image

    def mask(
        self,
        db: apsw.Connection,
        image: CubeImage,
        question: Question,
        cube: int,
        home: Place,
    ) -> NDArray[np.bool_] | None:
        """Return the documents that the question selects and that live then; None means all.

        ``home`` is the cube itself as a place.
        """
        where = question.where
        unexpired = image.columns.expires > codec.micros(question.at)
        everyone = bool(unexpired.all())
        if selects_everything(where):
            return None if everyone else unexpired
        if all(leaf.field in PLACE_FIELDS for leaf in leaves(where)):
            selected = _place_mask(image, where, _places(db, cube, home))
        else:
            selected = _record_mask(db, image, question, cube)
        return selected if everyone else selected & unexpired

    def read_into(self, db: apsw.Connection, image: CubeImage, cube: int, embedder: int) -> None:
        """Bring ``image`` up to the read transaction of ``db``, wherever it stood."""
        rows = _changed_rows(db, cube, embedder, image.cursor)
        image.update(rows, _erased(db, cube, image.cursor), _head(db, cube))

    def forget(self, cube: int) -> None:
        """Remove every file and copy that may hold traces of what was erased from the cube."""
        with self._guard:
            for key in [key for key in self._slots if key[0] == cube]:
                slot = self._slots[key]
                with slot.lock:
                    slot.image = None
                    self._resize(slot, 0)
            for past in [key for key in self._past if key[0] == cube]:
                del self._past[past]
        with self._file_lock, mapped(self._folder):
            for path in imagefile.files_of(self._folder, cube):
                path.unlink(missing_ok=True)

    def lag(self) -> int:
        """Return how many positions of the log the most outdated image is behind."""
        with self._guard:
            seen = [
                (cube, slot.image.cursor) for (cube, _), slot in self._slots.items() if slot.image
            ]
        with self._file.reading() as db:
            heads = dict(
                cast("Iterable[tuple[int, int]]", db.execute("SELECT cube, head FROM cubes"))
            )
        return max((max(0, heads.get(cube, 0) - cursor) for cube, cursor in seen), default=0)

    def held(self) -> tuple[int, int]:
        """Return how many images are in memory, and the bytes that they take."""
        with self._guard:
            return sum(slot.image is not None for slot in self._slots.values()), self._used

    def close(self) -> None:
        """Keep grown images in files, so that the next process need not rebuild them."""
        with self._guard:
            slots = list(self._slots.items())
        for (cube, embedder), slot in slots:
            with slot.lock:
                if slot.image is not None and slot.image.growth >= WORTH_A_FILE:
                    slot.image = self._compact(slot.image, cube, embedder)
        self._file_lock.close()

    def _slot(self, cube: int, embedder: int) -> _Slot:
        with self._guard:
            slot = self._slots.setdefault((cube, embedder), _Slot())
            self._slots.move_to_end((cube, embedder))
            return slot

    def _refreshed(
        self, db: apsw.Connection, image: CubeImage, cube: int, embedder: int
    ) -> CubeImage:
        head = _head(db, cube)
        if image.cursor == head:
            return image
        if image.cursor > head:  # the file was put back to an older state
            image = CubeImage.empty(image.matrix.base.shape[1])
        self.read_into(db, image, cube, embedder)
        if image.growth > max(WORTH_A_FILE, len(image.ids) // 4):
            image = self._compact(image, cube, embedder)
        return image

    def _compact(self, image: CubeImage, cube: int, embedder: int) -> CubeImage:
        image = image.compacted()
        if len(image.ids) < WORTH_A_FILE:
            return image
        path = imagefile.path_of(self._folder, cube, embedder, image.cursor)
        try:
            with self._file_lock, self._file.reading() as db:
                if _head(db, cube) != image.cursor:  # what came since may be an erase
                    return image
                imagefile.save(image, path)
                for old in imagefile.files_of(self._folder, cube, embedder):
                    if old != path:
                        old.unlink(missing_ok=True)
        except OSError:  # no room for a copy: the records are what counts
            return image
        return imagefile.load(path) or image

    def _load(self, cube: int, embedder: int) -> CubeImage | None:
        for path in imagefile.files_of(self._folder, cube, embedder):
            if image := imagefile.load(path):
                return image
        return None

    def _account(self, key: tuple[int, int], slot: _Slot) -> None:
        """Note what an image takes by now, and let the least used ones go while all take too much.

        The one that was just used stays, and so do those that are in use.
        """
        with self._guard:
            if self._slots.get(key) is not slot:  # it was let go while its lender waited for it
                return
            self._resize(slot, 0 if slot.image is None else slot.image.nbytes)
            for _ in range(len(self._slots)):
                if self._used <= self._budget:
                    return
                oldest, idle = next(iter(self._slots.items()))
                if oldest == key or not idle.lock.acquire(blocking=False):
                    self._slots.move_to_end(oldest)
                    continue
                self._resize(idle, 0)
                del self._slots[oldest]
                idle.lock.release()

    def _resize(self, slot: _Slot, size: int) -> None:
        self._used += size - slot.size
        slot.size = size


_ROW: Final = (
    "SELECT m.row, m.id, m.place, m.position, {live}, m.expires, m.changed, m.speaker, m.terms,"
    " m.cues, m.said, m.begins, m.ends, v.data"
    f" FROM memories m LEFT JOIN vectors v ON v.key = m.row * {EMBEDDERS_PER_FILE} + ?"
)


def _head(db: apsw.Connection, cube: int) -> int:
    return cast("int", db.execute("SELECT head FROM cubes WHERE cube = ?", (cube,)).get or 0)


def _changed_rows(db: apsw.Connection, cube: int, embedder: int, after: int) -> Iterator[Row]:
    rows = _ROW.format(live="m.live") + " WHERE m.cube = ? AND "
    values = (embedder, cube, after, after)
    # The plus keeps the planner from walking all rows of the cube instead of those that moved.
    moved = "m.changed > ? AND m.changed <> m.row AND +m.row <= ? ORDER BY m.row"
    fresh = "m.row > ? AND m.row > ? ORDER BY m.row"
    yield from _rows(db.execute(rows + moved, values))
    yield from _rows(db.execute(rows + fresh, values))


def _past_rows(db: apsw.Connection, cube: int, embedder: int, instant: int) -> Iterator[Row]:
    found = db.execute(
        _ROW.format(live="1")
        + " WHERE m.cube = ? AND m.recorded <= ? AND (m.ended IS NULL OR m.ended > ?)"
        " ORDER BY m.row",
        (embedder, cube, instant, instant),
    )
    return _rows(found)


def _rows(found: Iterable[tuple[Any, ...]]) -> Iterator[Row]:
    return map(Row._make, found)


def _erased(db: apsw.Connection, cube: int, after: int) -> list[str]:
    found = db.execute("SELECT id FROM tombstones WHERE cube = ? AND changed > ?", (cube, after))
    return [cast("str", id) for (id,) in found]


def _places(db: apsw.Connection, cube: int, home: Place) -> dict[int, Place]:
    rows = db.execute("SELECT place, user, agent, app, session FROM places WHERE cube = ?", (cube,))
    return {
        number: Place(home.account, home.cube, user, agent, app, session)
        for number, user, agent, app, session in cast(
            "Iterable[tuple[int, str | None, str | None, str | None, str | None]]", rows
        )
    }


def _place_mask(image: CubeImage, where: Filter, places: dict[int, Place]) -> NDArray[np.bool_]:
    wanted = [
        number
        for number, place in places.items()
        if matches(where, Memory(id="", kind="", text="", place=place))
    ]
    return np.isin(image.columns.places, np.array(wanted, np.int64))


def _record_mask(
    db: apsw.Connection, image: CubeImage, question: Question, cube: int
) -> NDArray[np.bool_]:
    """Evaluate the filter on the records; only what came since the last time is read again."""
    where, as_of = question.where, question.as_of
    name = repr(where)  # not the filter itself, to which True and 1 are the same
    mask = image.masks.get(name)
    seen = 0 if mask is None else len(mask)
    grown = np.zeros(len(image.ids), np.bool_)
    grown[:seen] = False if mask is None else mask
    rows = image.columns.rows
    for start in range(seen, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]
        found = db.execute(
            "SELECT row, body FROM memories WHERE row BETWEEN ? AND ? AND cube = ?",
            (int(chunk[0]), int(chunk[-1]), cube),
        )
        for row, body in cast("Iterable[tuple[int, bytes]]", found):
            doc = start + int(np.searchsorted(chunk, row))
            if doc < len(rows) and rows[doc] == row:
                memory = codec.decode_memory(body)
                known = memory if as_of is None else codec.as_known(memory, as_of)
                grown[doc] = matches(where, known)
    image.masks[name] = grown
    while len(image.masks) > _MASKS:
        image.masks.pop(next(iter(image.masks)))
    return grown
