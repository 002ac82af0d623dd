"""Servers for tests: an application in this process, and ``memos serve`` on loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from fastapi.testclient import TestClient

from memos.ports.models import ChatModel
from memos.server.app import create_app
from memos.settings import Settings
from memos.testing.fakes import HashEmbedder
from memos.users.keys import new_token

TOKEN = new_token()
MEMOS = str(Path(sys.executable).with_name("memos"))


@contextmanager
def in_process(
    home: Path, chat: ChatModel | None = None, **server: object
) -> Generator[TestClient]:
    """Serve in this process, to a client with the operator's key."""
    given: dict[str, Any] = {"bootstrap_key": TOKEN, "open_loopback": False, **server}
    settings = Settings.model_validate({"home": home, "server": given})
    app = create_app(settings, embedder=HashEmbedder(), chat=chat)
    with TestClient(app) as client:
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        yield client


@contextmanager
def on_loopback(home: Path, **more: str) -> Generator[str]:
    """Run ``memos serve`` and yield its address."""
    with started(home, **more) as (url, _):
        yield url


@contextmanager
def started(home: Path, **more: str) -> Generator[tuple[str, subprocess.Popen[bytes]]]:
    """Run ``memos serve`` and yield its address, and the process."""
    environ = {"MEMOS_HOME": str(home), "PATH": os.environ["PATH"], **more}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [MEMOS, "serve", "--port", str(port)]
    with subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL) as server:
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(url)
            yield url, server
        finally:
            server.terminate()
            server.wait(timeout=30)


def _wait(url: str) -> None:
    for _ in range(300):
        try:
            httpx.get(f"{url}/health")
        except httpx.ConnectError:
            threading.Event().wait(0.1)
        else:
            return
    raise AssertionError("the server did not start")
