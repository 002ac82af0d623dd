"""What the tests of MemOS's dialects share."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from memos.server.app import create_app
from memos.settings import Settings
from memos.testing.fakes import HashEmbedder, ScriptedChat, ScriptedWeb
from memos.users.keys import new_token

TOKEN = new_token()
OPENMEM = ("/api/openmem/v1", "/platform/api/openmem/v1", "/product")


@contextmanager
def open_server(
    home: Path,
    *,
    address: str = "127.0.0.1",
    chat: ScriptedChat | None = None,
    web: ScriptedWeb | None = None,
    **server: Any,
) -> Iterator[TestClient]:
    """A client at ``address``, which sends no key."""
    given = {"bootstrap_key": TOKEN, **server}
    settings = Settings.model_validate({"home": home, "server": given})
    app = create_app(settings, embedder=HashEmbedder(), chat=chat, web=web)
    with TestClient(app, client=(address, 5), raise_server_exceptions=False) as client:
        yield client


def key(client: TestClient, **body: object) -> dict[str, str]:
    """The header of a new key."""
    body = {"name": "k", "scopes": ["read", "write"], **body}
    headers = {"Authorization": f"Bearer {TOKEN}"}
    made = client.post("/v1/keys", json=body, headers=headers)
    assert made.status_code == 201, made.text
    return {"Authorization": f"Token {made.json()['token']}"}


def add(client: TestClient, user: str, *texts: str, **more: object) -> list[str]:
    """Ids of memories that a user was given in the product dialect."""
    said = [{"role": "user", "content": text} for text in texts]
    body = {"user_id": user, "messages": said, **more}
    answer = client.post("/product/add", json=body)
    assert answer.status_code == 200, answer.text
    return [entry["memory_id"] for entry in answer.json()["data"]]


def texts(client: TestClient, user: str, query: str, **more: object) -> list[str]:
    """What a user's search in the product dialect finds."""
    body = {"user_id": user, "query": query, **more}
    answer = client.post("/product/search", json=body)
    assert answer.status_code == 200, answer.text
    parts = answer.json()["data"]["text_mem"]
    return [memory["memory"] for part in parts for memory in part["memories"]]


def events(text: str) -> list[Mapping[str, Any]]:
    """The events of a stream."""
    lines = [line for line in text.split("\n\n") if line]
    assert all(line.startswith("data: ") for line in lines)
    return [json.loads(line.removeprefix("data: ")) for line in lines]
