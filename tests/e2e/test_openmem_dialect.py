"""The openmem dialect of MemOS: its client's and its plugins' requests, under each prefix."""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.dialects import OPENMEM, events, open_server

from memos.testing.fakes import ScriptedChat

CLOUD = OPENMEM[0]
SAID = [
    {"role": "user", "content": "I am allergic to peanuts.", "chat_time": "2026-05-01 10:00"},
    {"role": "assistant", "content": "记下了。"},
]


@pytest.fixture
def client(tmp_path: Path) -> Generator[TestClient]:
    with open_server(tmp_path) as client:
        client.headers["Authorization"] = "Token mpg-whatever"
        yield client


def call(client: TestClient, path: str, body: object, prefix: str = CLOUD) -> Any:
    answer = client.post(f"{prefix}{path}", json=body)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["code"], answer.json()["message"]) == (200, "ok")
    return answer.json()["data"]


@pytest.mark.parametrize("prefix", OPENMEM)
def test_a_memory_s_life_under_every_prefix(client: TestClient, prefix: str) -> None:
    body = {"messages": SAID, "user_id": "zoe", "conversation_id": "c1", "tags": ["food"],
            "info": {"topic": "diet"}, "app_id": "app", "source": "test", "agent_id": "chef",
            "allow_knowledgebase_ids": None, "async_mode": True}  # fmt: skip
    added = call(client, "/add/message", body, prefix)
    assert (added["success"], added["status"]) == (True, "completed")
    status = call(client, "/get/status", {"task_id": added["task_id"]}, prefix)
    assert (status["task_id"], status["status"]) == (added["task_id"], "completed")
    asked = {"query": "peanuts", "user_id": "zoe", "conversation_id": "c1", "filter": None}
    found = call(client, "/search/memory", asked, prefix)
    best = found["memory_detail_list"][0]
    assert (best["memory_value"], best["conversation_id"]) == ("I am allergic to peanuts.", "c1")
    assert (best["tags"], best["status"], best["agent_id"]) == (["food"], "activated", "chef")
    assert best["info"] == {"topic": "diet", "source": "test"}
    assert 0 < best["relativity"] <= 1
    assert found["preference_note"] == ""
    assert found["message_detail_list"] is None
    told = {"memory_id": best["id"], "content": "I am allergic to all nuts.", "title": "Nuts"}
    assert call(client, "/update/memory", told, prefix) == {"success": True}
    held = client.get(f"{prefix}/get/memory/{best['id']}").json()["data"]
    assert (held["memory_value"], held["memory_key"]) == ("I am allergic to all nuts.", "Nuts")
    page = call(client, "/get/memory", {"user_id": "zoe", "page": 2, "size": 1}, prefix)
    assert (page["total"], page["pages"], page["current"], page["size"]) == (2, 2, 2, 1)
    assert len(page["memory_detail_list"]) == 1
    messages = call(client, "/get/message", {"user_id": "zoe", "conversation_id": "c1"}, prefix)
    assert [(one["role"], one["content"]) for one in messages["message_detail_list"]] == [
        ("user", "I am allergic to all nuts."), ("assistant", "记下了。"),
    ]  # fmt: skip
    assert call(client, "/delete/memory", {"memory_ids": [best["id"]]}, prefix)["success"]
    gone = client.get(f"{prefix}/get/memory/{best['id']}")
    assert (gone.status_code, gone.json()["code"], gone.json()["data"]) == (404, 40001, None)


def test_what_the_openclaw_plugin_sends(client: TestClient) -> None:
    told = {
        "user_id": "openclaw-user", "conversation_id": "openclaw-1", "messages": SAID,
        "source": "openclaw", "agent_id": "main", "app_id": "openclaw", "tags": ["openclaw"],
        "info": {"source": "openclaw", "sessionKey": "k", "agentId": "main"},
        "allow_public": False, "async_mode": True,
    }  # fmt: skip
    call(client, "/add/message", told)
    asked = {
        "user_id": "openclaw-user", "query": "What may I not eat? peanuts", "source": "openclaw",
        "filter": {"user": {"and": [{"tags": {"contains": "openclaw"}}, {"agent_id": "main"}]}},
        "knowledgebase_ids": [], "memory_limit_number": 9, "include_preference": True,
        "preference_limit_number": 6, "include_tool_memory": False,
        "tool_memory_limit_number": 6, "relativity": 0.45,
    }  # fmt: skip
    start = time.perf_counter()
    found = call(client, "/search/memory", asked)
    assert time.perf_counter() - start < 5
    kept = [one for one in found["memory_detail_list"] if one["relativity"] > 0.45]
    assert kept[0]["memory_value"] == "I am allergic to peanuts."
    assert all(one["update_time"] for one in kept)
    other = {**asked, "filter": {"user": {"and": [{"agent_id": "other"}]}}}
    assert call(client, "/search/memory", other)["memory_detail_list"] == []


def test_users_in_a_list_and_agents_alone(client: TestClient) -> None:
    call(client, "/add/message", {"messages": SAID, "user_id": ["one", "two"]})
    call(client, "/add/message", {"messages": SAID[:1], "agent_id": ["chef", "clerk"]})
    for subject in ({"user_id": "one"}, {"user_id": "two"}, {"agent_id": "chef"}):
        found = call(client, "/search/memory", {"query": "peanuts", **subject})
        assert found["memory_detail_list"], subject
    assert call(client, "/get/memory", {"user_id": "chef"})["total"] == 0
    for path, body in (
        ("/search/memory", {"query": "x", "user_id": "one", "agent_id": "chef"}),
        ("/search/memory", {"query": "x"}),
        ("/get/memory", {}),
        ("/add/message", {"messages": SAID}),
    ):
        refused = client.post(CLOUD + path, json=body)
        assert (refused.status_code, refused.json()["code"]) == (400, 40000)
    assert call(client, "/delete/memory", {"agent_id": "chef"})["success"]
    assert call(client, "/get/memory", {"agent_id": "chef"})["total"] == 0
    assert call(client, "/get/memory", {"agent_id": "clerk"})["total"] == 1


def test_deletions(client: TestClient) -> None:
    for user in ("zoe", "lin"):
        for conversation in ("c1", "c2"):
            body = {"messages": SAID, "user_id": user, "conversation_id": conversation}
            call(client, "/add/message", body)
    for refused in (
        {}, {"filter": {}}, {"filter": {"and": []}}, {"memory_ids": []},
        {"filter": {"or": [{}]}, "memory_type": "UserMemory"}, {"memory_type": "UserMemory"},
        {"user_id": "zoe", "filter": {"tags": "x"}},
    ):  # fmt: skip
        answer = client.post(f"{CLOUD}/delete/memory", json=refused)
        assert (answer.status_code, answer.json()["code"]) == (400, 40000), refused
    missing = client.post(f"{CLOUD}/delete/memory", json={"memory_ids": ["none"]})
    assert (missing.status_code, missing.json()["code"]) == (404, 40001)
    where = {"and": [{"user_id": "zoe"}, {"conversation_id": "c1"}]}
    assert call(client, "/delete/memory", {"filter": where})["success"]
    assert call(client, "/get/memory", {"user_id": "zoe"})["total"] == 2
    assert call(client, "/get/memory", {"user_id": "lin"})["total"] == 4
    call(client, "/delete/memory", {"user_id": "zoe", "memory_type": "UserMemory"})
    assert call(client, "/get/memory", {"user_id": "zoe"})["total"] == 1
    call(client, "/delete/memory", {"user_id": "zoe"})
    assert call(client, "/get/memory", {"user_id": "zoe"})["total"] == 0


def test_status_of_a_memory(client: TestClient) -> None:
    id = call(client, "/add/message", {"messages": SAID[:1], "user_id": "zoe"})["task_id"]
    for status, code in (("archived", 501), ("activated", 200), ("deleted", 200), ("deleted", 404)):
        body = {"memory_id": id, "status": status}
        assert client.post(f"{CLOUD}/update/memory", json=body).status_code == code
    lost = client.post(f"{CLOUD}/get/status", json={"task_id": id})
    assert (lost.status_code, lost.json()["code"]) == (404, 50131)


def test_long_messages_come_back_whole(client: TestClient) -> None:
    long = "\n\n".join(f"Paragraph {n}. " + "word " * 200 for n in range(12))
    said = [{"role": "user", "content": long}, {"role": "assistant", "content": "ok"}]
    call(client, "/add/message", {"messages": said, "user_id": "zoe", "conversation_id": "c"})
    body = {"user_id": "zoe", "conversation_id": "c", "message_limit_number": 2}
    told = call(client, "/get/message", body)["message_detail_list"]
    assert [(one["role"], one["content"].split()) for one in told] == [
        ("user", long.split()), ("assistant", ["ok"]),
    ]  # fmt: skip
    recent = call(client, "/get/message", {"user_id": "zoe", "conversation_limit_number": 1})
    assert len(recent["message_detail_list"]) == 2


def test_preferences_tools_and_skills_have_lists_of_their_own(client: TestClient) -> None:
    del client.headers["Authorization"]
    for kind in ("PreferenceMemory", "ToolTrajectoryMemory", "SkillMemory", "LongTermMemory"):
        told = {"memory": f"tea as {kind}", "metadata": {"memory_type": kind, "key": "tea"}}
        client.post("/v1/memories", json={"items": [told], "user": "zoe"})
    asked = {"query": "tea", "user_id": "zoe", "include_tool_memory": True, "include_skill": True}
    found = call(client, "/search/memory", asked)
    assert [one["memory_value"] for one in found["memory_detail_list"]] == ["tea as LongTermMemory"]
    (liked,) = found["preference_detail_list"]
    assert (liked["preference"], liked["preference_type"]) == (
        "tea as PreferenceMemory", "explicit_preference",
    )  # fmt: skip
    assert found["preference_note"]
    (tool,) = found["tool_memory_detail_list"]
    assert tool["tool_value"] == "tea as ToolTrajectoryMemory"
    (skill,) = found["skill_detail_list"]
    assert skill["skill_value"]["name"] == "tea"
    plain = call(client, "/search/memory", {"query": "tea", "user_id": "zoe"})
    assert plain["tool_memory_detail_list"] == plain["skill_detail_list"] == []
    page = call(client, "/get/memory", {"user_id": "zoe", "include_tool_memory": False})
    assert page["total"] == 3


def test_documents_are_reranked(client: TestClient) -> None:
    body = {"query": "allergic to peanuts", "documents": ["a red car", "peanuts", "花生"],
            "top_n": 2}  # fmt: skip
    data = call(client, "/rerank", body)
    assert data["results"][0]["index"] == 1
    assert len(data["results"]) == 2


def test_chat(tmp_path: Path) -> None:
    with open_server(tmp_path, chat=ScriptedChat("Peanuts.", "And tea.")) as client:
        body = {"user_id": "zoe", "conversation_id": "c", "query": "What?", "max_tokens": 8192,
                "temperature": 0.7, "filter": {}, "knowledgebase_ids": None}  # fmt: skip
        assert call(client, "/chat", body) == {"response": "Peanuts."}
        told = events(client.post(f"{CLOUD}/chat", json={**body, "stream": True}).text)
        assert "".join(event["data"] for event in told) == "And tea."
        said = call(client, "/get/message", {"user_id": "zoe", "conversation_id": "c"})
        assert [one["content"] for one in said["message_detail_list"]] == [
            "What?", "Peanuts.", "What?", "And tea.",
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/search/memory", {"user_id": "zoe"}, 400, 40000),
        ("/search/memory", {"user_id": "zoe", "query": "x", "filter": {"a": {"near": 1}}}, 400,
         40000),
        ("/get/memory", {"user_id": "zoe", "size": 51}, 400, 40000),
        ("/add/message", {"user_id": "u" * 300, "messages": SAID}, 400, 40010),
        ("/add/message", {"user_id": "zoe", "messages": []}, 400, 40000),
        ("/update/memory", {"memory_id": "none", "content": "x"}, 404, 40001),
        ("/get/status", {"task_id": "none"}, 404, 50131),
        ("/chat", {"user_id": "zoe", "conversation_id": "c", "query": "x"}, 503, 50000),
        ("/extract/memory", {}, 501, 50000),
        ("/add/feedback", {}, 501, 50000),
        ("/create/knowledgebase", {}, 501, 50000),
        ("/edit/profile", {}, 501, 50000),
        ("/no/where", {}, 404, 40001),
    ],
)  # fmt: skip
def test_failures_have_codes_and_a_status(
    client: TestClient, path: str, body: object, status: int, code: int
) -> None:
    answer = client.post(CLOUD + path, json=body)
    assert answer.status_code == status, answer.text
    assert (answer.json()["code"], answer.json()["data"]) == (code, None)
