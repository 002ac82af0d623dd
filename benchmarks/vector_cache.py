"""Embeddings kept on disk, so that measuring again costs no model time."""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import apsw
import numpy as np

from memos.ports.models import Embedder, EmbedRole, Vectors

_BATCH = 64
_LOOKUP = 400
_SCHEMA = """
create table if not exists vectors (
    key blob primary key, vector blob not null
) without rowid
"""


def default_folder() -> Path:
    """Return the folder of the cache when none is named."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "memos-benchmarks"


class CachedEmbedder:
    """An embedder that asks ``inner`` once per text and role, ever.

    It has the name of ``inner``, whose vectors it hands on. Each batch is committed before the
    next is computed: an interrupted run loses at most one.

    Attributes:
        computed: Texts that ``inner`` has embedded.
        spent_s: Seconds spent in ``embed``, reading the cache included.
    """

    def __init__(self, inner: Embedder, folder: Path) -> None:
        self._inner = inner
        self.computed = 0
        self.spent_s = 0.0
        folder.mkdir(parents=True, exist_ok=True)
        name = re.sub(r"[^\w.-]+", "_", inner.name)
        self._file = apsw.Connection(str(folder / f"{name}.sqlite"))
        self._file.set_busy_timeout(60_000)
        self._file.execute("pragma journal_mode = wal")
        self._file.execute("pragma synchronous = normal")
        self._file.execute(_SCHEMA)
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            self._file.close()

    @property
    def name(self) -> str:
        """The name of the embedder behind."""
        return self._inner.name

    @property
    def dimensions(self) -> int:
        """Length of one vector."""
        return self._inner.dimensions

    async def embed(self, texts: Sequence[str], role: EmbedRole) -> Vectors:
        """Return one vector per text, from the file or from the embedder behind."""
        start = time.perf_counter()
        keys = [_key(text, role) for text in texts]
        known = self._read(set(keys))
        missing = {k: t for k, t in zip(keys, texts, strict=True) if k not in known}
        items = list(missing.items())
        for first in range(0, len(items), _BATCH):
            batch = items[first : first + _BATCH]
            vectors = await self._inner.embed([text for _, text in batch], role)
            rows = {k: v for (k, _), v in zip(batch, vectors, strict=True)}
            self._write(rows)
            known.update(rows)
            self.computed += len(rows)
        found = np.empty((len(texts), self.dimensions), dtype=np.float32)
        for row, key in enumerate(keys):
            found[row] = known[key]
        self.spent_s += time.perf_counter() - start
        return found

    def _read(self, keys: Iterable[bytes]) -> dict[bytes, np.ndarray]:
        wanted = list(keys)
        known: dict[bytes, np.ndarray] = {}
        with self._lock:
            for first in range(0, len(wanted), _LOOKUP):
                part = wanted[first : first + _LOOKUP]
                marks = ",".join("?" * len(part))
                query = f"select key, vector from vectors where key in ({marks})"
                for key, vector in self._file.execute(query, part):
                    known[key] = np.frombuffer(vector, dtype=np.float32)
        return known

    def _write(self, rows: dict[bytes, np.ndarray]) -> None:
        with self._lock, self._file:
            self._file.executemany(
                "insert or ignore into vectors values (?, ?)",
                [(key, vector.astype(np.float32).tobytes()) for key, vector in rows.items()],
            )


def _key(text: str, role: EmbedRole) -> bytes:
    digest = hashlib.blake2b(role.encode(), digest_size=16)
    digest.update(b"\0")
    digest.update(text.encode("utf-8", "surrogatepass"))
    return digest.digest()
