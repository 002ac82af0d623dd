"""Dumps over http and from git, from real servers on the loopback interface."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from memos import MOS
from memos.errors import DataError, Forbidden, InvalidInput, StoreError
from memos.settings import Settings
from memos.testing.fakes import HashEmbedder

Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def serving(answer: Answer) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def do_POST(self) -> None:
            answer(self)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def send(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


@pytest.fixture
def archive(mos: MOS, tmp_path: Path) -> Path:
    mos.add("The kiln arrives on Friday.")
    mos.dump(tmp_path / "x.memcube")
    return tmp_path / "x.memcube"


@contextmanager
def receiver(home: Path, *allow: str, **network: object) -> Iterator[MOS]:
    settings = Settings(home=home, network={"allow": allow, **network})  # type: ignore[arg-type]
    with MOS.open(settings, embedder=HashEmbedder()) as opened:
        yield opened


def test_an_archive_by_http(archive: Path, tmp_path: Path) -> None:
    content = archive.read_bytes()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if handler.path == "/old":
            send(handler, 302, Location="/x.memcube?v=1")
        elif handler.path.startswith("/x.memcube"):
            send(handler, 200, content)
        else:
            send(handler, 404)

    with serving(answer) as host, receiver(tmp_path / "r", "127.0.0.0/8") as mos:
        digest = sha256(content).hexdigest()
        assert mos.load(f"http://{host}/old", cube="a", sha256=digest.upper()).memories == 1
        with pytest.raises(DataError) as refused:
            mos.load(f"http://{host}/x.memcube", cube="b", sha256="0" * 64)
        assert refused.value.code == "checksum"
        with pytest.raises(StoreError) as missing:
            mos.load(f"http://{host}/y")
        assert (missing.value.code, missing.value.retryable) == ("http_status", False)
        assert [cube.id for cube in mos.cubes.list()] == ["a", "default"]


@pytest.mark.parametrize("location", ["http://127.0.0.2:1/", "http://[::1]:1/", "http://10.0.0.1/"])
def test_redirects_are_judged_anew(location: str, tmp_path: Path) -> None:
    with (
        serving(lambda handler: send(handler, 302, Location=location)) as host,
        receiver(tmp_path / "r", "127.0.0.1") as mos,
        pytest.raises(Forbidden),
    ):
        mos.load(f"http://{host}/")


def test_redirects_end(tmp_path: Path) -> None:
    with (
        serving(lambda handler: send(handler, 302, Location="/")) as host,
        receiver(tmp_path / "r", "127.0.0.1") as mos,
        pytest.raises(InvalidInput) as refused,
    ):
        mos.load(f"http://{host}/")
    assert refused.value.code == "too_many_redirects"


def test_answers_that_are_too_large_or_too_slow(tmp_path: Path) -> None:
    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()  # no length: until the connection ends
        try:
            while True:
                handler.wfile.write(bytes(1 << 20))
        except OSError:
            return

    with serving(endless) as host:
        with (
            receiver(tmp_path / "r", "127.0.0.1", max_megabytes=3) as mos,
            pytest.raises(InvalidInput) as refused,
        ):
            mos.load(f"http://{host}/")
        assert refused.value.code == "too_large"
        with (
            receiver(tmp_path / "r", "127.0.0.1", timeout_s=0.2) as mos,
            pytest.raises(StoreError) as slow,
        ):
            mos.load(f"http://{host}/")
        assert slow.value.retryable


def test_an_answer_that_breaks_off(archive: Path, tmp_path: Path) -> None:
    def broken(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        handler.wfile.write(archive.read_bytes())

    with (
        serving(broken) as host,
        receiver(tmp_path / "r", "127.0.0.1") as mos,
        pytest.raises(StoreError),
    ):
        mos.load(f"http://{host}/")


def git(*arguments: str, cwd: Path) -> None:
    environment = {
        **os.environ,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@example.org",
        "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@example.org",
    }  # fmt: skip
    subprocess.run(["git", *arguments], cwd=cwd, env=environment, check=True, capture_output=True)


def http_backend(root: Path) -> Answer:
    """Serve the repositories below ``root`` as web servers do: through ``git http-backend``."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        path, _, query = handler.path.partition("?")
        length = int(handler.headers.get("Content-Length") or 0)
        environment = {
            "PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": str(root), "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path, "QUERY_STRING": query, "REQUEST_METHOD": handler.command,
            "CONTENT_TYPE": handler.headers.get("Content-Type") or "",
            "CONTENT_LENGTH": str(length),
            "HTTP_CONTENT_ENCODING": handler.headers.get("Content-Encoding") or "",
            "GIT_PROTOCOL": handler.headers.get("Git-Protocol") or "",
        }  # fmt: skip
        done = subprocess.run(
            ["git", "http-backend"], env=environment, input=handler.rfile.read(length),
            capture_output=True, check=True,
        )  # fmt: skip
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().splitlines())
        status = int(fields.pop("Status", "200").split()[0])
        send(handler, status, body, **fields)

    return answer


def test_a_git_repository(mos: MOS, tmp_path: Path) -> None:
    mos.add("The kiln arrives on Friday.")
    work = tmp_path / "work"
    mos.dump(work)
    git("init", "-q", "-b", "main", cwd=work)
    git("add", "-A", cwd=work)
    git("commit", "-qm", "dump", cwd=work)
    (tmp_path / "root").mkdir()
    git("clone", "-q", "--bare", str(work), str(tmp_path / "root" / "cube.git"), cwd=tmp_path)
    with serving(http_backend(tmp_path / "root")) as host:
        address = f"git+http://{host}/cube.git"
        with receiver(tmp_path / "r", "127.0.0.1") as other:
            digest = sha256((work / "manifest.json").read_bytes()).hexdigest()
            assert other.load(address, cube="a", sha256=digest).memories == 1
            assert other.load(f"{address}#main", cube="b").created
            with pytest.raises(StoreError) as missing:
                other.load(f"{address}#nothing", cube="c")
            assert missing.value.code == "git_failed"
            for bad in (f"{address}#--upload-pack=touch", f"git+file://{work}", f"file://{work}"):
                with pytest.raises(InvalidInput):
                    other.load(bad, cube="c")
        with receiver(tmp_path / "r") as other, pytest.raises(Forbidden):
            other.load(address, cube="c")
