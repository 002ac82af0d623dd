"""Work in the background over HTTP: asked for, waited for, shown to those who may, handed back."""

from __future__ import annotations

import json
import random
import re
import signal
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from fastapi.testclient import TestClient
from tests.serving import TOKEN, in_process, on_loopback, started

from memos.build import open_engine
from memos.client import AsyncClient, Client
from memos.errors import NotFound, Unauthenticated
from memos.settings import Settings
from memos.testing.fakes import HashEmbedder
from memos.types import KeyScope
from memos.users.keys import Keys

ENVIRONMENT = {"MEMOS_BOOTSTRAP_KEY": TOKEN, "MEMOS_SERVER__OPEN_LOOPBACK": "false"}
STOPPED = (0, -signal.SIGTERM)
"""How a server ends that was told to: it may pass the signal on once all is done."""
IDLE = {**ENVIRONMENT, "MEMOS_JOBS__CONCURRENCY": "0"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    with on_loopback(tmp_path_factory.mktemp("home"), **ENVIRONMENT) as url:
        yield url


@pytest.fixture
def client(server: str) -> Generator[Client]:
    with Client(server, api_key=TOKEN) as client:
        yield client


def key(client: TestClient, account: str, *scopes: KeyScope, **limits: Any) -> dict[str, str]:
    """Make a key, and return it as a header."""

    async def work() -> str:
        keys: Keys = client.app.state.tenants.keys  # type: ignore[attr-defined]
        made = await keys.create(account, "test", scopes=scopes or ("read", "write"), **limits)
        return made.token

    assert client.portal is not None
    return {"Authorization": f"Bearer {client.portal.call(work)}"}


def test_the_server_does_what_is_put(client: Client) -> None:
    put = client.jobs.add("Zoe is allergic to peanuts.", user="ann", batch_id="one")
    assert (put.label, put.cube, put.code) == ("add", "ann", None)
    steps: list[tuple[int, int]] = []
    end = client.jobs.wait(put.id, user="ann", progress=lambda *step: steps.append(step))
    assert (end.state, end.attempts) == ("done", 1)
    (hit,) = client.search("peanuts", user="ann").hits
    assert end.result == {"ids": [hit.memory.id], "stored": [True]}
    assert client.jobs.add("Zoe is allergic to peanuts.", user="ann", batch_id="one") == end
    assert client.jobs.list(user="ann", label="add").items == (end,)
    again = client.jobs.reindex(user="ann", cube="ann")
    assert client.jobs.wait(again.id, user="ann", timeout_s=60).result == {"embedded": 0}


def test_files_and_exports(client: Client, tmp_path: Path) -> None:
    notes, chats = tmp_path / "notes.md", tmp_path / "chats.json"
    notes.write_text("# Diary\n\nThe harbour was quiet.\n", encoding="utf-8")
    lines = [{"role": "user", "content": f"Note {n}.", "message_id": str(n)} for n in range(3)]
    chats.write_text(json.dumps(lines), encoding="utf-8")
    first = client.jobs.add(notes, user="bo")
    second = client.jobs.import_chats(chats, format="messages", batch_id="b", user="bo")
    assert (
        client.jobs.import_chats(chats, format="messages", batch_id="b", user="bo").id == second.id
    )
    assert client.jobs.wait(first.id, user="bo", timeout_s=60).state == "done"
    end = client.jobs.wait(second.id, user="bo", timeout_s=60)
    assert end.result == {"conversations": 1, "stored": 3, "known": 0, "skipped": 0}
    assert client.search("harbour", user="bo").hits


@pytest.mark.anyio
async def test_the_asynchronous_client(server: str) -> None:
    async with AsyncClient(server, api_key=TOKEN) as client:
        put = await client.jobs.add([{"role": "user", "content": "Tea."}], user="cy", session="s")
        assert (await client.jobs.wait(put.id, user="cy", timeout_s=60)).state == "done"
        assert (await client.jobs.get(put.id, user="cy")).ended_at is not None
        with pytest.raises(NotFound):
            await client.jobs.retry("job-none", user="cy")


def test_many_adds_each_in_the_background(tmp_path: Path) -> None:
    with in_process(tmp_path) as client:
        body = {"adds": [{"text": "One.", "background": True}, {"text": "Two."}, {"text": " "}]}
        answer = client.post("/v1/memories/batch", json=body)
        assert answer.status_code == 207
        later, now, wrong = answer.json()["results"]
        assert later["job"]["label"] == "add"
        assert now["stored"] == [True]
        assert wrong["problem"]["code"] == "empty"
        end = client.get(f"/v1/jobs/{later['job']['id']}/wait").json()
        assert end["state"] == "done"
        refused = client.post("/v1/memories", json={"text": " ", "background": True})
        assert (refused.status_code, refused.json()["code"]) == (422, "empty")


def test_nobody_sees_the_jobs_of_others(tmp_path: Path) -> None:
    with in_process(tmp_path) as client:
        body = {"text": "It is a secret.", "user": "ann", "background": True}
        put = client.post("/v1/memories", json=body)
        assert put.status_code == 202
        id = put.json()["id"]
        client.get(f"/v1/jobs/{id}/wait", params={"user": "ann"})
        client.put("/v1/users/bob")
        rival, bob = key(client, "rival"), key(client, "local", user="bob")
        narrow = key(client, "local", user="ann", cubes=("other",))
        told: list[Any] = []
        for headers in (rival, bob, narrow):
            assert client.get("/v1/jobs", headers=headers).json() == {"items": [], "next": None}
            for name in (id, "job-that-never-was"):
                for method, path in (
                    ("GET", f"/v1/jobs/{name}"),
                    ("GET", f"/v1/jobs/{name}/wait"),
                    ("POST", f"/v1/jobs/{name}/retry"),
                ):
                    answer = client.request(method, path, headers=headers)
                    assert answer.status_code == 404
                    problem = {**answer.json(), "trace_id": ""}
                    told.append(json.loads(json.dumps(problem).replace(name, "ID")))
        assert all(problem == told[0] for problem in told)
        reader = key(client, "local", "read", user="ann")
        assert client.get(f"/v1/jobs/{id}", headers=reader).json()["state"] == "done"
        for path in (f"/v1/jobs/{id}/retry", "/v1/cubes/ann/reindex"):
            assert client.post(path, headers=reader).status_code == 403
        assert client.post("/v1/memories", json=body, headers=reader).status_code == 403


def test_feedback_stays_where_it_is(tmp_path: Path) -> None:
    with in_process(tmp_path) as client:
        client.post("/v1/feedback", json={"text": "The answer was wrong."})
        put = client.post("/v1/memories", json={"text": "One.", "background": True}).json()
        client.get(f"/v1/jobs/{put['id']}/wait")
        assert [job["label"] for job in client.get("/v1/jobs").json()["items"]] == ["add"]
        measured = client.get("/metrics").text
        assert 'memos_queue_jobs{label="feedback",state="waiting"} 1.0' in measured
        assert 'memos_queue_jobs{label="add",state="waiting"} 0.0' in measured
        assert 'memos_queue_oldest_seconds{label="add"} 0.0' in measured
        assert 'memos_job_seconds_count{label="add",outcome="done"} 1.0' in measured


@contextmanager
def following(url: str, id: str, **options: Any) -> Iterator[Iterator[str]]:
    """Follow the events of a job."""
    headers = {"Authorization": f"Bearer {TOKEN}", "Accept": "text/event-stream", **options}
    wait = f"{url}/v1/jobs/{id}/wait?timeout_s=60"
    with httpx.stream("GET", wait, headers=headers, timeout=60) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        yield (line for line in answer.iter_lines() if line)


def test_events_and_the_end_of_rights(tmp_path: Path) -> None:
    with on_loopback(tmp_path, **IDLE) as url, Client(url, api_key=TOKEN) as client:
        id = client.jobs.add("Tea.").id
        assert client.jobs.wait(id, timeout_s=0.1).state == "waiting"
        made = client.keys.create("short", scopes=["read"])
        with following(url, id, Authorization=f"Bearer {made.token}") as lines:
            assert next(lines) == "event: progress"
            assert json.loads(next(lines).removeprefix("data: "))["state"] == "waiting"
            client.keys.revoke(made.key.id)
            assert next(lines) == "event: error"
            assert json.loads(next(lines).removeprefix("data: "))["status"] == 401
            assert list(lines) == []
        client.users.ensure("bob")
        client.cubes.share("default", "bob")
        of_bob = client.keys.create("bob", scopes=["read"], user="bob")
        with following(url, id, Authorization=f"Bearer {of_bob.token}") as lines:
            assert next(lines) == "event: progress"
            next(lines)
            client.cubes.revoke("default", "bob")
            assert next(lines) == "event: error"
            assert json.loads(next(lines).removeprefix("data: "))["status"] == 404
        with pytest.raises(Unauthenticated), Client(url, api_key=made.token) as revoked:
            revoked.jobs.wait(id)


def test_an_export_ends_with_the_rights(tmp_path: Path) -> None:
    """The archive is larger than what lies in buffers between; the reader pauses in the middle."""
    with on_loopback(tmp_path, **ENVIRONMENT) as url, Client(url, api_key=TOKEN) as client:
        client.cubes.create("large")
        for number in range(3):
            noise = random.Random(number).randbytes(5_000_000).hex()
            client.add(f"Note {number}.", cube="large", info={"noise": noise})
        client.users.ensure("bob")
        client.cubes.share("large", "bob")
        made = client.keys.create("short", scopes=["read"], user="bob")
        headers = {"Authorization": f"Bearer {made.token}"}
        for stop in (
            lambda: client.cubes.revoke("large", "bob"),
            lambda: client.keys.revoke(made.key.id),
        ):
            client.cubes.share("large", "bob")
            with httpx.stream("GET", f"{url}/v1/cubes/large/export", headers=headers) as answer:
                assert answer.status_code == 200
                pieces = answer.iter_raw()
                received = len(next(pieces))
                stop()
                with suppress(httpx.RemoteProtocolError):
                    received += sum(map(len, pieces))
            assert received < int(answer.headers["Content-Length"])


def test_whoever_waits_is_told_that_the_server_stops(tmp_path: Path) -> None:
    with started(tmp_path, **IDLE) as (url, process), Client(url, api_key=TOKEN) as client:
        id = client.jobs.add("Tea.").id
        with following(url, id) as lines:
            assert next(lines) == "event: progress"
            next(lines)
            process.send_signal(signal.SIGTERM)
            assert next(lines) == "event: timeout"
            next(lines)
            assert list(lines) == []
        assert process.wait(timeout=30) in STOPPED


def test_a_server_that_stops_hands_its_jobs_back(tmp_path: Path) -> None:
    lines = [{"role": "user", "content": f"Note {n} about tea.", "message_id": str(n)}
             for n in range(1500)]  # fmt: skip
    source = tmp_path / "chats.json"
    source.write_text(json.dumps(lines), encoding="utf-8")
    home = tmp_path / "home"
    with started(home, **ENVIRONMENT) as (url, process), Client(url, api_key=TOKEN) as client:
        put = client.jobs.import_chats(source)
        while client.get_all(limit=1).items == ():
            assert client.jobs.get(put.id).state != "done"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) in STOPPED
    settings = Settings(home=home)

    async def left() -> tuple[str, int]:
        async with open_engine(settings, embedder=HashEmbedder()) as engine:
            status = await engine.queue.status("local", put.id)
            assert status is not None
            return status.state, status.attempts

    assert anyio.run(left) == ("waiting", 0)
    with on_loopback(home, **ENVIRONMENT) as url, Client(url, api_key=TOKEN) as client:
        assert client.jobs.wait(put.id, timeout_s=120).state == "done"
        assert client.stats().memories == 1500


def test_what_the_store_is_doing_is_measured(tmp_path: Path) -> None:
    with in_process(tmp_path) as client:
        client.post("/v1/memories", json={"text": "Zoe likes tea."})
        client.post("/v1/search", json={"query": "tea"})
        client.post("/v1/memories", json={"text": "Max likes cake."})

        def told(name: str) -> float:
            found = re.search(
                rf"^memos_{re.escape(name)} (.+)$", client.get("/metrics").text, re.MULTILINE
            )
            assert found, name
            return float(found[1])

        assert told('store_connected{store="sqlite"}') == 1
        assert told('store_pool_size{store="sqlite"}') >= 1
        assert told('store_connections{state="idle",store="sqlite"}') >= 1
        assert told('store_waiting{pool="writer",store="sqlite"}') == 0
        assert told('store_wait_seconds_count{pool="writer",store="sqlite"}') >= 2
        assert told('index_lag_changes{store="sqlite"}') >= 1
        for lane in ("text", "vector"):
            assert told(f'lane_seconds_count{{lane="{lane}",outcome="ok"}}') == 1
        client.post("/v1/search", json={"query": "cake"})
        assert told('index_lag_changes{store="sqlite"}') == 0
