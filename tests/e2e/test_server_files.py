"""Whole cubes and files over HTTP: in, out, and what is refused."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import Generator
from hashlib import sha256
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from tests.serving import TOKEN, in_process, on_loopback

from memos.client import AsyncClient, Client
from memos.errors import Conflict, InvalidInput, NotFound, StoreError

ENVIRONMENT = {"MEMOS_BOOTSTRAP_KEY": TOKEN, "MEMOS_SERVER__OPEN_LOOPBACK": "false"}


@pytest.fixture
def client(tmp_path: Path) -> Generator[TestClient]:
    with in_process(tmp_path / "home", max_body_megabytes=1, max_upload_megabytes=2) as client:
        yield client


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    with on_loopback(tmp_path_factory.mktemp("home"), **ENVIRONMENT) as url:
        yield url


def exported(client: TestClient, cube: str = "zoe") -> bytes:
    client.post("/v1/memories", json={"text": "The kiln is hot.", "user": cube})
    answer = client.get(f"/v1/cubes/{cube}/export", params={"user": cube})
    assert answer.status_code == 200
    assert len(answer.content) == int(answer.headers["content-length"])
    return answer.content


def key_for(client: TestClient, **body: object) -> dict[str, str]:
    made = client.post("/v1/keys", json={"name": "k", **body}).json()
    return {"Authorization": f"Bearer {made['token']}"}


def left_over() -> set[str]:
    return {path.name for path in Path(tempfile.gettempdir()).glob("memos-*")}


def test_a_cube_goes_out_and_comes_in(client: TestClient) -> None:
    before = left_over()
    archive = exported(client)
    assert "manifest.json" in zipfile.ZipFile(io.BytesIO(archive)).namelist()
    params = {"user": "lin", "sha256": sha256(archive).hexdigest()}
    loaded = client.post("/v1/cubes/copy/import", params=params, content=archive)
    assert (loaded.status_code, loaded.json()["created"]) == (200, True), loaded.text
    found = client.post("/v1/search", json={"query": "kiln", "user": "lin", "cubes": ["copy"]})
    assert found.json()["hits"][0]["memory"]["text"] == "The kiln is hot."
    again = client.post("/v1/cubes/copy/import", params={"user": "lin"}, content=archive)
    assert (again.json()["memories"], again.json()["same"]) == (0, 1)
    fresh = client.post(
        "/v1/cubes/copy/import", params={"user": "lin", "fresh": "true"}, content=archive
    )
    assert (fresh.status_code, fresh.json()["code"]) == (409, "exists")
    assert left_over() <= before


def test_a_cube_of_others_neither_goes_out_nor_is_overwritten(client: TestClient) -> None:
    archive = exported(client)
    for answer in (
        client.get("/v1/cubes/zoe/export", params={"user": "lin"}),
        client.get("/v1/cubes/nobody's/export", params={"user": "lin"}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_cube")
    taken = client.post("/v1/cubes/zoe/import", params={"user": "lin"}, content=archive)
    assert (taken.status_code, taken.json()["code"]) == (409, "exists")
    reader = key_for(client, scopes=["read"], user="zoe")
    assert client.get("/v1/cubes/zoe/export", headers=reader).status_code == 200
    for path in ("/v1/cubes/zoe/import", "/v1/imports/cube"):
        refused = client.post(path, content=archive, headers=reader)
        assert (refused.status_code, refused.json()["code"]) == (403, "key_scope")
    bound = key_for(client, cubes=["other"])
    for path in ("/v1/cubes/zoe/import", "/v1/imports/cube"):
        refused = client.post(path, params={"user": "zoe"}, content=archive, headers=bound)
        assert (refused.status_code, refused.json()["code"]) == (403, "key_scope")


def zipped(**entries: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return out.getvalue()


BOMB = b"0" * (300 * 1024 * 1024)


@pytest.mark.parametrize(
    ("archive", "code"),
    [
        (b"", "damaged_dump"),
        (b"no archive", "damaged_dump"),
        (zipped(), "unfinished_dump"),
        (zipped(**{"../../etc/passwd": b"x"}), "damaged_dump"),
        (zipped(**{"/etc/passwd": b"x"}), "damaged_dump"),
        (zipped(**{"manifest.json": b"{}"}), "damaged_dump"),
        (zipped(**{"manifest.json": b"[" * 100_000}), "damaged_dump"),
        (zipped(**{"manifest.json": BOMB}), "zip_bomb"),
    ],
    ids=["empty", "text", "no files", "traversal", "absolute", "no manifest", "deep", "bomb"],
)
def test_what_is_no_archive_is_the_caller_s_fault(
    client: TestClient, archive: bytes, code: str
) -> None:
    answer = client.post("/v1/cubes/copy/import", content=archive)
    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text
    assert "/tmp" not in answer.text
    assert client.get("/v1/cubes/copy").status_code == 404


def test_a_broken_archive_leaves_nothing(client: TestClient) -> None:
    whole = exported(client)
    archive = bytearray(whole)
    entry = zipfile.ZipFile(io.BytesIO(whole)).getinfo("vectors-00000.f32")
    archive[entry.header_offset + 30 + len(entry.filename) + 100] ^= 255  # of a vector
    answer = client.post("/v1/cubes/copy/import", content=bytes(archive))
    assert answer.status_code == 422
    other = client.post(
        "/v1/cubes/copy/import", params={"sha256": "0" * 64}, content=bytes(archive)
    )
    assert (other.status_code, other.json()["code"]) == (422, "checksum")
    assert client.get("/v1/cubes/copy").status_code == 404


def test_uploads_have_a_limit(client: TestClient) -> None:
    def chunks() -> Generator[bytes]:
        for _ in range(30):
            yield b"0" * 100_000

    for content in (b"0" * (2 * 1024 * 1024 + 1), chunks()):
        answer = client.post("/v1/cubes/copy/import", content=content)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert client.get("/health").status_code == 200


CHATS = json.dumps([{"role": "user", "content": "I moved to Lisbon.", "message_id": "m1"}])


def test_conversations_come_in_once(client: TestClient) -> None:
    files = {"file": ("talk.json", CHATS.encode())}
    first = client.post("/v1/imports/chats", files=files, params={"user": "zoe"})
    assert first.json() == {"conversations": 1, "stored": 1, "known": 0, "skipped": []}
    again = client.post("/v1/imports/chats", files=files, params={"user": "zoe"})
    assert (again.json()["stored"], again.json()["known"]) == (0, 1)
    held = client.get("/v1/memories", params={"user": "zoe"}).json()["items"]
    assert [memory["place"]["session"] for memory in held] == ["talk"]


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("talk.json", b"{", "invalid_export"),
        ("talk.json", b"[" * 200_000, "invalid_export"),
        ("talk.json", b'{"a": 1}', "unknown_export"),
        ("talk.json", b"\xff\xfe", "invalid_export"),
        ("talk.zip", zipped(**{"conversations.json": BOMB}), "zip_bomb"),
        ("talk.zip", zipped(**{"../conversation.json": b"[]"}), "unknown_export"),
        ("..", b"[]", "no_file"),
        (" . ", b"[]", "no_file"),
    ],
)
def test_exports_that_cannot_be_read(
    client: TestClient, name: str, content: bytes, code: str
) -> None:
    answer = client.post("/v1/imports/chats", files={"file": (name, content)})
    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text


def test_files_come_in_under_the_last_part_of_their_name(client: TestClient) -> None:
    files = [
        ("files", ("../../../etc/notes.md", b"# Kiln\n\nIt is hot.")),
        ("files", ("C:\\secret\\plan.txt", "周五出窑。".encode())),
        ("files", ("photo.png", b"\x89PNG")),
    ]
    options = {"user": "zoe", "tags": ["file"], "session": "s"}
    form = {"options": json.dumps(options)}
    key = {"Idempotency-Key": "f"}
    answer = client.post("/v1/imports/files", files=files, data=form, headers=key)
    assert answer.status_code == 207
    results = answer.json()["results"]
    assert results[2]["problem"]["code"] == "unsupported_file"
    held = client.get("/v1/memories", params={"user": "zoe"}).json()["items"]
    assert {memory["sources"][0]["uri"] for memory in held} == {"notes.md", "plan.txt"}
    assert {tuple(memory["tags"]) for memory in held} == {("file",)}
    again = client.post("/v1/imports/files", files=files, data=form, headers=key)
    assert again.json()["results"][0]["stored"] == [False]
    for bad in ("[]", "{", '{"path": "/etc/passwd"}', '{"user": 5}'):
        refused = client.post("/v1/imports/files", files=files, data={"options": bad})
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_input")


def test_the_client_moves_cubes_and_files(server: str, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        seen.append((done, total))

    note = tmp_path / '注 "1".md'
    note.write_text("# Kiln\n\nIt is hot.", encoding="utf-8")
    chats = tmp_path / "talk.json"
    chats.write_text(CHATS, encoding="utf-8")
    with Client(server, api_key=TOKEN) as client:
        added = client.add(note, user="zoe", tags=["file"], batch_id="n")
        assert client.get(added.ids[0], user="zoe").sources[0].uri == "注 %221%22.md"
        assert client.add(note, user="zoe", tags=["file"], batch_id="n").ids == added.ids
        assert client.import_chats(chats, user="zoe", format="messages").stored == 1
        target = tmp_path / "zoe.memcube"
        dumped = client.dump(target, user="zoe", progress=progress)
        assert (dumped.path, dumped.cube, dumped.memories) == (str(target), "zoe", 2)
        assert seen[-1] == (target.stat().st_size, target.stat().st_size)
        loaded = client.load(target, user="lin", cube="copy", progress=progress)
        assert (loaded.created, loaded.memories) == (True, 2)
        assert client.load(str(target), user="zoe").same == 2
        with pytest.raises(Conflict):
            client.init_from_dir(target, user="lin", cube="copy")
        assert client.init_from_dir(target, user="lin", cube="third").created
        for call in (
            lambda: client.dump(target, user="zoe"),
            lambda: client.dump(tmp_path / "folder", user="zoe"),
            lambda: client.dump(tmp_path / "x.memcube"),
            lambda: client.load("https://example.org/x.memcube"),
            lambda: client.load(tmp_path / "none.memcube"),
            lambda: client.add(tmp_path / "none.txt"),
            lambda: client.load(chats, user="zoe"),
        ):
            with pytest.raises(InvalidInput):
                call()
        with pytest.raises(NotFound):
            client.dump(tmp_path / "y.memcube", user="lin", cube="zoe")
        (tmp_path / "file").touch()
        with pytest.raises(StoreError):
            client.dump(tmp_path / "file" / "z.memcube", user="zoe")
    assert not list(tmp_path.glob("*-part"))


@pytest.mark.anyio
async def test_the_asynchronous_client_moves_cubes(server: str, tmp_path: Path) -> None:
    target = tmp_path / "ann.memcube"
    async with AsyncClient(server, api_key=TOKEN) as client:
        await client.add("The kiln is hot.", user="ann")
        assert (await client.dump(target, user="ann")).memories == 1
        assert (await client.load(target, user="ann", cube="ann-2")).created
