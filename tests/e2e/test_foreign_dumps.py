"""MemOS's dumps in each of its forms, written here from what it writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from memos import MOS
from memos.errors import DataError

A, B, C = (f"0000000{n}-0000-4000-8000-000000000000" for n in range(3))


def item(id: str, text: str, **metadata: object) -> dict[str, object]:
    return {"id": id, "memory": text, "metadata": {"user_id": "zoe", **metadata}}


TREE = {
    "nodes": [
        item(
            A, "Zoe moved to Lisbon.", memory_type="UserMemory", key="Move", tags=["home"],
            created_at="2025-03-01T09:00:00", updated_at="2025-03-02T09:00:00+01:00",
            sources=[json.dumps({"type": "chat", "role": "user", "content": "I moved.",
                                 "chat_time": "2025-03-01T09:00:00", "message_id": "m1"})],
            background="a move", usage=["x"], embedding=[0.1, 0.2], session_id="s1",
        ),
        item(B, "卓伊对花生过敏", memory_type="LongTermMemory", confidence=0.99),
        item(C, "An older note.", memory_type="LongTermMemory", status="archived"),
    ],
    "edges": [
        {"source": A, "target": B, "type": "PARENT"},
        {"source": A, "target": "nobody", "type": "RELATE"},
    ],
    "total_nodes": 3, "total_edges": 2,
}  # fmt: skip
NAIVE = [item(A, "Zoe moved to Lisbon."), item(B, "She likes tea.", info={"n": 1})]
GENERAL = [
    {
        "id": A,
        "vector": [0.0, 1.0],
        "payload": {
            "id": A,
            "memory": "Zoe moved to Lisbon.",
            "metadata": {"updated_at": "2025-03-02T09:00:00Z"},
        },
        "score": None,
    }
]
PREFERENCES = {
    "explicit_preference": [
        {
            "id": C,
            "vector": [1.0],
            "memory": "Zoe prefers tea in the morning.",
            "original_text": "I'd rather have tea.",
            "payload": {
                "preference_type": "explicit_preference",
                "preference": "tea",
                "created_at": "2025-03-01T09:00:00Z",
            },
        }
    ],
    "implicit_preference": [],
}


def dumped(folder: Path, content: object, name: str = "textual_memory.json") -> Path:
    folder.mkdir(exist_ok=True)
    config = {
        "model_schema": "memos.configs.mem_cube.GeneralMemCubeConfig",
        "user_id": "zoe",
        "cube_id": "zoes-cube",
        "text_mem": {
            "backend": "tree_text",
            "config": {"extractor_llm": {"config": {"api_key": "sk-canary-1234"}}},
        },
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / name).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return folder


def test_the_tree_form(mos: MOS, tmp_path: Path) -> None:
    folder = dumped(tmp_path / "dump", TREE)
    (folder / "activation_memory.pickle").write_bytes(b"cos\nsystem\n(S'touch /tmp/x'\ntR.")
    (folder / "parametric_memory.adapter").write_bytes(b"Placeholder")
    result = mos.load(folder)
    assert (result.cube, result.created, result.memories, result.embedded) == (
        "zoes-cube",
        True,
        3,
        3,
    )
    assert {part.name for part in result.skipped} == {
        "activation_memory.pickle",
        "parametric_memory.adapter",
        "textual_memory.json",
    }
    memory = mos.get(A, cube="zoes-cube")
    assert (memory.tier, memory.title, memory.tags) == ("user", "Move", ("home",))
    assert memory.created_at is not None
    assert memory.created_at.isoformat() == "2025-03-01T09:00:00+00:00"
    assert (memory.place.user, memory.place.session) == ("zoe", "s1")
    assert (memory.sources[0].id, memory.sources[0].extra["content"]) == ("m1", "I moved.")
    assert memory.data["metadata"] == {"background": "a move", "usage": ["x"]}
    assert mos.get(C, cube="zoes-cube").retired_at is not None
    assert [h.memory.id for h in mos.search("花生", cube="zoes-cube", recipe="words").hits] == [B]
    assert mos.stats(cube="zoes-cube").links == 1
    # Again: nothing new, nothing in conflict; and no key of the configuration came along.
    again = mos.load(folder)
    assert (again.memories, again.same, again.conflicts) == (0, 3, 0)
    mos.dump(tmp_path / "ours", cube="zoes-cube")
    for path in (*(tmp_path / "ours").iterdir(), tmp_path / "home" / "memos.db"):
        assert b"sk-canary" not in path.read_bytes()


@pytest.mark.parametrize(("content", "ids"), [(NAIVE, {A, B}), (GENERAL, {A}), (PREFERENCES, {C})])
def test_the_other_forms(mos: MOS, tmp_path: Path, content: object, ids: set[str]) -> None:
    mos.load(dumped(tmp_path / "dump", content), cube="c")
    page = mos.get_all(cube="c")
    assert {memory.id for memory in page.items} == ids
    kinds = {memory.kind for memory in page.items}
    assert kinds == ({"preference"} if content is PREFERENCES else {"fact"})


def test_text_and_preferences_in_two_files(mos: MOS, tmp_path: Path) -> None:
    folder = dumped(tmp_path / "dump", NAIVE)
    dumped(folder, PREFERENCES, "preference_memory.json")
    assert mos.load(folder).memories == 3


@pytest.mark.parametrize(
    "content",
    [7, {"nodes": 7}, {"nodes": [7]}, [{"id": A}], {"nodes": [], "edges": [{"source": A}]}],
)
def test_what_memos_does_not_write(mos: MOS, tmp_path: Path, content: object) -> None:
    with pytest.raises(DataError):
        mos.load(dumped(tmp_path / "dump", content))
    assert len(mos.cubes.list()) == 1
