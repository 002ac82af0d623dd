"""Chat exports become sessions; what is imported again is known."""

from __future__ import annotations

import json
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from memos import MOS
from memos.errors import InvalidInput
from memos.ingest.exports import stream


def node(
    id: str, parent: str | None, role: str, *parts: object, **more: object
) -> dict[str, object]:
    message = {
        "id": f"msg-{id}",
        "author": {"role": role},
        "create_time": 1748000000.5,
        "content": {"content_type": "text", "parts": list(parts)},
        "metadata": {},
        **more,
    }
    return {"id": id, "message": message, "parent": parent, "children": []}


def chatgpt(id: str = "c1") -> dict[str, object]:
    nodes = [
        {"id": "root", "message": None, "parent": None, "children": ["a"]},
        node("a", "root", "system", ""),
        node("b", "a", "user", "Where can I buy a kiln?"),
        node("x", "b", "assistant", "An answer that was regenerated."),
        node("y", "b", "assistant", "At the pottery shop in Porto."),
        node("z", "y", "user", "谢谢", {"content_type": "image_asset_pointer"}),
        node("h", "z", "user", "hidden", metadata={"is_visually_hidden_from_conversation": True}),
        node("t", "h", "tool", "{}"),
    ]
    return {
        "title": "Kilns",
        "conversation_id": id,
        "create_time": 1748000000.0,
        "current_node": "t",
        "mapping": {str(n["id"]): n for n in nodes},
    }


CLAUDE = [
    {
        "uuid": "k1",
        "name": "Tea",
        "created_at": "2025-05-01T10:00:00.000000Z",
        "chat_messages": [
            {"uuid": "1", "sender": "human", "text": "Which tea is calming?",
             "created_at": "2025-05-01T10:00:00.000000Z",
             "content": [{"type": "text", "text": "Which tea is calming?"}],
             "attachments": [{"file_name": "list.txt", "extracted_content": "rooibos"}]},
            {"uuid": "2", "sender": "assistant", "text": "Chamomile.", "created_at": None,
             "content": [{"type": "thinking", "thinking": "..."},
                         {"type": "text", "text": "Chamomile."}]},
            {"uuid": "3", "sender": "human", "text": "", "content": []},
        ],
    }
]  # fmt: skip


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return path


def test_chatgpt(mos: MOS, tmp_path: Path) -> None:
    path = write(tmp_path / "conversations.json", [chatgpt("c1"), {"mapping": 7}, chatgpt("c2")])
    steps: list[tuple[int, int]] = []
    result = mos.import_chats(path, progress=lambda *step: steps.append(step))
    assert (result.conversations, result.stored, result.known) == (2, 6, 0)
    assert [part.name for part in result.skipped] == ["conversations[1]"]
    size = path.stat().st_size
    assert steps[-1] == (size, size)
    found = mos.get_all(where={"session": "c1"}).items
    assert [m.text for m in found] == [
        "Where can I buy a kiln?",
        "At the pottery shop in Porto.",
        "谢谢\n[image]",
    ]
    assert (found[0].sources[0].id, found[0].info) == ("msg-b", {"conversation": "Kilns"})
    assert found[0].sources[0].at is not None
    assert found[0].sources[0].at.year == 2025
    assert mos.import_chats(path).known == 6


def test_the_zip_around_it_and_a_later_export(mos: MOS, tmp_path: Path) -> None:
    path = tmp_path / "export.zip"
    for count, stored in ((1, 3), (2, 3)):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("chat.html", "<html></html>")
            conversations = [chatgpt(f"c{n}") for n in range(count)]
            archive.writestr("conversations.json", json.dumps(conversations))
        assert mos.import_chats(path).stored == stored


def test_claude(mos: MOS, tmp_path: Path) -> None:
    path = write(tmp_path / "conversations.json", CLAUDE)
    assert mos.import_chats(tmp_path).stored == 2  # the folder around it does as well
    texts = [m.text for m in mos.get_all(where={"session": "k1"}).items]
    assert texts == ["Which tea is calming?\n[list.txt]\nrooibos", "Chamomile."]
    assert mos.import_chats(path, format="claude").stored == 0


def test_plain_messages(mos: MOS, tmp_path: Path) -> None:
    messages = [{"role": "user", "content": f"note {n}"} for n in range(3)]
    listed = write(tmp_path / "a.json", {"messages": messages})
    assert mos.import_chats(listed).stored == 3
    assert mos.import_chats(listed).stored == 0
    bare = write(tmp_path / "bare.json", messages)
    assert mos.import_chats(bare).stored == 3
    lines = tmp_path / "b.jsonl"
    rows = [*messages, {"role": "user", "content": "other", "session": "s9", "message_id": "1"}]
    lines.write_text("\ufeff" + "\n\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert mos.import_chats(lines).conversations == 2
    assert mos.get_all(where={"session": "s9"}).items[0].text == "other"
    whole = tmp_path / "c.jsonl"
    whole.write_text(json.dumps({"messages": messages, "id": "t1"}) + "\n", encoding="utf-8")
    assert mos.import_chats(whole).stored == 3


def test_markdown_folders(mos: MOS, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    (notes / "deep").mkdir(parents=True)
    (notes / "a.md").write_text("# Kiln\n\nIt arrives on Friday.", encoding="utf-8")
    (notes / "deep" / "茶.md").write_text("绿茶很好喝", encoding="utf-8")
    (notes / "bad.md").write_bytes(b"\xff\xfe")
    (notes / "other.pdf").write_bytes(b"%PDF")
    result = mos.import_chats(notes)
    assert (result.conversations, [part.name for part in result.skipped]) == (2, ["bad.md"])
    uris = {m.sources[0].uri for m in mos.get_all().items}
    assert uris == {"a.md", "deep/茶.md"}
    assert mos.import_chats(notes).stored == 0


@pytest.mark.parametrize("content", ["", "[", '[{"mapping": {}} {}]', "[1]", "{}", '"x"', "[{},"])
def test_files_that_are_no_export(mos: MOS, tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InvalidInput):
        mos.import_chats(path)
    with pytest.raises(InvalidInput):
        mos.import_chats(tmp_path / "nothing.json")
    with pytest.raises(InvalidInput):
        mos.import_chats(path, format="word")  # type: ignore[arg-type]


def test_circles_end(mos: MOS, tmp_path: Path) -> None:
    broken = chatgpt()
    broken["mapping"]["b"]["parent"] = "z"  # type: ignore[index]
    result = mos.import_chats(write(tmp_path / "conversations.json", [broken]))
    assert (result.conversations, len(result.skipped)) == (0, 1)


def test_lists_are_streamed_whatever_the_chunks() -> None:
    values = [{"a": ["]", "\\", "窑" * 300_000]}, 12345, "x", None, [], 1.5e3]
    content = BytesIO(b"\xef\xbb\xbf" + json.dumps(values, ensure_ascii=False).encode())
    assert list(stream.entries(content, "x", lambda _: None)) == values
    assert list(stream.entries(BytesIO(b" [ ] "), "x", lambda _: None)) == []
    assert list(stream.entries(BytesIO(b'{"a": 1}'), "x", lambda _: None)) == [{"a": 1}]
