"""The file's schema, its migrations, and what an opened file must satisfy.

One row per memory *version*. ``changed`` is the log: a row's latest change, drawn from one counter
per file, so that following ``changed > cursor`` yields the latest state of everything that moved.
The counter is the ``head`` of cube 0, which belongs to nobody. A ``row`` number is the change that
made it: numbers rise, so the arrays of a cube image are in row order, and none is used again. Rows
that never changed since are found by their number; only the others need an index of changes. Every
index costs each add a page of the write-ahead log, about a tenth of a durable commit.

Vectors lie beside the rows under the packed key ``row * 64 + embedder``, which spares a second
index and lets the vectors of two embedders live side by side while a cube is re-embedded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, cast

import apsw

from memos.backends.sqlite import codec
from memos.errors import ConfigError, DataError
from memos.traits import traits

APPLICATION_ID: Final = 0x4D656D4F  # "MemO"
MINIMUM_SQLITE: Final = (3, 51, 3)
"""Earlier releases have a WAL-reset race between connections that can corrupt the file."""
EMBEDDERS_PER_FILE: Final = 64

_V1: Final = """
CREATE TABLE cubes (
    cube INTEGER PRIMARY KEY, account TEXT NOT NULL, id TEXT NOT NULL,
    head INTEGER NOT NULL DEFAULT 0, embedder INTEGER, UNIQUE (account, id));
INSERT INTO cubes (cube, account, id) VALUES (0, '', '');
CREATE TABLE places (
    place INTEGER PRIMARY KEY, cube INTEGER NOT NULL,
    user TEXT, agent TEXT, app TEXT, session TEXT);
CREATE UNIQUE INDEX places_key ON places
    (cube, ifnull(session, ''), ifnull(user, ''), ifnull(agent, ''), ifnull(app, ''),
     session IS NULL, user IS NULL, agent IS NULL, app IS NULL);
CREATE TABLE embedders (embedder INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,
    dimensions INTEGER NOT NULL);
CREATE TABLE memories (
    row INTEGER PRIMARY KEY, cube INTEGER NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL,
    place INTEGER NOT NULL, position INTEGER, latest INTEGER NOT NULL, live INTEGER NOT NULL,
    recorded INTEGER NOT NULL, ended INTEGER, expires INTEGER, changed INTEGER NOT NULL,
    speaker TEXT, body BLOB NOT NULL, terms BLOB NOT NULL);
CREATE UNIQUE INDEX memories_id ON memories (cube, id, version);
CREATE INDEX memories_cube ON memories (cube);
CREATE INDEX memories_moved ON memories (cube, changed) WHERE changed <> row;
CREATE INDEX memories_order ON memories (place, position) WHERE position IS NOT NULL;
CREATE TABLE vectors (key INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE keys (cube INTEGER NOT NULL, digest BLOB NOT NULL, id TEXT NOT NULL,
    PRIMARY KEY (cube, digest)) WITHOUT ROWID;
CREATE TABLE tombstones (cube INTEGER NOT NULL, id TEXT NOT NULL, erased INTEGER NOT NULL,
    changed INTEGER NOT NULL, PRIMARY KEY (cube, id)) WITHOUT ROWID;
CREATE INDEX tombstones_log ON tombstones (cube, changed);
CREATE TABLE links (cube INTEGER NOT NULL, source TEXT NOT NULL, target TEXT NOT NULL,
    relation TEXT NOT NULL, weight REAL NOT NULL,
    PRIMARY KEY (cube, source, target, relation)) WITHOUT ROWID;
CREATE INDEX links_target ON links (cube, target);
CREATE TABLE batches (cube INTEGER NOT NULL, id TEXT NOT NULL, at INTEGER NOT NULL,
    receipt BLOB NOT NULL, PRIMARY KEY (cube, id)) WITHOUT ROWID;
CREATE TABLE jobs (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, account TEXT NOT NULL, cube TEXT NOT NULL,
    scope_key TEXT NOT NULL, priority INTEGER NOT NULL, due INTEGER NOT NULL,
    leased_until INTEGER, dead INTEGER NOT NULL DEFAULT 0, cause TEXT, attempts INTEGER NOT NULL,
    body BLOB NOT NULL);
CREATE INDEX jobs_due ON jobs (dead, due);
CREATE TABLE job_memories (job INTEGER NOT NULL, account TEXT NOT NULL, cube TEXT NOT NULL,
    memory TEXT NOT NULL, PRIMARY KEY (account, cube, memory, job)) WITHOUT ROWID;
CREATE TABLE entries (type TEXT NOT NULL, account TEXT NOT NULL, id TEXT NOT NULL,
    version INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (type, account, id)) WITHOUT ROWID;
CREATE TABLE blobs (account TEXT NOT NULL, digest TEXT NOT NULL, cube INTEGER NOT NULL,
    memory TEXT NOT NULL, PRIMARY KEY (account, digest, cube, memory)) WITHOUT ROWID;
CREATE INDEX blobs_memory ON blobs (cube, memory);
CREATE TABLE purges (cube INTEGER NOT NULL, account TEXT NOT NULL, digest TEXT);
"""

_V2: Final = """
ALTER TABLE cubes ADD COLUMN shift INTEGER NOT NULL DEFAULT 0;
ALTER TABLE cubes ADD COLUMN settled INTEGER NOT NULL DEFAULT 0;
CREATE TABLE staged (cube INTEGER PRIMARY KEY, token TEXT NOT NULL UNIQUE,
    account TEXT NOT NULL, target TEXT NOT NULL, embedder TEXT NOT NULL);
"""
"""Staging cubes belong to no account until they are published. Who follows the log must not have
passed their changes by then: those up to ``settled`` count as ``shift`` later than they say."""

_V3: Final = """
ALTER TABLE jobs RENAME COLUMN dead TO ended;
ALTER TABLE jobs ADD COLUMN label TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN put_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN started_at INTEGER;
ALTER TABLE jobs ADD COLUMN ended_at INTEGER;
ALTER TABLE jobs ADD COLUMN done INTEGER;
ALTER TABLE jobs ADD COLUMN total INTEGER;
ALTER TABLE jobs ADD COLUMN code TEXT;
ALTER TABLE jobs ADD COLUMN result BLOB;
UPDATE jobs SET label = json_extract(CAST(body AS TEXT), '$.label'), put_at = due,
    ended_at = CASE WHEN ended THEN due END;
DROP INDEX jobs_due;
CREATE INDEX jobs_due ON jobs (ended, label, due);
CREATE INDEX jobs_cube ON jobs (account, cube, seq);
"""
"""``ended`` is 0 for what is to be done, 1 for what was given up, 2 for what is done."""

_V4: Final = "".join(
    f"ALTER TABLE memories ADD COLUMN {name} INTEGER NOT NULL DEFAULT 0;"
    for name in ("cues", "said", "begins", "ends")
)
"""What is told of a memory beside its words, see ``memos.traits``."""
_CHUNK: Final = 1000


def _v4(db: apsw.Connection) -> None:
    db.execute(_V4)
    after = 0
    while rows := db.execute(
        "SELECT row, body FROM memories WHERE row > ? ORDER BY row LIMIT ?", (after, _CHUNK)
    ).fetchall():
        told = [
            (*traits(codec.decode_memory(body)), row)
            for row, body in cast("list[tuple[int, bytes]]", rows)
        ]
        db.executemany(
            "UPDATE memories SET cues = ?, said = ?, begins = ?, ends = ? WHERE row = ?", told
        )
        after = told[-1][-1]


def _script(text: str) -> Callable[[apsw.Connection], None]:
    def run(db: apsw.Connection) -> None:
        db.execute(text)

    return run


MIGRATIONS: Final = (_script(_V1), _script(_V2), _script(_V3), _v4)
"""Append only: entry ``n`` takes a file from version ``n`` to ``n + 1``."""


def check_library() -> None:
    """Refuse an SQLite with the known WAL race.

    Raises:
        ConfigError: The bundled SQLite is older than 3.51.3.
    """
    version = tuple(int(part) for part in apsw.sqlite_lib_version().split("."))
    if version < MINIMUM_SQLITE:
        raise ConfigError(
            f"apsw bundles SQLite {apsw.sqlite_lib_version()}, which can corrupt a file that two "
            "processes use; upgrade with: pip install -U 'apsw>=3.51.3'",
            code="sqlite_too_old",
        )


def migrate(db: apsw.Connection, name: str) -> None:
    """Bring the file to the newest schema, in one transaction.

    Raises:
        DataError: The file belongs to another program or to a newer release.
    """
    version, application = _number(db, "user_version"), _number(db, "application_id")
    if application not in (0, APPLICATION_ID) or (version == 0 and _has_tables(db)):
        raise DataError(f"{name} is an SQLite file of another program", code="foreign_file")
    if version > len(MIGRATIONS):
        raise DataError(
            f"{name} has schema {version}, this release knows up to {len(MIGRATIONS)}; "
            "upgrade agent-memos to open it",
            code="schema_too_new",
        )
    if version == len(MIGRATIONS):
        return
    with db:
        for step in MIGRATIONS[_number(db, "user_version") :]:
            step(db)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def _number(db: apsw.Connection, pragma: str) -> int:
    return int(db.pragma(pragma))


def _has_tables(db: apsw.Connection) -> bool:
    return db.execute("SELECT 1 FROM sqlite_master LIMIT 1").get is not None
