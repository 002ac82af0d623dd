"""What happened, how long it took, and on whose behalf: for logs and metrics.

Nothing is measured unless somebody listens: ``listen`` takes a sink (the server's is Prometheus).
Names are snake_case with their unit, labels come from small closed sets; neither ever holds the
contents of memories, queries or prompts.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from types import MappingProxyType
from typing import Final, Protocol

_nothing: Final[Mapping[str, str]] = MappingProxyType({})
_bound: Final[ContextVar[Mapping[str, str]]] = ContextVar("memos_bound", default=_nothing)
_sinks: list[Sink] = []
_UNHEARD: Final = nullcontext()


class Sink(Protocol):
    """Takes what is measured; called from any thread, so it must be quick and safe."""

    def count(self, name: str, amount: float, labels: Mapping[str, str]) -> None:
        """Add to a counter."""
        ...

    def observe(self, name: str, seconds: float, labels: Mapping[str, str]) -> None:
        """Note a duration."""
        ...


@contextmanager
def listen(sink: Sink) -> Generator[None]:
    """Hand everything that is measured to ``sink`` for a while."""
    _sinks.append(sink)
    try:
        yield
    finally:
        _sinks.remove(sink)


def count(name: str, amount: float = 1, **labels: str) -> None:
    """Add ``amount`` to a counter."""
    for sink in _sinks:
        sink.count(name, amount, labels)


def observe(name: str, seconds: float, **labels: str) -> None:
    """Note that something took ``seconds``."""
    for sink in _sinks:
        sink.observe(name, seconds, labels)


def span(name: str, **labels: str) -> AbstractContextManager[None]:
    """Measure how long a block takes, and whether it failed (label ``outcome``)."""
    return _timed(name, labels) if _sinks else _UNHEARD


@contextmanager
def _timed(name: str, labels: Mapping[str, str]) -> Generator[None]:
    start = time.perf_counter()
    outcome = "error"
    try:
        yield
        outcome = "ok"
    finally:
        observe(name, time.perf_counter() - start, **labels, outcome=outcome)


@contextmanager
def bind(**fields: str) -> Generator[None]:
    """Put fields on every log line that is written inside, across threads and tasks."""
    token = _bound.set({**_bound.get(), **fields})
    try:
        yield
    finally:
        _bound.reset(token)


def bound() -> Mapping[str, str]:
    """Return the fields that are bound here."""
    return _bound.get()
