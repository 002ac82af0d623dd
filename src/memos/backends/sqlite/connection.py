"""Opened files: connections, the lock between processes, group commit, and error mapping."""

from __future__ import annotations

import errno
import queue
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar, cast

import apsw

from memos.backends.sqlite.inbox import Inbox, Task, settle
from memos.backends.sqlite.known import Known
from memos.backends.sqlite.lock import ProcessLock
from memos.backends.sqlite.schema import check_library, migrate
from memos.errors import DataError, MemosError, StoreError
from memos.ports.backend import Pulse
from memos.telemetry import observe

T = TypeVar("T")

FILE_NAME: Final = "memos.db"
STORE: Final = "sqlite"
BUSY_MS: Final = 30_000
CHECKPOINT_PAGES: Final = 4_000
"""About 16 MB of write-ahead log, after which the writer folds it into the file."""
LARGEST_GROUP: Final = 256
READERS: Final = 8
"""Twice the threads that read: saving an image reads inside a read."""

_CHECK: Final = "check that its directory exists and is yours to write"
_STORE_CODES: Final[Mapping[type[apsw.Error], tuple[str, bool, str]]] = {
    apsw.FullError: ("disk_full", True, "the disk is full; free some space and try again"),
    apsw.ReadOnlyError: ("read_only", False, f"it cannot be written; {_CHECK}"),
    apsw.PermissionsError: ("read_only", False, f"access was denied; {_CHECK}"),
    apsw.AuthError: ("read_only", False, f"access was denied; {_CHECK}"),
    apsw.CantOpenError: ("cannot_open", False, f"it cannot be opened; {_CHECK}"),
    apsw.BusyError: ("busy", True, "another process holds it for too long; try again"),
    apsw.LockedError: ("busy", True, "another process holds it for too long; try again"),
    apsw.IOError: ("io", True, "the disk reported an error"),
    apsw.NoMemError: ("no_memory", True, "out of memory"),
    apsw.InterruptError: ("interrupted", True, "the operation was interrupted"),
    apsw.TooBigError: ("too_big", False, "a value is larger than SQLite can hold (1 GB)"),
}  # fmt: skip
_DATA_ERRORS: Final = (
    apsw.CorruptError,
    apsw.NotADBError,
    apsw.FormatError,
    apsw.SchemaChangeError,
)


@contextmanager
def mapped(path: Path) -> Generator[None]:
    """Turn what the driver raises into this package's errors."""
    try:
        yield
    except (apsw.Error, OSError) as error:
        raise translate(error, path) from error


def translate(error: apsw.Error | OSError, path: Path) -> MemosError:
    """Return the error of this package that stands for ``error``."""
    if isinstance(error, PermissionError):
        return StoreError(
            f"{path.name}: access was denied; check the permissions of {path.parent.name!r}",
            service="sqlite",
            code="read_only",
        )
    if isinstance(error, OSError):
        code = "disk_full" if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT) else "io"
        return StoreError(
            f"{path.name}: {error.strerror or error}", service="sqlite", retryable=True, code=code
        )
    if isinstance(error, _DATA_ERRORS):
        return DataError(
            f"{path.name} is damaged ({error}); restore it from a backup",
            code="corrupt",
        )
    for type_, (code, retryable, advice) in _STORE_CODES.items():
        if isinstance(error, type_):
            return StoreError(
                f"{path.name}: {advice}", service="sqlite", retryable=retryable, code=code
            )
    return StoreError(f"{path.name}: {error}", service="sqlite", code="sqlite")


class Glance:
    """Lends one connection for a single read that is shorter than a change of threads.

    There is no transaction around it: statements see the file as it is at their time. Every call of
    the API glances, some twice; as generators, these four methods took as long as the read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._db: apsw.Connection | None = None

    def __enter__(self) -> apsw.Connection:
        self._lock.acquire()
        try:
            if self._db is None:
                with mapped(self._path):
                    self._db = _connect(self._path)
        except MemosError:
            self._lock.release()
            raise
        return self._db

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        self._lock.release()
        if isinstance(error, apsw.Error | OSError):
            raise translate(error, self._path) from error

    def close(self) -> None:
        """Close the connection."""
        if self._db is not None:
            self._db.close()


class File:
    """One database file: a writer thread, a pool of readers, and the lock between processes.

    Commits and checkpoints of all processes happen one at a time, under ``memos.lock``; only the
    writer's thread takes it, and who opens or closes. Readers never wait for writers.
    """

    def __init__(self, home: Path) -> None:
        check_library()
        self.path = home / FILE_NAME
        with mapped(self.path):
            home.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.lock = ProcessLock(home / "memos.lock")
            with self.lock:
                self._writer = _connect(self.path)
                migrate(self._writer, self.path.name)
                self._writer.set_wal_hook(self._committed)
        self._idle: queue.LifoQueue[apsw.Connection] = queue.LifoQueue()
        self.glance = Glance(self.path)
        self._readers = 0
        self._waiting = 0
        self._pool = threading.Lock()
        self._inbox = Inbox()
        self._known = Known()
        self._version: int | None = None
        self._log_pages = 0
        self._thread = threading.Thread(target=self._serve, name="memos-writer", daemon=True)
        self._thread.start()

    @contextmanager
    def reading(self) -> Generator[apsw.Connection]:
        """Lend a connection inside a read transaction, so that all its reads agree."""
        with mapped(self.path):
            db = self._lend()
            try:
                with snapshot(db):
                    yield db
            finally:
                self._idle.put(db)

    async def commit(self, work: Callable[[apsw.Connection], T]) -> T:
        """Return the result of ``work``, run in a transaction, once that is on the disk.

        Work that waits at the same moment shares one commit; an error undoes its own part only.
        """
        return await self._inbox.submit(self._forgetting(work))

    async def apply(self, work: Callable[[apsw.Connection, Known], T]) -> T:
        """Do as ``commit``, for work that keeps what the writer knows true."""
        return await self._inbox.submit(lambda db: work(db, self._known))

    def purge_log(self) -> None:
        """Move the whole write-ahead log into the file and empty it, as an erase requires.

        Raises:
            StoreError: Readers of another process kept the log in use for too long.
        """

        def truncate(db: apsw.Connection) -> None:
            with self.lock:
                db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)

        self._inbox.put(truncate, transaction=False)

    def write(self, work: Callable[[apsw.Connection], T]) -> T:
        """Return the result of ``work``, run in a transaction; for threads without a loop."""
        return self._inbox.put(self._forgetting(work), transaction=True)

    def pulse(self, lag: int) -> Pulse:
        """Return what connections and the writer are doing."""
        idle = self._idle.qsize()
        return Pulse(
            connected=self._thread.is_alive(),
            connections={"busy": max(0, self._readers - idle), "idle": idle},
            most=READERS,
            waiting={"readers": self._waiting, "writer": self._inbox.depth()},
            lag=lag,
        )

    def close(self) -> None:
        """Finish queued work, fold the log into the file, close every connection."""
        self._inbox.close()
        self._thread.join()
        while not self._idle.empty():
            self._idle.get_nowait().close()
        with mapped(self.path), self.lock:
            self.glance.close()
            self._writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            self._writer.close()
        self.lock.close()

    def _lend(self) -> apsw.Connection:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            with self._pool:
                if self._readers < READERS:
                    self._readers += 1
                    return _connect(self.path)
        start = time.perf_counter()
        self._waiting += 1
        try:
            return self._idle.get()
        finally:
            self._waiting -= 1
            observe("store_wait_seconds", time.perf_counter() - start, store=STORE, pool="readers")

    def _serve(self) -> None:
        while group := self._inbox.take(LARGEST_GROUP):
            wanted = [task for task in group if task.wanted()]
            _note_waits(wanted)
            if group[0].transaction:
                self._commit(wanted)
            else:
                for task in wanted:
                    task.attempt(self._run)
            settle(wanted)
            if self._log_pages >= CHECKPOINT_PAGES:
                self._fold()

    def _commit(self, group: list[Task]) -> None:
        try:
            with self.lock:
                self._transact(group)
        except (MemosError, apsw.Error, OSError) as error:
            failure = error if isinstance(error, MemosError) else translate(error, self.path)
            for task in group:
                task.error = task.error or failure

    def _fold(self) -> None:
        """Move what readers need no more of the log into the file; nobody waits for that."""
        with suppress(MemosError), mapped(self.path), self.lock:
            self._log_pages = 0  # if it fails, the next commit says how long the log is
            self._writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)

    def _forgetting(self, work: Callable[[apsw.Connection], T]) -> Callable[[apsw.Connection], T]:
        def run(db: apsw.Connection) -> T:
            try:
                return work(db)
            finally:
                self._known.forget()

        return run

    def _transact(self, group: list[Task]) -> None:
        """Do all in one transaction; when one fails, all are undone and each has its own."""
        db, done = self._writer, False
        db.execute("BEGIN IMMEDIATE")
        try:
            self._look_around()
            failed = not all(task.attempt(self._run) for task in group)
            if not failed:
                db.execute("COMMIT")
                done = True
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")
            if not done:
                self._known.forget()
        if failed and len(group) > 1:
            for task in group:
                self._transact([task])

    def _look_around(self) -> None:
        """Forget what is known when another connection changed the file."""
        version = cast("int", self._writer.execute("PRAGMA data_version").get)
        if version != self._version:
            self._version = version
            self._known.forget()

    def _run(self, work: Callable[[apsw.Connection], object]) -> object:
        try:
            return work(self._writer)
        except (apsw.Error, OSError) as error:
            raise translate(error, self.path) from error

    def _committed(self, _db: apsw.Connection, _name: str, pages: int) -> int:
        self._log_pages = pages
        return apsw.SQLITE_OK


def _note_waits(tasks: Sequence[Task]) -> None:
    now = time.perf_counter()
    for task in tasks:
        observe("store_wait_seconds", now - task.since, store=STORE, pool="writer")


@contextmanager
def snapshot(db: apsw.Connection) -> Generator[None]:
    """Let all reads see one state of the file."""
    db.execute("BEGIN")
    try:
        yield
    finally:
        if db.in_transaction:
            db.execute("COMMIT")


def _connect(path: Path) -> apsw.Connection:
    db = apsw.Connection(str(path))
    db.set_busy_timeout(BUSY_MS)
    db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)  # checkpoints happen under the lock only
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        "wal_autocheckpoint = 0",
        "secure_delete = ON",
        "temp_store = MEMORY",
        "cache_size = -16000",
        "mmap_size = 0",
    ):
        db.execute(f"PRAGMA {pragma}").fetchall()
    return db
