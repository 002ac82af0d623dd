"""The server under load, beside the bare stack: the same application with an empty handler.

The server is a process of its own, reached over loopback. Vectors come from a hash, as those of a
cached embedding would come from memory; the chat model answers with the time at which it does.
"""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import httpx
import numpy as np
from fastapi import FastAPI

from benchmarks.corpus import Corpus, HashEmbedder
from benchmarks.speed import Check, Report
from benchmarks.subject import message
from memos import MOS
from memos.server.app import create_app
from memos.settings import Settings
from memos.testing.fakes import ScriptedChat

Say = Callable[[str], None]

_HOME = "MEMOS_BENCHMARK_HOME"
_USER = "alice"
_BATCH = 500
_SHARE_OF_ADDS = 0.2


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to measure."""

    items: int = 10_000
    repeats: int = 300
    clients: int = 64
    seconds: float = 60.0


@dataclass
class _Tally:
    """What many clients saw."""

    searches: list[float] = field(default_factory=list[float])
    adds: list[float] = field(default_factory=list[float])
    added: list[str] = field(default_factory=list[str])
    errors: list[str] = field(default_factory=list[str])


def served() -> FastAPI:
    """Return the application that is measured; what the server process calls."""
    server = {"requests_per_minute": 10**7, "burst": 10**7}
    settings = Settings.model_validate({"home": os.environ[_HOME], "server": server})
    chat = ScriptedChat(lambda _: f"{time.time():.6f}", pieces=100)
    app = create_app(settings, embedder=HashEmbedder(), chat=chat)
    app.add_api_route("/empty", _empty, methods=["POST"])
    return app


async def _empty(body: dict[str, object]) -> dict[str, object]:
    return {"query": body.get("query")}


def run(plan: Plan, say: Say) -> Report:
    """Measure one client, then many, then a stream."""
    figures: dict[str, float] = {}
    checks: dict[str, Check] = {}
    corpus = Corpus()
    with tempfile.TemporaryDirectory(prefix="memos-load-") as home:
        say(f"adding {plan.items:,} memories")
        _fill(Path(home), corpus, plan.items)
        with _serving(Path(home)) as url:
            say("one client")
            _measure_one(url, corpus, plan, figures, checks)
            say(f"{plan.clients} clients for {plan.seconds:.0f} s")
            _measure_many(url, corpus, plan, figures, checks)
            say("first events of streams")
            _measure_streams(url, figures, checks)
    config: dict[str, object] = {"items": plan.items, "clients": plan.clients}
    return Report(suite="load", config=config, figures=figures, checks=checks)


def _fill(home: Path, corpus: Corpus, items: int) -> None:
    turns = list(corpus.turns(items, length=_BATCH))
    with MOS.open(Settings(home=home), embedder=HashEmbedder()) as mos:
        mos.users.create(_USER)
        for start in range(0, items, _BATCH):
            part = turns[start : start + _BATCH]
            mos.add([message(turn) for turn in part], user=_USER, session=part[0].session)


@contextmanager
def _serving(home: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "uvicorn", "--factory", "benchmarks.load:served",
        "--host", "127.0.0.1", "--port", str(port), "--log-level", "warning", "--no-access-log",
        "--timeout-keep-alive", "75",
    ]  # fmt: skip
    process = subprocess.Popen(command, env=os.environ | {_HOME: str(home)})
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(url)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait(url: str) -> None:
    for _ in range(300):
        try:
            if httpx.get(f"{url}/ready").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise TimeoutError(url)


def _measure_one(
    url: str, corpus: Corpus, plan: Plan, figures: dict[str, float], checks: dict[str, Check]
) -> None:
    spent: dict[str, list[float]] = {"/empty": [], "/v1/search": []}
    with httpx.Client(base_url=url, timeout=30) as client:
        for number in range(plan.repeats + 20):
            body = {"query": corpus.query(), "user": _USER, "limit": 10}
            for path, times in spent.items():
                start = time.perf_counter()
                client.post(path, json=body).raise_for_status()
                if number >= 20:  # the first ones load the image
                    times.append(time.perf_counter() - start)
    bare = _spread(figures, "bare", spent["/empty"])
    found = _spread(figures, "search", spent["/v1/search"])
    _at_most(checks, "search.p50_ms", found, bare + 8)


def _measure_many(
    url: str, corpus: Corpus, plan: Plan, figures: dict[str, float], checks: dict[str, Check]
) -> None:
    queries = [corpus.query() for _ in range(1000)]
    tally = anyio.run(_crowd, url, queries, plan)
    for error in tally.errors[:3]:
        print(error, file=sys.stderr)
    _spread(figures, "many.search", tally.searches)
    _spread(figures, "many.add", tally.adds)
    done = len(tally.searches) + len(tally.adds)
    figures["many.requests_per_s"] = done / plan.seconds
    # With one server a request waits for those of all others; more than a few rounds is no queue.
    figures["many.queueing_ms"] = plan.clients / (done / plan.seconds) * 1000
    _at_most(checks, "many.errors", len(tally.errors), 0)
    p99 = float(np.quantile([*tally.searches, *tally.adds], 0.99)) * 1000
    _at_most(checks, "many.p99_ms", p99, 4 * figures["many.queueing_ms"])
    lost = set(tally.added) - _stored(url)
    figures["many.added"] = len(tally.added)
    _at_most(checks, "many.lost", len(lost), 0)


async def _crowd(url: str, queries: Sequence[str], plan: Plan) -> _Tally:
    tally = _Tally()
    end = time.perf_counter() + plan.seconds
    limits = httpx.Limits(max_connections=plan.clients)
    async with (
        httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client,
        anyio.create_task_group() as tasks,
    ):
        for number in range(plan.clients):
            tasks.start_soon(_visit, client, number, queries, tally, end)
    return tally


async def _visit(
    client: httpx.AsyncClient, number: int, queries: Sequence[str], tally: _Tally, end: float
) -> None:
    dice = random.Random(number)
    while time.perf_counter() < end:
        text = dice.choice(queries)
        adds = dice.random() < _SHARE_OF_ADDS
        body = {"query": text, "user": _USER, "limit": 10}
        if adds:
            body = {"text": f"{text} {dice.random()}", "user": _USER, "session": f"load-{number}"}
        start = time.perf_counter()
        try:
            answer = await client.post("/v1/memories" if adds else "/v1/search", json=body)
        except httpx.HTTPError as error:
            tally.errors.append(repr(error))
            continue
        (tally.adds if adds else tally.searches).append(time.perf_counter() - start)
        if answer.is_error:
            tally.errors.append(f"{answer.status_code} {answer.text[:200]}")
        elif adds:
            tally.added += answer.json()["ids"]


def _stored(url: str) -> set[str]:
    """Return the ids of everything that is there."""
    found: set[str] = set()
    params = {"user": _USER, "cube": _USER, "limit": "1000"}
    with httpx.Client(base_url=url, timeout=60) as client:
        while True:
            page = client.get("/v1/memories", params=params).raise_for_status().json()
            found |= {memory["id"] for memory in page["items"]}
            if page["next"] is None:
                return found
            params["cursor"] = page["next"]


def _measure_streams(url: str, figures: dict[str, float], checks: dict[str, Check]) -> None:
    """Compare when the model said its first word with when the caller had it."""
    waited: list[float] = []
    body = {"query": "What about tea?", "user": _USER, "session": "stream"}
    with httpx.Client(base_url=url, timeout=60) as client:
        for _ in range(30):
            with client.stream("POST", "/v1/chat/stream", json=body) as answer:
                event = ""
                for line in answer.iter_lines():
                    if line.startswith("event: "):
                        event = line.removeprefix("event: ")
                    elif event == "delta" and line.startswith("data: "):
                        said = json.loads(line.removeprefix("data: "))["text"]
                        waited.append(time.time() - float(said))
                        break
    _at_most(checks, "stream.first_ms", _spread(figures, "stream.first", waited), 50)


def _spread(figures: dict[str, float], name: str, seconds: Sequence[float]) -> float:
    p50, p95, p99 = np.quantile(np.array(seconds), (0.5, 0.95, 0.99)) * 1000
    figures |= {f"{name}.p50_ms": p50, f"{name}.p95_ms": p95, f"{name}.p99_ms": p99}
    return float(p50)


def _at_most(checks: dict[str, Check], name: str, value: float, bound: float) -> None:
    checks[name] = Check(value=value, bound=bound, ok=value <= bound)
