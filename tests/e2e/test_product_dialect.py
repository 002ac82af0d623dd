"""The product dialect of MemOS: what its own server's clients send, and what they read."""

from __future__ import annotations

import re
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.dialects import TOKEN, add, events, open_server, texts

from memos.ports.web import WebPage
from memos.server.app import create_app
from memos.settings import Settings
from memos.testing.fakes import HashEmbedder, ScriptedChat, ScriptedWeb
from memos.types import Batch, Retire


@pytest.fixture
def client(tmp_path: Path) -> Generator[TestClient]:
    with open_server(tmp_path) as client:
        yield client


def test_what_the_evaluation_client_sends(client: TestClient) -> None:
    headers = {"Authorization": "Token mpg-evaluation"}
    for speaker in ("a", "b"):
        user = f"locomo_exp_user_0_speaker_{speaker}"
        for number in range(20):
            messages = [
                {"role": "user", "content": f"Melanie: I ran {number} miles",
                 "chat_time": "1:56 pm on 8 May, 2023"},
                {"role": "assistant", "content": f"Caroline: well done, that is {number}",
                 "chat_time": "1:56 pm on 8 May, 2023"},
            ]  # fmt: skip
            body = {"messages": messages, "user_id": user, "mem_cube_id": user,
                    "conversation_id": f"{user}_session_{number % 4}"}  # fmt: skip
            answer = client.post("/product/add", json=body, headers=headers)
            assert answer.json()["message"] == "Memory added successfully"
            assert answer.json()["code"] == 200
            assert isinstance(answer.json()["data"], list)
        body = {"query": "How far did Melanie run?", "user_id": user, "mem_cube_id": user,
                "conversation_id": "", "top_k": 20, "mode": "fast", "include_preference": True,
                "pref_top_k": 6}  # fmt: skip
        start = time.perf_counter()
        answer = client.post("/product/search", json=body, headers=headers)
        assert time.perf_counter() - start < 5
        assert answer.json()["message"] == "Search completed successfully"
        data = answer.json()["data"]
        found = data["text_mem"][0]["memories"]
        assert 10 <= len(found) <= 20
        assert all("Melanie" in one["memory"] or "Caroline" in one["memory"] for one in found)
        scores = [one["metadata"]["relativity"] for one in found]
        assert scores == sorted(scores, reverse=True)
        assert all(0.45 <= score <= 1 for score in scores)
        assert data["pref_string"] == ""


def test_the_only_memory_is_found_without_a_shared_word(client: TestClient) -> None:
    add(client, "zoe", "I moved to Lisbon in May 2026.")
    assert texts(client, "zoe", "where does zoe live?") == ["I moved to Lisbon in May 2026."]


def test_a_memory_s_life(client: TestClient) -> None:
    body = {
        "user_id": "zoe", "messages": [
            {"role": "user", "content": "我对花生过敏。", "chat_time": "2026-05-01 10:00"},
            {"role": "assistant", "content": [{"type": "text", "text": "Noted."}]},
        ],
        "session_id": "s1", "custom_tags": ["food"], "info": {"topic": "diet"},
        "async_mode": "async", "task_id": "t-1", "project_id": "p", "operation": [],
    }  # fmt: skip
    added = client.post("/product/add", json=body).json()["data"]
    assert [(one["memory"], one["memory_type"], one["cube_id"]) for one in added] == [
        ("我对花生过敏。", "UserMemory", "zoe"), ("Noted.", "LongTermMemory", "zoe"),
    ]  # fmt: skip
    id = added[0]["memory_id"]
    found = client.get(f"/product/get_memory/{id}").json()
    assert found["message"] == "Memory retrieved successfully"
    metadata = found["data"]["metadata"]
    assert metadata["session_id"] == "s1"
    assert metadata["tags"] == ["food"]
    assert metadata["info"] == {"topic": "diet", "task_id": "t-1", "project_id": "p"}
    assert metadata["sources"][0]["chat_time"].startswith("2026-05-01T10:00")
    assert re.fullmatch(r"\[[0-9a-f]{8}\]", found["data"]["ref_id"])
    some = client.post("/product/get_memory_by_ids", json=[id, "none"]).json()["data"]
    assert [one["id"] for one in some["memories"]] == [id]
    names = client.post(
        "/product/get_user_names_by_memory_ids", json={"memory_ids": [id, "none"]}
    ).json()
    assert names["data"] == {id: "zoe", "none": None}
    query = {"user_id": "zoe", "task_id": "t-1"}
    status = client.get("/product/scheduler/status", params=query).json()
    assert status["data"] == [{"task_id": "t-1", "status": "completed"}]
    deleted = client.post("/product/delete_memory", json={"memory_ids": [id]}).json()
    assert (deleted["message"], deleted["data"]) == (
        "Memories deleted successfully", {"status": "success"},
    )  # fmt: skip
    for gone in (
        client.get(f"/product/get_memory/{id}"),
        client.post("/product/delete_memory", json={"memory_ids": [id]}),
    ):
        assert (gone.status_code, gone.json()["code"], gone.json()["data"]) == (404, 404, None)


@pytest.mark.parametrize(
    "messages",
    [
        "I play the cello.",
        [{"type": "text", "text": "I play the cello."}],
        [{"role": "user", "content": [{"type": "text", "text": "I play the cello."}]}],
    ],
)
def test_messages_in_every_form(client: TestClient, messages: object) -> None:
    body = {"user_id": "zoe", "messages": messages}
    assert client.post("/product/add", json=body).status_code == 200
    assert texts(client, "zoe", "cello") == ["I play the cello."]


def test_what_older_clients_add(client: TestClient) -> None:
    body = {"user_id": "zoe", "memory_content": "The kiln is hot.", "mem_cube_id": "studio"}
    assert client.post("/product/add", json=body).json()["data"][0]["cube_id"] == "studio"
    assert texts(client, "zoe", "kiln", mem_cube_id="studio") == ["The kiln is hot."]
    assert texts(client, "zoe", "kiln") == []


def test_one_add_writes_several_cubes(client: TestClient) -> None:
    body = {"user_id": "zoe", "messages": "tea", "writable_cube_ids": ["zoe", "work", "zoe"]}
    added = client.post("/product/add", json=body).json()["data"]
    assert [one["cube_id"] for one in added] == ["zoe", "work"]
    found = client.post("/product/search", json={
        "user_id": "zoe", "query": "tea", "readable_cube_ids": ["work", "zoe"], "relativity": 0,
    }).json()["data"]  # fmt: skip
    assert [part["cube_id"] for part in found["text_mem"]] == ["work", "zoe"]


def test_filters_in_every_form(client: TestClient) -> None:
    add(client, "zoe", "green tea", custom_tags=["drink"], info={"rank": 1})
    add(client, "zoe", "black tea", custom_tags=["drink"], info={"rank": 2})
    add(client, "zoe", "tea towel", info={"rank": 3})
    add(client, "zoe", "tea at work", mem_cube_id="work", info={"rank": 4})
    both = {"readable_cube_ids": ["zoe", "work"]}
    cases: list[tuple[dict[str, Any], set[str]]] = [
        ({"filter": {}}, {"green tea", "black tea", "tea towel"}),
        ({"filter": {"rank": 2}}, {"black tea"}),
        ({"filter": {"and": [{"tags": {"contains": "drink"}}, {"info.rank": {"gt": 1}}]}},
         {"black tea"}),
        ({"filter": {"or": [{"rank": {"lt": 2}}, {"rank": {"in": [3]}}]}},
         {"green tea", "tea towel"}),
        ({"filter": {"user": {"and": [{"rank": 1}]}}}, {"green tea"}),
        ({"filter": {"user": {}, "public": {"rank": 1}}}, {"green tea", "black tea", "tea towel"}),
        ({**both, "filter": {"zoe": {"rank": 1}, "work": {"and": [{"rank": 4}]}}},
         {"green tea", "tea at work"}),
        ({**both, "filter": {"created_at": {"gte": "2000-01-01"}, "rank": {"gte": 3}}},
         {"tea towel", "tea at work"}),
        ({"search_memory_type": "UserMemory"}, {"green tea", "black tea", "tea towel"}),
        ({"search_memory_type": "SkillMemory"}, set()),
    ]  # fmt: skip
    for more, wanted in cases:
        assert set(texts(client, "zoe", "tea", relativity=0, **more)) == wanted, more
    mixed = {**both, "filter": {"zoe": {"rank": 1}, "rank": 2}}
    answer = client.post("/product/search", json={"user_id": "zoe", "query": "tea", **mixed})
    assert answer.status_code == 400


def test_preferences_come_as_a_list_and_as_a_text(client: TestClient) -> None:
    for kind, text in (("explicit_preference", "likes tea"), ("implicit_preference", "不喜欢咖啡")):
        told = {"memory": text, "metadata": {"memory_type": "PreferenceMemory",
                                             "preference_type": kind}}  # fmt: skip
        client.post("/v1/memories", json={"items": [told], "user": "zoe"})
    body = {"user_id": "zoe", "query": "What to drink, tea?", "relativity": 0}
    data = client.post("/product/search", json=body).json()["data"]
    liked = {one["memory"] for one in data["pref_mem"][0]["memories"]}
    assert liked == {"likes tea", "不喜欢咖啡"}
    assert data["text_mem"][0]["memories"] == []
    start = "Explicit Preference:\n1. likes tea\nImplicit Preference:\n1. 不喜欢咖啡\n"
    assert data["pref_string"].startswith(start)
    assert data["pref_string"].endswith(data["pref_note"])
    chinese = client.post("/product/search", json={**body, "query": "喝茶"}).json()["data"]
    assert "偏好" in chinese["pref_note"]
    without = client.post("/product/search", json={**body, "include_preference": False})
    assert without.json()["data"]["pref_mem"][0]["memories"] == []


def test_listings(client: TestClient) -> None:
    for number in range(5):
        add(client, "zoe", f"number {number}")
    page = {"mem_cube_id": "zoe", "user_id": "zoe", "page": 2, "page_size": 2}
    data = client.post("/product/get_memory", json=page).json()["data"]
    (part,) = data["text_mem"]
    assert ([one["memory"] for one in part["memories"]], part["total_nodes"]) == (
        ["number 2", "number 3"], 5,
    )  # fmt: skip
    assert data["pref_mem"] == [{"cube_id": "zoe", "memories": [], "total_nodes": 0}]
    alone = client.post("/product/get_memory", json={"mem_cube_id": "zoe"}).json()["data"]
    assert len(alone["text_mem"][0]["memories"]) == 5
    unused = client.post("/product/get_memory", json={"mem_cube_id": "new"}).json()["data"]
    assert unused["text_mem"][0]["memories"] == []
    shown = client.post("/product/get_memory_dashboard", json={"user_id": "zoe"}).json()["data"]
    assert shown["statistics"] == {
        "total_text_nodes": 5, "total_tool_nodes": 0, "total_skill_nodes": 0,
        "total_preference_nodes": 0,
    }  # fmt: skip
    body = {"user_id": "zoe", "memory_type": "text_mem"}
    (drawn,) = client.post("/product/get_all", json=body).json()["data"]
    assert (drawn["cube_id"], len(drawn["memories"][0]["nodes"])) == ("zoe", 5)
    assert drawn["memory_statistics"] == {"UserMemory": 5}
    found = client.post("/product/get_all", json={**body, "search_query": "number 3"}).json()
    assert found["data"][0]["memories"][0]["nodes"][0]["memory"] == "number 3"
    none = client.post("/product/get_all", json={**body, "memory_type": "act_mem"}).json()
    assert none["data"][0]["memories"][0]["nodes"] == []


def test_deletions_by_selector(client: TestClient) -> None:
    add(client, "zoe", "one", session_id="s1", info={"n": 1})
    add(client, "zoe", "two", session_id="s2", info={"n": 2})
    add(client, "lin", "three", session_id="s1", info={"n": 1})
    for body in ({}, {"filter": {}}, {"filter": {"and": []}}, {"filter": {"or": [{}, {"n": 1}]}},
                 {"filter": {"not": {"or": []}}}, {"memory_ids": []},
                 {"filter": {"and": []}, "user_id": "zoe"},
                 {"session_id": "s1", "conversation_id": "s2"},
                 {"memory_ids": ["x"], "filter": {"n": 1}}):  # fmt: skip
        refused = client.post("/product/delete_memory", json=body)
        assert refused.status_code in (400, 422), body
    assert len(texts(client, "zoe", "one two", relativity=0)) == 2
    body = {"user_id": "zoe", "conversation_id": "s1"}
    assert client.post("/product/delete_memory", json=body).status_code == 200
    assert texts(client, "zoe", "one two", relativity=0) == ["two"]
    assert texts(client, "lin", "three") == ["three"]
    client.post("/product/delete_memory", json={"filter": {"n": {"gte": 1}}, "user_id": "zoe"})
    assert texts(client, "zoe", "one two", relativity=0) == []
    by_cube = {"filter": {"n": 1}, "writable_cube_ids": ["lin"]}
    assert client.post("/product/delete_memory", json=by_cube).status_code == 200
    assert texts(client, "lin", "three") == []


def test_cubes_and_users(client: TestClient) -> None:
    made = client.post("/product/create_cube", json={"cube_name": "Studio", "owner_id": "zoe"})
    assert made.json()["message"] == "Cube created successfully"
    id = made.json()["data"]["cube_id"]
    assert made.json()["data"] == {"cube_id": id, "cube_name": "Studio", "owner_id": "zoe"}
    again = {"cube_name": "x", "owner_id": "zoe", "cube_id": id}
    assert client.post("/product/create_cube", json=again).status_code == 409
    for cube, there in ((id, True), ("nowhere", False)):
        known = client.post("/product/exist_mem_cube_id", json={"mem_cube_id": cube})
        assert known.json()["data"] == {cube: there}
    body = {"mem_cube_name_or_path": id, "user_id": "zoe"}
    kept = client.post("/product/register_cube", json=body).json()
    assert (kept["message"], kept["data"]["cube_id"]) == ("Cube registered successfully", id)
    registered = client.post("/product/users/register", json={"user_name": "Lin"}).json()["data"]
    assert registered["mem_cube_id"] == registered["user_id"]
    about = client.get(f"/product/users/{registered['user_id']}").json()["data"]
    assert about["user_name"] == "Lin"
    ids = [user["user_id"] for user in client.get("/product/users").json()["data"]]
    assert set(ids) == {"default", "zoe", registered["user_id"]}
    assert client.get("/product/instances/count").json()["data"] == 0
    assert client.get("/product/instances/status").json()["data"] == {}


def test_the_scheduler_tells_of_jobs(tmp_path: Path) -> None:
    settings = Settings.model_validate(
        {"home": tmp_path, "server": {"bootstrap_key": TOKEN}, "jobs": {"concurrency": 0}}
    )
    with TestClient(create_app(settings, embedder=HashEmbedder())) as client:
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        body = {"text": "Zoe likes tea.", "user": "zoe", "background": True}
        job = client.post("/v1/memories", json=body).json()["id"]
        of_zoe, of_max = {"user_id": "zoe"}, {"user_id": "max"}

        def told(**query: str) -> Any:
            return client.get("/product/scheduler/status", params=query).json()["data"]

        assert told(**of_zoe, task_id=job) == [{"task_id": job, "status": "waiting"}]
        assert told(**of_max) == []
        query = {**of_max, "task_id": job}
        assert client.get("/product/scheduler/status", params=query).status_code == 404
        queue = client.get("/product/scheduler/task_queue_status", params=of_zoe).json()["data"]
        assert (queue["remaining_tasks_count"], queue["remaining_tasks_detail"]) == (1, [job])
        short = {"user_name": "zoe", "timeout_seconds": "0"}
        waited = client.post("/product/scheduler/wait", params=short).json()
        assert (waited["message"], waited["data"]["running_tasks"]) == ("timeout", 1)
        stream = events(client.get("/product/scheduler/wait/stream", params=short).text)
        assert [event["status"] for event in stream] == ["running", "timeout"]
        state: Any = client.app.state  # type: ignore[attr-defined]
        assert client.portal is not None
        client.portal.call(state.tenants.engine.worker.drain)
        assert told(**of_zoe) == [{"task_id": job, "status": "completed"}]
        counted = client.get("/product/scheduler/allstatus").json()["data"]["scheduler_summary"]
        assert (counted["completed"], counted["waiting"], counted["total"]) == (1, 0, 1)


def test_the_scheduler_is_idle(client: TestClient) -> None:
    status = client.get("/product/scheduler/allstatus").json()
    assert status["data"]["scheduler_summary"]["total"] == 0
    assert client.get("/product/scheduler/status", params={"user_id": "zoe"}).json()["data"] == []
    unknown = client.get("/product/scheduler/status", params={"user_id": "zoe", "task_id": "t"})
    assert unknown.status_code == 404
    queue = client.get("/product/scheduler/task_queue_status", params={"user_id": "zoe"}).json()
    assert queue["data"]["pending_tasks_count"] == 0
    waited = client.post("/product/scheduler/wait", params={"user_name": "zoe"}).json()
    assert set(waited) == {"message", "data"}
    assert (waited["message"], waited["data"]["timed_out"]) == ("idle", False)
    (event,) = events(
        client.get("/product/scheduler/wait/stream", params={"user_name": "zoe"}).text
    )
    assert (event["status"], event["active_tasks"]) == ("idle", 0)


def test_chat_whole_and_in_pieces(tmp_path: Path) -> None:
    model = ScriptedChat("Peanuts [1].", "花生。", "Tea.", "Bye.", "Hi.")
    with open_server(tmp_path, chat=model) as client:
        add(client, "zoe", "Zoe is allergic to peanuts.")
        body = {"user_id": "zoe", "query": "What is Zoe allergic to?", "session_id": "s"}
        whole = client.post("/product/chat/complete", json=body).json()
        assert set(whole) == {"message", "data"}
        assert whole["data"]["response"] == "Peanuts [1]."
        assert whole["data"]["references"][0]["memory"] == "Zoe is allergic to peanuts."
        plain = events(client.post("/product/chat/stream", json={**body, "query": "什么？"}).text)
        assert {event["type"] for event in plain} == {"text"}
        assert "".join(event["data"] for event in plain) == "花生。"
        history = [{"role": "user", "content": "I drink {memories} daily"}]
        played = events(client.post("/product/chat/stream/playground", json={
            "user_id": "zoe", "query": "drink?", "history": history,
            "system_prompt": "Be brief. {memories}", "add_message_on_answer": False,
        }).text)  # fmt: skip
        kinds = [event["type"] for event in played]
        assert kinds[:5] == ["status", "status", "reference", "pref_md_string", "status"]
        assert kinds[-5:] == ["text", "internet_reference", "time", "suggestion", "end"]
        assert [event["data"] for event in played if event["type"] == "status"] == ["0", "1", "2"]
        asked = model.prompts[-1]
        assert "user: I drink {...} daily" in asked[0].text
        assert asked[0].text.startswith("Be brief.")
        first = events(client.post("/product/chat", json={"user_id": "zoe", "query": "Bye"}).text)
        kinds = [event["type"] for event in first]
        assert kinds[:4] == ["status", "status", "reference", "status"]
        assert kinds[-3:] == ["time", "suggestion", "end"]
        other = {"user_id": "zoe", "query": "Hi", "conversation_id": "c"}
        assert client.post("/product/chat", json=other).json() == {
            "code": 200, "message": "ok", "data": {"response": "Hi."},
        }  # fmt: skip


def test_chat_without_a_model_says_so(client: TestClient) -> None:
    body = {"user_id": "zoe", "query": "hello"}
    for path in ("chat/complete", "chat/stream", "chat/stream/playground", "chat"):
        answer = client.post(f"/product/{path}", json=body)
        assert (answer.status_code, answer.json()["code"]) == (503, 503), path
    wrong = client.post("/product/chat", json={"query": 1})
    assert (wrong.status_code, wrong.json()["code"]) == (422, 422)
    cloud = client.post("/product/chat", json={"conversation_id": "c"})
    assert (cloud.status_code, cloud.json()["code"]) == (400, 40000)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/product/add", {"user_id": "zoe"}, 400),
        ("POST", "/product/add", {"user_id": "zoe", "messages": []}, 400),
        ("POST", "/product/add", {"user_id": "zoe", "messages": "a\0b"}, 400),
        ("POST", "/product/add", {"user_id": "zoe", "messages": 7}, 422),
        ("POST", "/product/add", {"user_id": "", "messages": "x"}, 422),
        ("POST", "/product/add", {"user_id": "agent:x", "messages": "x"}, 400),
        ("POST", "/product/add", {"user_id": "zoe", "messages": "x", "mem_cube_id": "../etc"}, 400),
        ("POST", "/product/add", {"user_id": "zoe", "doc_path": "/etc/passwd"}, 400),
        ("POST", "/product/add",
         {"user_id": "zoe", "messages": [{"type": "file", "file": {"path": "/etc/passwd"}}]}, 400),
        ("POST", "/product/add", {"user_id": "zoe", "messages": "x", "is_feedback": True}, 501),
        ("POST", "/product/add", {"user_id": "zoe", "messages": "x", "is_upload_skill": True}, 501),
        ("POST", "/product/search", {"user_id": "zoe", "query": ""}, 422),
        ("POST", "/product/search", {"user_id": "zoe", "query": "x", "top_k": 0}, 422),
        ("POST", "/product/search", {"user_id": "zoe", "query": "x", "relativity": -1}, 422),
        ("POST", "/product/search", {"user_id": "zoe", "query": "x", "filter": {"a": {}}}, 400),
        ("POST", "/product/search",
         {"user_id": "zoe", "query": "x", "search_memory_type": "Nothing"}, 400),
        ("POST", "/product/search",
         {"user_id": "zoe", "query": "x", "readable_cube_ids": [f"c{n}" for n in range(101)]}, 422),
        ("POST", "/product/delete_memory", {"file_ids": ["f"]}, 501),
        ("POST", "/product/create_cube",
         {"cube_name": "x", "owner_id": "zoe", "cube_path": "/etc"}, 400),
        ("POST", "/product/register_cube", {"mem_cube_name_or_path": "/etc/cube"}, 400),
        ("POST", "/product/feedback", {}, 501),
        ("POST", "/product/suggestions", {}, 501),
        ("POST", "/product/chat/stream/business_user", {}, 501),
        ("POST", "/product/nowhere", {}, 404),
        ("DELETE", "/product/search", None, 405),
    ],
)  # fmt: skip
def test_failures_have_the_envelope_and_a_status(
    client: TestClient, method: str, path: str, body: object, status: int
) -> None:
    answer = client.request(method, path, json=body)
    assert answer.status_code == status, answer.text
    told = answer.json()
    assert (told["code"], told["data"]) == (status, None)
    assert told["message"]
    assert ("detail" in told) == (status == 422)


def test_malformed_bodies_are_told_where(client: TestClient) -> None:
    told = client.post("/product/search", json={"query": 1}).json()
    start = "Parameter validation error on POST /product/search: [body -> query] Input should be"
    assert told["message"].startswith(start)
    assert "[body -> user_id] Field required (type: missing)" in told["message"]
    broken = client.post(
        "/product/search", content=b"{", headers={"Content-Type": "application/json"}
    )
    assert (broken.status_code, broken.json()["code"]) == (422, 422)


def test_ids_of_merged_memories_resolve(client: TestClient) -> None:
    old, new = add(client, "zoe", "I live in Porto.", "I live in Lisbon.")
    app: Any = client.app
    portal: Any = client.portal
    engine = app.state.tenants.engine
    retire = Retire(old, superseded_by=new)
    scope = portal.call(engine.gate("local").scope, "zoe", ["zoe"], "write")
    portal.call(engine.records.apply, Batch(None, "local", "zoe", retires=(retire,)), scope)
    assert client.get(f"/product/get_memory/{old}").json()["data"]["id"] == new
    assert client.post("/product/delete_memory", json={"memory_ids": [old]}).status_code == 404


def test_a_cube_alone_is_enough_to_add(client: TestClient) -> None:
    body = {"messages": "tea", "writable_cube_ids": ["zoe"]}
    assert client.post("/product/add", json=body).status_code == 200
    assert texts(client, "zoe", "tea") == ["tea"]
    assert client.post("/product/add", json={"messages": "x"}).json()["data"][0]["cube_id"] == (
        "default"
    )


def test_the_internet_is_searched_where_there_is_an_engine(tmp_path: Path) -> None:
    page = WebPage("https://museum.example/", "Museum", "The museum opens at nine.")
    web = ScriptedWeb(page)
    asked = {"query": "When does the museum open?", "internet_search": True}
    with open_server(tmp_path / "with", web=web) as client:
        add(client, "zoe", "I love museums.")
        assert texts(client, "zoe", "museum") == ["I love museums."]
        data = client.post("/product/search", json={**asked, "user_id": "zoe"}).json()["data"]
        (part,) = data["text_mem"]
        (own, outer) = part["memories"]
        assert own["memory"] == "I love museums."
        metadata = outer["metadata"]
        assert (outer["memory"], metadata["memory_type"]) == (page.snippet, "OuterMemory")
        assert (metadata["source"], metadata["key"]) == ("web", "Museum")
        assert metadata["sources"][0]["doc_path"] == page.url
        assert metadata["relativity"] >= 0.45
        assert len(web.queries) == 1  # of four lists one has the web's
    with open_server(tmp_path / "without") as client:
        add(client, "zoe", "I love museums.")
        assert texts(client, "zoe", "museum", internet_search=True) == ["I love museums."]


def test_modes_and_dedup_are_read(tmp_path: Path) -> None:
    chat = ScriptedChat('{"queries": ["zebra"]}', '{"sufficient": true, "queries": []}')
    with open_server(tmp_path, chat=chat) as client:
        said = ["green tea every morning", "every morning green tea"]
        add(client, "zoe", *said)
        assert sorted(texts(client, "zoe", "tea")) == sorted(said)
        for dedup, count in (("no", 2), ("sim", 1), ("mmr", 1), (None, 2)):
            assert len(texts(client, "zoe", "tea", dedup=dedup)) == count
        assert chat.prompts == []
        assert len(texts(client, "zoe", "tea", mode="fine", dedup="sim")) == 1
        assert len(chat.prompts) == 2  # for one of four lists
        assert len(texts(client, "zoe", "tea", mode="mixture")) == 2


def test_neighbours_are_added_when_asked_for(client: TestClient) -> None:
    add(client, "zoe", "Good morning.", "The keys are under the flowerpot.", "Thanks.")
    found = texts(client, "zoe", "flowerpot keys", top_k=1, neighbor_discovery=True)
    assert found == ["The keys are under the flowerpot.", "Good morning.", "Thanks."]
