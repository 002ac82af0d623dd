"""The memory operating system as an agent sees it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Unpack, cast

from msgspec import structs

from memos import options as opt
from memos.chat.accounting import UsageReport
from memos.chat.conversation import Chat, ChatResult, ChatStreamEvent
from memos.errors import Conflict, InvalidInput
from memos.filters import parse, selects_everything
from memos.forget import Forget, Mode, missing
from memos.ingest.pipeline import Ingest
from memos.maintain import Maintain
from memos.options import (
    AddOptions,
    ChatOptions,
    ForgetOptions,
    ListOptions,
    SearchOptions,
    UpdateOptions,
    UsageOptions,
    Where,
    Who,
)
from memos.ports.stores import RecordStore
from memos.progress import Progress
from memos.remember import AddResult, Defaults, Remember
from memos.retrieve.pack import Dedup
from memos.retrieve.pipeline import Query, SearchResult
from memos.retrieve.recipe import named
from memos.retrieve.search import Search
from memos.types import (
    Access,
    Memory,
    MemoryPage,
    Page,
    Scope,
    Tier,
)
from memos.users.access import Gate
from memos.users.service import Users
from memos.users.sharing import Cubes

_INLINE_ITEMS = 64


@dataclass(frozen=True, slots=True)
class ForgetResult:
    """The memories that were retired or erased."""

    ids: tuple[str, ...]
    mode: Mode


@dataclass(frozen=True, slots=True)
class Parts:
    """What ``build`` composes ``MemoryOperations`` from.

    ``settle`` ends what jobs are still to write into the cubes of a scope.
    """

    records: RecordStore
    gate: Gate
    ingest: Ingest
    remember: Remember
    forget: Forget
    search: Search
    users: Users
    cubes: Cubes
    maintain: Maintain
    chat: Chat
    defaults: Defaults
    settle: Callable[[Scope], Awaitable[None]]
    now: Callable[[], datetime]


class MemoryOperations:
    """Everything an agent can ask for, over parts that somebody else composed (``memos.build``).

    Attributes:
        users: Create, list, rename users, give them roles, deactivate them.
        cubes: Create, list, share, transfer, unregister cubes.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._defaults = parts.defaults
        self.users = parts.users
        self.cubes = parts.cubes

    async def add(self, content: object, **options: Unpack[AddOptions]) -> AddResult:
        """Remember a text, a list of messages, a text file, or MemOS's textual memory items.

        Messages are OpenAI-style (``role``, ``content`` as text or parts), with optional ``name``,
        ``chat_time`` and ``message_id``. Every memory is found from the moment this returns.

        Args:
            content: A string, a list of messages, a ``pathlib.Path`` to a text or Markdown file,
                or one or several ``{"memory": ..., "metadata": {...}}`` items.
            **options: See ``AddOptions``.

        Raises:
            InvalidInput: The content or an option is malformed; nothing was stored.
            NotFound: The user or the cube does not exist.
            Forbidden: The user may not write the cube.
            Conflict: An id is taken, or the cube was embedded with another model.
            StoreError: The store failed; nothing was stored.
        """
        remember = self._parts.remember
        return await remember.store(await remember.read(content, options))

    async def search(self, query: str, **options: Unpack[SearchOptions]) -> SearchResult:
        """Find the memories that answer ``query``, best first.

        Args:
            query: What to look for, in any language.
            **options: See ``SearchOptions``.

        Raises:
            InvalidInput: The query or an option is malformed.
            ConfigError: A reranker or the web is asked for, and none is configured.
            NotFound: The user or a cube does not exist.
            Conflict: A cube was embedded with another model; ``memos reindex`` mends it.
            StoreError: The store failed.
        """
        opt.known(options, SearchOptions)
        scope = await self._scope(options, "read")
        return await self._parts.search.search(self._query(query, options), scope)

    def _query(self, query: str, options: SearchOptions) -> Query:
        """Return the query that a call's options make, with the defaults for what it leaves out."""
        budget = options.get("budget")
        limit = options.get("limit", self._defaults.limit if budget is None else 1000)
        recipe = named(options.get("recipe", self._defaults.recipe))
        dedup = opt.one_of(options.get("dedup", recipe.dedup), Dedup, "dedup")
        made = Query(
            text=opt.text(query, "query"),
            where=parse(options.get("where")),
            limit=opt.count(limit, "limit"),
            budget=None if budget is None else opt.count(budget, "budget", 10_000_000),
            recipe=recipe,
            dedup=cast("Dedup", dedup),
            at=opt.moment(options.get("at"), "at") or self._parts.now(),
            as_of=opt.moment(options.get("as_of"), "as_of"),
            candidates=max(self._defaults.candidates, limit),
            rerank=self._parts.search.reranks(options.get("rerank")),
            neighbours=opt.neighbours(options.get("neighbours", 0)),
            internet=self._parts.search.browses(options.get("internet", False)),
            session=opt.name(options.get("session"), "session"),
        )
        if made.as_of is not None and (made.neighbours or made.internet):
            what = "internet" if made.internet else "neighbours"
            raise InvalidInput(f"{what}: a past state has none; leave it out, or as_of")
        return made

    async def chat(self, query: str, **options: Unpack[ChatOptions]) -> ChatResult:
        """Answer ``query`` from what is remembered, and remember the exchange.

        Args:
            query: What the user says.
            **options: See ``ChatOptions``.

        Raises:
            ConfigError: No chat model is configured, or the web is asked for and none is.
            InvalidInput: The query or an option is malformed, or passes the prompt's budget.
            ModelError: The model failed; what the user said is remembered all the same.
        """
        return await self._parts.chat.answer(query, options)

    async def chat_stream(
        self, query: str, **options: Unpack[ChatOptions]
    ) -> AsyncGenerator[ChatStreamEvent, None]:
        """Answer as ``chat`` does, piece by piece: ``Recalled``, deltas, at the end ``ChatDone``.

        Whoever stops before the end closes the generator; what was said so far is remembered then.
        """
        async with aclosing(self._parts.chat.stream(query, options)) as events:
            async for event in events:
                yield event

    async def usage(self, **options: Unpack[UsageOptions]) -> UsageReport:
        """Return what chat models took for the cubes that the user may read, by day and model."""
        opt.known(options, UsageOptions)
        scope = await self._scope(options, "read")
        since = opt.moment(options.get("since"), "since")
        return await self._parts.chat.meter.report(sorted(scope.grants), since)

    async def get(self, id: str, *, resolve: bool = False, **who: Unpack[Where]) -> Memory:
        """Return the latest version of a memory, also when it was retired or superseded.

        Args:
            id: Its id.
            resolve: Follow ``superseded_by`` to the memory that stands in its place.
            **who: See ``Where``.

        Raises:
            NotFound: There is none for this user; code ``erased`` when it was erased.
        """
        opt.known(who, Where)
        scope = await self._scope(who, "read")
        seen: set[str] = set()
        while True:
            memory = await self._one(opt.text(id, "id"), scope)
            if not resolve or memory.superseded_by is None or memory.superseded_by in seen:
                return memory
            seen.add(id)
            id = memory.superseded_by

    async def get_all(self, **options: Unpack[ListOptions]) -> MemoryPage:
        """Return a page of memories in the order they were recorded.

        Args:
            **options: See ``ListOptions``.

        Raises:
            InvalidInput: The filter or an option is malformed.
            NotFound: The user or a cube does not exist.
        """
        opt.known(options, ListOptions)
        scope = await self._scope(options, "read")
        page = Page(opt.count(options.get("limit", 100), "limit"), options.get("cursor"))
        return await self._parts.records.scan(
            scope, parse(options.get("where")), page, opt.moment(options.get("as_of"), "as_of")
        )

    async def history(self, id: str, **who: Unpack[Where]) -> list[Memory]:
        """Return every version of a memory, oldest first.

        Raises:
            NotFound: There is none for this user; code ``erased`` when it was erased.
        """
        opt.known(who, Where)
        scope = await self._scope(who, "read")
        versions = await self._parts.records.history(opt.text(id, "id"), scope)
        if not versions:
            raise await missing(self._parts.records, id, scope)
        return versions

    async def update(self, id: str, **changes: Unpack[UpdateOptions]) -> Memory:
        """Store a new version of a memory; the former ones stay in its history.

        Args:
            id: Its id.
            **changes: See ``UpdateOptions``.

        Raises:
            InvalidInput: Nothing to change, or a value is malformed.
            NotFound: There is none for this user.
            Conflict: It is not at version ``expect`` any more, or it was retired.
        """
        opt.known(changes, UpdateOptions)
        scope = await self._scope(changes, "write")
        memory = await self._one(opt.text(id, "id"), scope)
        if memory.retired_at is not None:
            raise Conflict(f"memory {id!r} was retired; add it anew", code="retired")
        expect = changes.get("expect", memory.version)
        batch = opt.name(changes.get("batch_id"), "batch_id")
        if expect != memory.version and batch is None:  # else the store knows whether it was done
            raise Conflict(
                f"memory {id!r} is at version {memory.version}, not {expect!r}; read it again",
                code="version_moved",
            )
        changed = structs.replace(memory, **_changed(changes), recorded_at=self._parts.now())
        await self._parts.ingest.change(changed, scope, expect, batch)
        return await self._one(id, scope)

    async def forget(
        self, ids: str | Sequence[str] | None = None, **options: Unpack[ForgetOptions]
    ) -> ForgetResult:
        """Retire or erase memories, named by id or selected by a filter.

        Retired memories are hidden and keep their history. Erased ones are gone from records,
        history, indexes, files and logs when this returns; only a tombstone of id and time stays.

        Args:
            ids: One or several ids.
            **options: See ``ForgetOptions``.

        Raises:
            InvalidInput: Neither ids nor a filter, both, or an empty one.
            NotFound: One of the ids does not exist; nothing was forgotten.
        """
        opt.known(options, ForgetOptions)
        mode = cast("Mode", opt.one_of(options.get("mode", "retire"), Mode, "mode"))
        where = parse(options.get("where"))
        if (ids is None) == (options.get("where") is None):
            raise InvalidInput(
                "name ids, or a filter as 'where', one of the two", code="no_selector"
            )
        if ids is None and selects_everything(where):
            raise InvalidInput(
                "an empty filter would forget everything; name what", code="no_selector"
            )
        scope = await self._scope(options, "write")
        if ids is None:
            if mode == "erase":  # also what is still on its way into these cubes
                await self._parts.settle(scope)
            return ForgetResult(tuple(await self._parts.forget.selected(where, scope, mode)), mode)
        wanted = opt.names([ids] if isinstance(ids, str) else ids, "ids")
        await self._parts.forget.named(wanted, scope, mode)
        return ForgetResult(tuple(wanted), mode)

    async def reindex(self, *, progress: Progress | None = None, **who: Unpack[Who]) -> int:
        """Embed a cube anew with the configured embedder; the old vectors serve until the end.

        An interrupted run goes on where it stopped.

        Args:
            progress: Called with (memories done, memories in all).
            **who: See ``Who``.

        Returns:
            How many versions of memories were embedded.
        """
        opt.known(who, Who)
        scope, place = await self._parts.remember.place(cast("AddOptions", who))
        return await self._parts.maintain.reindex(place.cube, scope, progress)

    async def check(self) -> list[Any]:
        """Prove that the store is sound and every index agrees with the records."""
        return await self._parts.maintain.check(self._defaults.account)

    async def rebuild(self, **who: Unpack[Who]) -> None:
        """Throw away what is derived from a cube's records and build it anew."""
        opt.known(who, Who)
        scope, place = await self._parts.remember.place(cast("AddOptions", who))
        await self._parts.maintain.rebuild(place.cube, scope)

    async def _scope(self, options: Mapping[str, Any], need: Access) -> Scope:
        user = opt.name(options.get("user"), "user") or self._defaults.user
        cube = opt.name(options.get("cube"), "cube")
        if options.get("cubes") is not None:
            if cube is not None:
                raise InvalidInput("name 'cube' or 'cubes', not both")
            return await self._parts.gate.scope(user, opt.names(options["cubes"], "cubes"), need)
        if need == "write" and cube is None:
            cube = user
        return await self._parts.gate.scope(user, None if cube is None else [cube], need)

    async def _one(self, id: str, scope: Scope) -> Memory:
        found = await self._parts.records.get([id], scope)
        if not found:
            raise await missing(self._parts.records, id, scope)
        if len(found) > 1:
            cubes = ", ".join(repr(memory.place.cube) for memory in found)
            raise Conflict(
                f"several cubes have a memory {id!r} ({cubes}); name the cube", code="ambiguous"
            )
        return found[0]


def _changed(changes: UpdateOptions) -> dict[str, Any]:
    checks: Mapping[str, Callable[[Any], object]] = {
        "text": lambda value: opt.text(value, "text"),
        "title": lambda value: None if value is None else opt.text(value, "title"),
        "tier": lambda value: opt.one_of(value, Tier, "tier"),
        "confidence": opt.confidence,
        "tags": opt.tags,
        "info": lambda value: opt.json_object(value, "info"),
        "valid_from": lambda value: opt.moment(value, "valid_from"),
        "valid_to": lambda value: opt.moment(value, "valid_to"),
        "expires_at": lambda value: opt.moment(value, "expires_at"),
    }
    given = cast("Mapping[str, Any]", changes)
    changed = {name: check(given[name]) for name, check in checks.items() if name in given}
    if not changed:
        raise InvalidInput(f"nothing to change; name one of: {', '.join(checks)}", code="empty")
    return changed
