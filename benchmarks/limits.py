"""What the machine itself can do: the bare operations that MemOS is compared with."""

from __future__ import annotations

import json
import time
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import apsw
import numpy as np
from numpy.typing import NDArray

from benchmarks.cases import Turn
from memos.analysis import count_terms
from memos.ports.models import Vectors

Row: TypeAlias = tuple[str, bytes, bytes, bytes]
"""Id, body, terms, vector: the bytes of one stored memory."""

_TABLE = "create table memories (id text primary key, body blob, terms blob, vector blob)"
_TERM_BYTES = 10


class BareFile:
    """An SQLite file with one table, written as durably as MemOS writes, and nothing else."""

    def __init__(self, path: Path) -> None:
        self._db = apsw.Connection(str(path))
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = full")
        self._db.execute(_TABLE)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def insert(self, rows: Iterable[Row]) -> float:
        """Insert rows in one transaction; return the seconds it took until they were durable."""
        start = time.perf_counter()
        with self._db:
            self._db.executemany("insert into memories values (?, ?, ?, ?)", rows)
        return time.perf_counter() - start

    def fetch(self, ids: Sequence[str]) -> int:
        """Read rows by id, and return how many there were."""
        marks = ",".join("?" * len(ids))
        query = f"select id, body from memories where id in ({marks})"
        return len(self._db.execute(query, ids).fetchall())


class SearchLimit:
    """The reads without which no exact search works, done bare: the limit L.

    One product of a matrix with the query's vector, one pass over the lists of occurrences of its
    terms, one fetch of the rows returned. The rows are put into ``file``.
    """

    def __init__(self, file: BareFile, turns: Sequence[Turn], vectors: Vectors) -> None:
        self._file = file
        self._ids = [turn.id for turn in turns]
        self._vectors = vectors
        counted = (count_terms(turn.text) for turn in turns)
        occurrences = _Occurrences()
        file.insert(
            _row(turn, len(terms), vector)
            for turn, vector, terms in zip(turns, vectors, occurrences.noting(counted), strict=True)
        )
        self._postings = occurrences.postings()

    def seconds(self, query: str, vector: NDArray[np.float32], *, rows: int = 10) -> float:
        """Return how long these reads take for one query."""
        terms = [self._postings[t] for t in count_terms(query) if t in self._postings]
        start = time.perf_counter()
        scores = self._vectors @ vector
        texts = np.zeros(len(self._vectors), np.float32)
        for documents, impacts in terms:
            texts[documents] += impacts
        spent = time.perf_counter() - start
        best = np.argpartition(-(scores + texts), rows)[:rows]
        ids = [self._ids[document] for document in best.tolist()]
        start = time.perf_counter()
        self._file.fetch(ids)
        return spent + time.perf_counter() - start


def rows_of(turns: Sequence[Turn], vectors: Vectors) -> Iterator[Row]:
    """Yield rows with as many bytes as the memories of these turns take."""
    for turn, vector in zip(turns, vectors, strict=True):
        yield _row(turn, len(count_terms(turn.text)), vector)


def segmenting(texts: Sequence[str]) -> float:
    """Return how long it takes to count the terms of these texts."""
    start = time.perf_counter()
    for text in texts:
        count_terms(text)
    return time.perf_counter() - start


def _row(turn: Turn, terms: int, vector: NDArray[np.float32]) -> Row:
    return turn.id, _body(turn), bytes(_TERM_BYTES * terms), vector.tobytes()


def _body(turn: Turn) -> bytes:
    place = {"account": "default", "cube": "alice", "user": "alice", "session": turn.session}
    source = {"type": "chat", "id": turn.id, "role": turn.role, "at": turn.at}
    body = {
        "id": turn.id,
        "kind": "turn",
        "text": turn.text,
        "place": place,
        "speaker": turn.speaker,
        "sources": [source],
        "keys": [turn.id],
        "created_at": turn.at,
        "recorded_at": turn.at,
    }
    return json.dumps(body, ensure_ascii=False).encode()


class _Occurrences:
    """Term -> the documents that hold it, and how often each does."""

    def __init__(self) -> None:
        self._documents: dict[str, array[int]] = {}
        self._impacts: dict[str, array[float]] = {}

    def noting(self, counted: Iterable[Mapping[str, int]]) -> Iterator[Mapping[str, int]]:
        """Yield the terms of document after document when they were noted."""
        for number, terms in enumerate(counted):
            for term, count in terms.items():
                self._documents.setdefault(term, array("i")).append(number)
                self._impacts.setdefault(term, array("f")).append(count)
            yield terms

    def postings(self) -> Mapping[str, tuple[NDArray[np.int32], NDArray[np.float32]]]:
        """Return what was noted as arrays."""
        return {
            term: (np.array(found, np.int32), np.array(self._impacts[term], np.float32))
            for term, found in self._documents.items()
        }
