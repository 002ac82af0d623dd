"""What is measured, as Prometheus reads it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from memos.ports.backend import Pulse
from memos.ports.queue import QueueStats

_BUCKETS: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip


class Metrics:
    """A telemetry sink; each name becomes a counter or histogram when it is met first."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._lock = threading.Lock()
        self._counters: dict[str, Counter] = {}
        self._histograms: dict[str, Histogram] = {}
        self._depth = self._gauge("queue_jobs", "jobs", "label", "state")
        self._age = self._gauge("queue_oldest_seconds", "age of the oldest due job", "label")
        self._connected = self._gauge("store_connected", "whether the store answers", "store")
        self._most = self._gauge("store_pool_size", "connections that may be open", "store")
        self._connections = self._gauge("store_connections", "connections", "store", "state")
        self._waiting = self._gauge("store_waiting", "callers that wait", "store", "pool")
        self._lag = self._gauge(
            "index_lag_changes", "positions of the change log that indexes are behind", "store"
        )

    def count(self, name: str, amount: float, labels: Mapping[str, str]) -> None:
        """Add to a counter."""
        with self._lock:
            held = self._counters.get(name)
            if held is None:
                told = name.replace("_", " ")
                held = Counter(f"memos_{name}", told, tuple(labels), registry=self._registry)
                self._counters[name] = held
        held.labels(**labels).inc(amount)

    def observe(self, name: str, seconds: float, labels: Mapping[str, str]) -> None:
        """Note a duration."""
        with self._lock:
            held = self._histograms.get(name)
            if held is None:
                held = Histogram(
                    f"memos_{name}", name.replace("_", " "), tuple(labels),
                    buckets=_BUCKETS, registry=self._registry,
                )  # fmt: skip
                self._histograms[name] = held
        held.labels(**labels).observe(seconds)

    def queue(self, label: str, stats: QueueStats, now: datetime) -> None:
        """Note how many jobs of a kind there are, and for how long the oldest has been due."""
        for state, depth in (
            ("waiting", stats.waiting),
            ("leased", stats.leased),
            ("dead", stats.dead),
        ):
            self._depth.labels(label=label, state=state).set(depth)
        due = stats.oldest_due
        age = 0.0 if due is None else max(0.0, (now - due).total_seconds())
        self._age.labels(label=label).set(age)

    def store(self, name: str, pulse: Pulse) -> None:
        """Note what a store is doing."""
        self._connected.labels(store=name).set(pulse.connected)
        self._most.labels(store=name).set(pulse.most)
        self._lag.labels(store=name).set(pulse.lag)
        for state, count in pulse.connections.items():
            self._connections.labels(store=name, state=state).set(count)
        for pool, count in pulse.waiting.items():
            self._waiting.labels(store=name, pool=pool).set(count)

    def _gauge(self, name: str, told: str, *labels: str) -> Gauge:
        return Gauge(f"memos_{name}", told, labels, registry=self._registry)

    def text(self) -> bytes:
        """Return everything in the text format of Prometheus."""
        return generate_latest(self._registry)
