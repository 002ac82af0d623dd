"""Hearing early that the process is to end, while answers that only wait can still end well."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Final

import anyio

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def hearing(stopping: anyio.Event) -> Generator[None]:
    """Set ``stopping`` when the process is told to end, before the server's own handler runs.

    Only a process's main thread hears signals; in another nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def heard(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(stopping.set)
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    for number in _SIGNALS:
        signal.signal(number, heard)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
