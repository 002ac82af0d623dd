"""Drafts become memories: known ones recognised, new ones embedded, all written as one batch."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Final, NamedTuple, Self
from weakref import WeakValueDictionary

import anyio
from msgspec import structs

from memos._offload import Offload
from memos.analysis import count_terms, index_text, passage_text
from memos.errors import Conflict, InvalidInput
from memos.ingest.overlap import repeated
from memos.ingest.together import Line
from memos.ports.models import Embedder
from memos.ports.stores import RecordStore
from memos.telemetry import span
from memos.types import Batch, Head, Memory, Place, Put, Receipt, Scope, Vector

_ATTEMPTS: Final = 25
"""How often a session that keeps growing meanwhile is read again."""
_ALONE: Final = nullcontext()
_FEW: Final = 16
"""Drafts of an add up to which it is worth doing together with others."""
_INLINE_CHARACTERS: Final = 4_000
"""Up to here segmenting takes about as long as a thread hop."""


@dataclass(frozen=True, slots=True)
class Added:
    """Drafts' outcome, in order: where each is stored, and whether this call stored it."""

    ids: tuple[str, ...]
    stored: tuple[bool, ...]

    @classmethod
    def of(cls, outcomes: Iterable[tuple[str, bool]]) -> Self:
        """Make it of where each is stored, and whether this call stored it."""
        pairs = list(outcomes)
        return cls(tuple(id for id, _ in pairs), tuple(stored for _, stored in pairs))


class _Add(NamedTuple):
    """What one call adds, and what its caller may do."""

    drafts: Sequence[Memory]
    scope: Scope


@dataclass(frozen=True, slots=True)
class Ingest:
    """Writes memories: at most one look at what is known, one embedding call, one batch."""

    records: RecordStore
    embedder: Embedder
    now: Callable[[], datetime]
    new_id: Callable[[], str]
    _offload: Offload = field(default_factory=lambda: Offload(2))
    _sessions: WeakValueDictionary[Place, anyio.Lock] = field(
        default_factory=WeakValueDictionary[Place, anyio.Lock]
    )
    _lines: WeakValueDictionary[tuple[str, str], Line[_Add, Added]] = field(
        default_factory=WeakValueDictionary[tuple[str, str], Line[_Add, Added]]
    )

    async def add(self, drafts: Sequence[Memory], scope: Scope, batch_id: str | None) -> Added:
        """Store the drafts, each once.

        Raises:
            Conflict: A session grew without end meanwhile, or an id is taken.
            ModelError: The embedder failed; nothing was stored.
        """
        place = drafts[0].place
        keyed = all(draft.keys for draft in drafts)
        if keyed and batch_id is None and _few(drafts, place) and scope.may(place.cube, "write"):
            return await self._line(place).run(_Add(drafts, scope))
        said = all(
            draft.place == place and draft.kind == "turn" and not draft.id for draft in drafts
        )
        if keyed or not said or place.session is None:
            return await self._store(drafts, await self._held(drafts, scope), scope, batch_id)
        # Two appends to one session would only make each other read its tail again.
        lock = self._sessions.setdefault(place, anyio.Lock())
        vectors: dict[str, Vector] = {}
        for attempt in range(_ATTEMPTS):
            async with lock:
                try:
                    return await self._append(drafts, scope, batch_id, vectors)
                except Conflict as conflict:
                    if conflict.code != "head_moved" or attempt == _ATTEMPTS - 1:
                        raise
        raise AssertionError

    def _line(self, place: Place) -> Line[_Add, Added]:
        """Return where small adds to a cube wait for each other."""
        key = (place.account, place.cube)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = Line(self._together)
        return line

    async def _together(self, adds: Sequence[_Add]) -> list[Added]:
        """Store keyed drafts of several adds to one cube; to do it again is harmless."""
        drafts = adds[0].drafts if len(adds) == 1 else [d for add in adds for d in add.drafts]
        scope = adds[0].scope  # whoever stands in the line may write the cube, and no more is asked
        known = await self._held(drafts, scope)
        writing = self._line(drafts[0].place).writing(len(adds))
        added = await self._store(drafts, known, scope, None, hold=writing)
        if len(adds) == 1:
            return [added]
        outcome = iter(zip(added.ids, added.stored, strict=True))
        return [Added.of(islice(outcome, len(add.drafts))) for add in adds]

    async def change(
        self, memory: Memory, scope: Scope, expect: int, batch_id: str | None = None
    ) -> Receipt:
        """Store ``memory`` as the version after ``expect``, once per ``batch_id``."""
        puts = await self._puts([memory], {}, {memory.id})
        place = memory.place
        batch = Batch(
            batch_id, place.account, place.cube, self.embedder.name, tuple(puts),
            expect={memory.id: expect},
        )  # fmt: skip
        return await self.records.apply(batch, scope)

    async def _held(self, drafts: Sequence[Memory], scope: Scope) -> list[str | None]:
        """Return, for each draft, the memory that holds one of its keys."""
        keys = [key for draft in drafts for key in draft.keys]
        if not keys:
            return [None] * len(drafts)
        held = await self.records.holders(drafts[0].place.cube, keys, scope)
        return [next((held[key] for key in draft.keys if key in held), None) for draft in drafts]

    async def _append(
        self,
        drafts: Sequence[Memory],
        scope: Scope,
        batch_id: str | None,
        vectors: dict[str, Vector],
    ) -> Added:
        place = drafts[0].place
        tail = await self.records.tail(place, scope, len(drafts))
        count = repeated(tail.memories, drafts)
        again = [memory.id for memory in tail.memories[len(tail.memories) - count :]]
        known = [*again, *await self._held(drafts[count:], scope)]
        return await self._store(
            drafts, known, scope, batch_id, heads=(Head(place, tail.position),), vectors=vectors
        )

    async def _store(
        self,
        drafts: Sequence[Memory],
        known: Sequence[str | None],
        scope: Scope,
        batch_id: str | None,
        *,
        heads: tuple[Head, ...] = (),
        vectors: dict[str, Vector] | None = None,
        hold: AbstractContextManager[object] = _ALONE,
    ) -> Added:
        now = self.now()
        fresh = [
            self._stamped(draft, now)
            for draft, holder in zip(drafts, known, strict=True)
            if holder is None
        ]
        if not fresh and batch_id is None:
            return Added(tuple(id for id in known if id is not None), (False,) * len(drafts))
        named = [draft.id for draft in drafts if draft.id]
        if len(set(named)) < len(named):
            raise InvalidInput("two of the items have the same id", code="duplicate_id")
        place = drafts[0].place
        batch = Batch(
            batch_id, place.account, place.cube, self.embedder.name,
            tuple(await self._puts(fresh, {} if vectors is None else vectors, set(named))),
            heads=heads,
            expect=dict.fromkeys(named, 0),
        )  # fmt: skip
        with hold:
            receipt = await self.records.apply(batch, scope)
        if receipt.repeated:
            return Added(receipt.ids, (False,) * len(receipt.ids))
        written = iter(zip(receipt.ids, receipt.stored, strict=True))
        outcome = [next(written) if holder is None else (holder, False) for holder in known]
        return Added.of(outcome)

    def _stamped(self, draft: Memory, now: datetime) -> Memory:
        return structs.replace(
            draft,
            id=draft.id or self.new_id(),
            created_at=draft.created_at or now,
            recorded_at=now,
        )

    async def _puts(
        self, memories: Sequence[Memory], vectors: dict[str, Vector], named: Container[str]
    ) -> list[Put]:
        """Return the memories with what indexes need; ids outside ``named`` were made here."""
        texts = [passage_text(memory) for memory in memories]
        missing = [text for text in dict.fromkeys(texts) if text not in vectors]
        if missing:
            with span("embed_seconds", role="passage"):
                embedded = await self.embedder.embed(missing, "passage")
            vectors |= dict(zip(missing, embedded, strict=True))

        made = memories, [vectors[text] for text in texts], named
        if sum(map(len, texts)) > _INLINE_CHARACTERS:
            return await self._offload.run(_indexed, *made)
        return _indexed(*made)


def _indexed(
    memories: Sequence[Memory], vectors: Sequence[Vector], named: Container[str]
) -> list[Put]:
    return [
        Put(memory, vector, count_terms(index_text(memory)), memory.id not in named)
        for memory, vector in zip(memories, vectors, strict=True)
    ]


def _few(drafts: Sequence[Memory], place: Place) -> bool:
    """Whether these are few enough to go with others, and none was named by its caller."""
    return len(drafts) <= _FEW and all(d.place == place and not d.id for d in drafts)
