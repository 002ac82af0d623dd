"""Several awaited calls at once, and the error of one as it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from memos.errors import MemosError

T = TypeVar("T")


async def together(*calls: Callable[[], Awaitable[T]]) -> list[T]:
    """Return what every call returns, in order; when one fails, the others are cancelled.

    Raises:
        MemosError: That of the first call, in their order, that failed; not inside of a group.
    """
    results: dict[int, T] = {}
    failures: dict[int, MemosError] = {}

    async def run(number: int) -> None:
        try:
            results[number] = await calls[number]()
        except MemosError as error:
            failures[number] = error
            tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        for number in range(len(calls)):
            tasks.start_soon(run, number)
    if failures:
        raise failures[min(failures)]
    return [results[number] for number in range(len(calls))]
