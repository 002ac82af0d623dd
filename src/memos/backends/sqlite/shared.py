"""What the processes that serve one home share, and may lose: a small file of its own.

Nothing is synced to the disk, so that a token costs no more than a look-up; a file that a power cut
damaged is begun anew.
"""

from __future__ import annotations

import threading
import time
from hashlib import blake2b
from pathlib import Path
from typing import Final, cast

import apsw

from memos._offload import Offload
from memos.backends.sqlite.connection import mapped
from memos.buckets import Rate

FILE_NAME: Final = "shared.db"
_BUSY_MS: Final = 5_000
_SWEEP: Final = 10_000
"""After so many tokens buckets that are full again are dropped."""
_BROKEN: Final = (apsw.CorruptError, apsw.NotADBError)
_TAKE: Final = (
    "INSERT INTO buckets VALUES (?1, ?2 + ?3) ON CONFLICT (key) DO UPDATE"
    " SET full = max(full, ?2) + ?3 WHERE max(full, ?2) - ?2 <= ?4 RETURNING 1"
)


class Shared:
    """``SharedState`` of the processes that have one home open; its file is made at first use."""

    def __init__(self, home: Path) -> None:
        self._path = home / FILE_NAME
        self._offload = Offload(1)
        self._guard = threading.Lock()
        self._db: apsw.Connection | None = None
        self._taken = 0

    async def take(self, key: str, rate: Rate) -> float:
        """Take a token; return 0, or in how many seconds there will be one."""
        return await self._offload.run(self._take, key, rate)

    def close(self) -> None:
        """Close the file."""
        with self._guard, mapped(self._path):
            if self._db is not None:
                self._db.close()
                self._db = None

    def _take(self, key: str, rate: Rate) -> float:
        with self._guard, mapped(self._path):
            try:
                return self._asked(key, rate)
            except _BROKEN:
                self._begin_anew()
                return self._asked(key, rate)

    def _asked(self, key: str, rate: Rate) -> float:
        db = self._db = self._db or self._connected()
        # Whoever reads the file learns of no address that called.
        digest, now = blake2b(key.encode(), digest_size=16).digest(), time.time()
        self._taken += 1
        if self._taken % _SWEEP == 0:
            db.execute("DELETE FROM buckets WHERE full < ?", (now,))
        if db.execute(_TAKE, (digest, now, rate.interval, rate.slack)).get is not None:
            return 0.0
        full = db.execute("SELECT full FROM buckets WHERE key = ?", (digest,)).get
        return max(0.001, cast("float", full or now) - now - rate.slack)

    def _connected(self) -> apsw.Connection:
        db = apsw.Connection(str(self._path))
        db.set_busy_timeout(_BUSY_MS)
        for pragma in ("journal_mode = WAL", "synchronous = OFF"):
            db.execute(f"PRAGMA {pragma}").fetchall()
        db.execute(
            "CREATE TABLE IF NOT EXISTS buckets"
            " (key BLOB PRIMARY KEY, full REAL NOT NULL) WITHOUT ROWID"
        )
        return db

    def _begin_anew(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None
        for path in self._path.parent.glob(f"{FILE_NAME}*"):
            path.unlink(missing_ok=True)
