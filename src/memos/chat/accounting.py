"""What chat models took: calls, tokens and cost by cube, day and model, kept with the accounts."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import anyio
from msgspec import structs

from memos.analysis import tokens
from memos.errors import Conflict
from memos.ports.models import (
    FREELY,
    ChatEvent,
    ChatMessage,
    ChatModel,
    Finished,
    Generation,
    Reply,
    ToolCall,
    Usage,
)
from memos.ports.stores import AccountStore
from memos.telemetry import count
from memos.types import Spending

_ATTEMPTS: Final = 50
"""How often an entry that others keep changing meanwhile is read again."""


@dataclass(frozen=True, slots=True)
class Total:
    """A sum over rows of spending; ``cost`` is in the currency of the configured prices."""

    calls: int
    failed: int
    prompt: int
    completion: int
    cached: int
    cost: float


@dataclass(frozen=True, slots=True)
class UsageReport:
    """What chat models took: one row per cube, day (UTC) and model, and their sum."""

    rows: tuple[Spending, ...]
    total: Total


@dataclass(frozen=True, slots=True)
class Meter:
    """Keeps the accounts of one tenant; entries are versioned, so that no count is lost."""

    store: AccountStore
    account: str
    now: Callable[[], datetime]

    async def record(self, cube: str, model: str, usage: Usage, *, failed: bool = False) -> None:
        """Add one call to the accounts.

        Raises:
            Conflict: Others kept changing the entry meanwhile.
            StoreError: The store failed.
        """
        count("model_calls", model=model, outcome="error" if failed else "ok")
        count("model_tokens", usage.prompt, model=model, kind="prompt")
        count("model_tokens", usage.completion, model=model, kind="completion")
        day = self.now().astimezone(UTC).date().isoformat()
        id = f"{cube}/{day}/{model}"
        for attempt in range(_ATTEMPTS):
            held = await self.store.get_entry(Spending, self.account, id)
            before = held or Spending(id, self.account, cube, day, model)
            try:
                after = _added(before, usage, failed=failed)
                await self.store.put_entry(after, expect=before.version)
            except Conflict:
                if attempt == _ATTEMPTS - 1:
                    raise
            else:
                return

    async def report(self, cubes: Sequence[str], since: datetime | None) -> UsageReport:
        """Return what was spent for some cubes, oldest first."""
        first = "" if since is None else since.astimezone(UTC).date().isoformat()
        rows = [
            row
            for cube in cubes
            for row in await self.store.list_entries(Spending, self.account, f"{cube}/")
            if row.day >= first
        ]
        total = Total(
            calls=sum(row.calls for row in rows),
            failed=sum(row.failed for row in rows),
            prompt=sum(row.prompt for row in rows),
            completion=sum(row.completion for row in rows),
            cached=sum(row.cached for row in rows),
            cost=sum(row.cost for row in rows),
        )
        return UsageReport(tuple(rows), total)


class MeteredChat:
    """A ``ChatModel`` whose calls are counted for one cube, failed and broken-off ones too.

    Where the service counts nothing, as for an answer that was broken off, tokens are estimated.
    """

    def __init__(self, model: ChatModel, meter: Meter, cube: str) -> None:
        self._model = model
        self._meter = meter
        self._cube = cube

    @property
    def name(self) -> str:
        """The name of the model behind."""
        return self._model.name

    async def reply(self, messages: Sequence[ChatMessage], how: Generation = FREELY) -> Reply:
        """Return the whole answer, and count it."""
        reply: Reply | None = None
        try:
            reply = await self._model.reply(messages, how)
            return reply
        finally:
            await self._count(messages, reply, "", failed=reply is None)

    async def stream(
        self, messages: Sequence[ChatMessage], how: Generation = FREELY
    ) -> AsyncGenerator[ChatEvent, None]:
        """Yield the answer as it comes, and count it at its end."""
        reply: Reply | None = None
        said: list[str] = []
        left = False
        try:
            async with aclosing(self._model.stream(messages, how)) as events:
                async for event in events:
                    match event:
                        case Finished(reply=whole):
                            reply = whole
                        case ToolCall():
                            said.append(event.arguments)
                        case _:
                            said.append(event.text)
                    if not isinstance(event, Finished):
                        left = True
                        yield event
                        left = False
        finally:
            await self._count(messages, reply, "".join(said), failed=reply is None and not left)
        if reply is not None:
            yield Finished(reply)

    async def _count(
        self, messages: Sequence[ChatMessage], reply: Reply | None, said: str, *, failed: bool
    ) -> None:
        usage = None if reply is None else reply.usage
        if usage is None and failed and not said:
            usage = Usage(0, 0)
        elif usage is None:
            prompt = sum(tokens(message.text) for message in messages)
            usage = Usage(prompt, tokens(said if reply is None else reply.text + reply.reasoning))
        with anyio.CancelScope(shield=True):
            await self._meter.record(self._cube, self.name, usage, failed=failed)


def _added(row: Spending, usage: Usage, *, failed: bool) -> Spending:
    return structs.replace(
        row,
        calls=row.calls + 1,
        failed=row.failed + int(failed),
        prompt=row.prompt + usage.prompt,
        completion=row.completion + usage.completion,
        cached=row.cached + usage.cached,
        cost=row.cost + (usage.cost or 0.0),
    )
