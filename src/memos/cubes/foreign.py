"""MemOS's own dumps: ``config.json`` and ``textual_memory.json`` in each of its forms.

Memories keep their ids, times, sources and metadata; edges of the tree form become links. MemOS
writes no versions and no model's name with its vectors, so everything is embedded anew. Of
``config.json`` only the cube's id is looked at: it holds API keys in clear text. Pickled files are
never opened: unpickling runs what they say.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Final, cast

from msgspec import structs

from memos.cubes.load import Incomplete, Skipped
from memos.errors import DataError, InvalidInput
from memos.ingest import items
from memos.ports.transfer import Version
from memos.types import Link, Memory, Place, Scope

CONFIG: Final = "config.json"
TEXTUAL: Final = "textual_memory.json"
_PIECE: Final = 500
_LARGEST: Final = 1024 * 1024 * 1024
_PICKLED: Final = frozenset({".pickle", ".pkl"})
_ADAPTER: Final = "parametric_memory.adapter"
_HIDDEN: Final = frozenset({"archived", "deleted"})
_PREFERENCES: Final = frozenset({"explicit_preference", "implicit_preference"})


@dataclass(frozen=True, slots=True)
class ForeignCube:
    """``Incoming`` from a directory that MemOS dumped."""

    cube: str
    name: str
    nodes: Sequence[tuple[str, Mapping[str, object]]]
    edges: Sequence[Link]
    written: datetime
    skipped: list[Skipped] = field(default_factory=list[Skipped])

    @classmethod
    def open(cls, folder: Path) -> ForeignCube:
        """Read every file of the dump that is text.

        Raises:
            DataError: A file is not what MemOS writes.
        """
        config = _config(folder / CONFIG)
        nodes: list[tuple[str, Mapping[str, object]]] = []
        edges: list[Link] = []
        skipped: list[Skipped] = []
        for path in sorted(folder.iterdir()):
            if path.name == CONFIG or path.is_symlink() or not path.is_file():
                continue
            if path.suffix == ".json":
                found, joined = _read(path)
                nodes += [(f"{path.name}[{index}]", item) for index, item in enumerate(found)]
                edges += joined
            elif (reason := _reason(path)) is not None:
                skipped.append(Skipped(path.name, reason))
        cube = str(config.get("cube_id") or folder.name)
        known = {str(item.get("id")) for _, item in nodes}
        whole = [e for e in edges if e.source in known and e.target in known]
        if len(whole) < len(edges):
            reason = f"{len(edges) - len(whole)} edges join nodes that the dump does not hold"
            skipped.append(Skipped(TEXTUAL, reason))
        return cls(cube, cube, nodes, whole, _written(folder), skipped)

    @property
    def total(self) -> int:
        """Memories in all."""
        return len(self.nodes)

    def pieces(self, scope: Scope, cube: str) -> Iterator[Incomplete]:
        """Yield the memories, each id once, and then the edges as links."""
        place = Place(scope.account, cube, user=scope.principal)
        seen: set[str] = set()
        for start in range(0, len(self.nodes), _PIECE):
            versions: list[Version] = []
            for where, item in self.nodes[start : start + _PIECE]:
                memory = self._memory(item, place, where)
                if memory.id in seen:
                    self.skipped.append(Skipped(where, f"a second memory {memory.id!r}"))
                    continue
                seen.add(memory.id)
                versions.append(Version(memory, memory.retired_at))
            yield Incomplete(versions, [True] * len(versions))
        for start in range(0, len(self.edges), _PIECE):
            yield Incomplete(links=self.edges[start : start + _PIECE])

    def blobs(self) -> Iterator[bytes]:
        """Yield nothing: MemOS dumps no files."""
        yield from ()

    def _memory(self, item: Mapping[str, object], place: Place, where: str) -> Memory:
        try:
            memory = items.from_item(item, place, where)
        except InvalidInput as error:
            raise DataError(error.detail, code="damaged_dump") from None
        recorded = memory.recorded_at or memory.created_at or self.written
        hidden = memory.status in _HIDDEN
        return structs.replace(
            memory,
            id=memory.id or sha256(memory.text.encode()).hexdigest()[:32],
            created_at=memory.created_at or recorded,
            recorded_at=recorded,
            retired_at=recorded if hidden else None,
        )


def is_foreign(folder: Path) -> bool:
    """Whether a directory looks like a dump of MemOS."""
    return (folder / CONFIG).is_file() or (folder / TEXTUAL).is_file()


def _written(folder: Path) -> datetime:
    """Return when the dump was written: the time of memories that say none, the same each time."""
    written = max(path.stat().st_mtime for path in folder.glob("*.json"))
    return datetime.fromtimestamp(written, UTC)


def _reason(path: Path) -> str | None:
    if path.suffix in _PICKLED:
        return "a pickled file: opening it would run what it says; build the caches anew"
    if path.name == _ADAPTER:
        return "MemOS writes a placeholder here, no adapter; train one from the memories"
    return None


def _config(path: Path) -> Mapping[str, object]:
    return _object(_json(path), path.name) if path.is_file() else {}


def _json(path: Path) -> object:
    try:
        if path.stat().st_size > _LARGEST:
            raise DataError(f"{path.name} is larger than 1 GB", code="damaged_dump")
        return cast("object", json.loads(path.read_bytes()))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path.name} is not JSON ({error})", code="damaged_dump") from None
    except OSError as error:
        raise InvalidInput(
            f"{path.name} cannot be read: {error.strerror}", code="no_file"
        ) from None


def _read(path: Path) -> tuple[list[Mapping[str, object]], list[Link]]:
    """Return the items and edges of a file, whichever of MemOS's forms it has."""
    content, name = _json(path), path.name
    if isinstance(content, list):  # naive and general
        return [_item(entry, name) for entry in cast("list[object]", content)], []
    whole = _object(content, name)
    if "nodes" in whole:  # tree
        nodes = [_item(entry, name) for entry in _listed(whole["nodes"], name)]
        edges = [_edge(entry, name) for entry in _listed(whole.get("edges") or [], name)]
        return nodes, edges
    rows = [row for rows in whole.values() for row in _listed(rows, name)]  # preferences
    return [_item(row, name) for row in rows], []


def _item(entry: object, name: str) -> Mapping[str, object]:
    """Return an entry as ``{id, memory, metadata}``."""
    fields = _object(entry, name)
    payload = fields.get("payload")
    if not isinstance(payload, Mapping):
        return fields
    payload = cast("Mapping[str, object]", payload)
    if isinstance(payload.get("metadata"), Mapping):
        return {"id": fields.get("id"), **payload}
    return _preference(fields, payload)


def _preference(
    fields: Mapping[str, object], payload: Mapping[str, object]
) -> Mapping[str, object]:
    """Return a row of MemOS's preference collections, whose payload is the metadata."""
    metadata = {k: v for k, v in payload.items() if k not in ("id", "memory", "embedding")}
    if metadata.get("preference_type") in _PREFERENCES:
        metadata.setdefault("memory_type", "PreferenceMemory")
    original = fields.get("original_text")
    if original is not None:
        metadata.setdefault("original_text", original)
    text = fields.get("memory") or payload.get("memory") or payload.get("preference")
    return {"id": fields.get("id") or payload.get("id"), "memory": text, "metadata": metadata}


def _edge(entry: object, name: str) -> Link:
    fields = _object(entry, name)
    source, target, relation = (str(fields.get(key) or "") for key in ("source", "target", "type"))
    if not (source and target and relation):
        raise DataError(f"{name}: an edge has no source, target or type", code="damaged_dump")
    return Link(source, target, relation)


def _object(value: object, name: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise DataError(
            f"{name}: expected an object, got {type(value).__name__}", code="damaged_dump"
        )
    return cast("Mapping[str, object]", value)


def _listed(value: object, name: str) -> Sequence[object]:
    if not isinstance(value, list):
        raise DataError(f"{name}: expected a list, got {type(value).__name__}", code="damaged_dump")
    return cast("list[object]", value)
