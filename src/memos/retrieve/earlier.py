"""What earlier turns of a conversation found: ids, for a while, in this process.

Only where a memory is, is kept, never what it says: whoever goes on with the conversation reads it
anew within what is allowed then. Conversations are told apart by tenant, user, cubes and session.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Coroutine, Sequence
from typing import Final, TypeAlias

from memos.retrieve.pack import Key
from memos.types import Scope

Conversation: TypeAlias = tuple[str, str, tuple[str, ...], str]
TURNS: Final = 5
"""Turns of a conversation that are remembered, as in MemOS."""
KEPT: Final = 20
"""Hits of a turn that are."""
_CONVERSATIONS: Final = 1000
_TASKS: Final = 4


def conversation(scope: Scope, session: str) -> Conversation:
    """Return what nobody else's conversation is equal to."""
    return scope.account, scope.principal, tuple(sorted(scope.grants)), session


class Earlier:
    """The last turns of the conversations that were gone on with last, and work for later."""

    def __init__(self) -> None:
        self._turns: OrderedDict[Conversation, list[tuple[Key, ...]]] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()

    def turns(self, of: Conversation) -> Sequence[Sequence[Key]]:
        """Return what each of the last turns found, the latest first."""
        return tuple(self._turns.get(of, ()))

    def keep(self, of: Conversation, keys: Sequence[Key]) -> None:
        """Note what a turn found."""
        self._turns[of] = [tuple(keys[:KEPT]), *self._turns.pop(of, [])][:TURNS]
        while len(self._turns) > _CONVERSATIONS:
            self._turns.popitem(last=False)

    def start(self, work: Coroutine[object, object, None]) -> bool:
        """Run work beside what is answered; what is too much is left undone.

        Returns:
            Whether it was started.
        """
        if len(self._tasks) >= _TASKS:
            work.close()
            return False
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def settle(self) -> None:
        """Wait until all work is done."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def close(self) -> None:
        """Stop all work and wait for its end."""
        for task in self._tasks:
            task.cancel()
        await self.settle()
