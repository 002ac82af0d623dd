"""One lock between processes, taken at every commit: as cheap as the system makes it."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Self

if sys.platform == "win32":
    import msvcrt

    def _lock(file: int) -> None:
        os.lseek(file, 0, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_LOCK, 1)

    def _unlock(file: int) -> None:
        os.lseek(file, 0, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_UNLCK, 1)

    def _try_lock(file: int) -> None:
        os.lseek(file, 0, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX)

    def _unlock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)

    def _try_lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


class ProcessLock:
    """An exclusive lock on a file, between processes and between the threads of one.

    The system releases it when its holder dies. The file stays open, so that taking the lock costs
    one system call; the libraries that open it each time took a third of a durable write.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._threads = threading.Lock()
        self._file: int | None = None

    def __enter__(self) -> Self:
        self._threads.acquire()
        try:
            if self._file is None:
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            _lock(self._file)
        except OSError:
            self._threads.release()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        if self._file is not None:
            _unlock(self._file)
        self._threads.release()

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._threads:
            if self._file is not None:
                os.close(self._file)
                self._file = None


class Lease:
    """Says that a process still works on something; it ends with the process at the latest."""

    def __init__(self, path: Path, file: int) -> None:
        self._path = path
        self._file = file

    @classmethod
    def take(cls, path: Path) -> Self | None:
        """Return a lease, None while another holds it."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _try_lock(file)
            # Its holder may have ended it, and removed it, between the opening and the locking.
            ours = os.path.samestat(os.fstat(file), path.stat())
        except OSError:
            ours = False
        if ours:
            return cls(path, file)
        os.close(file)
        return None

    def end(self) -> None:
        """Let go, and leave no file behind."""
        self._path.unlink(missing_ok=True)
        os.close(self._file)
