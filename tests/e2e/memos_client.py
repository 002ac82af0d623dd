"""Runs every method of MemOS's own client against a server; run by its interpreter, not ours.

python memos_client.py BASE_URL KEY    # the last line is a JSON object: call -> what came of it
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests
from memos.api.client import MemOSClient

logging.disable(logging.CRITICAL)
SAID: list[dict[str, Any]] = [
    {"role": "user", "content": "I am allergic to peanuts.", "chat_time": "2026-05-01 10:00"},
    {"role": "assistant", "content": "Noted: no peanuts.", "chat_time": "2026-05-01 10:01"},
    {"role": "user", "content": "我住在里斯本。"},
]
WHERE = {"and": [{"tags": {"contains": "food"}}, {"create_time": {"gte": "2026-01-01"}}]}


class Calls:
    """What came of each call."""

    def __init__(self) -> None:
        self.results: dict[str, Any] = {}

    def call(self, name: str, work: Callable[[], Any]) -> Any:
        try:
            value = work()
            self.results[name] = {"ok": True, "value": dumped(value)}
        except (requests.RequestException, ValueError) as error:
            answer = getattr(error, "response", None)
            told = None if answer is None else {"status": answer.status_code, **answer.json()}
            self.results[name] = {"ok": False, "error": type(error).__name__, "answer": told}
            return None
        return value


def dumped(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    return value if isinstance(value, dict | str) or value is None else list(value)


def remembering(client: MemOSClient, user: str, calls: Calls) -> str:
    call = calls.call
    added = call(
        "add_message",
        lambda: client.add_message(
            SAID, user_id=user, conversation_id="c1", tags=["food"], info={"topic": "diet"},
            app_id="app", agent_id="chef", source="test",
        ),
    )  # fmt: skip
    for_agent: dict[str, Any] = {"agent_id": "chef", "conversation_id": "c2"}
    call("add_message of an agent", lambda: client.add_message(SAID[:1], **for_agent))
    call("add_message of two", lambda: client.add_message(SAID[:1], user_id=["one", "two"]))
    call("get_message", lambda: client.get_message(user, "c1", message_limit_number=3))
    found = call(
        "search_memory",
        lambda: client.search_memory(
            "What may I not eat?", user_id=user, conversation_id="c1", filter=WHERE,
            relativity=0.1, include_tool_memory=True, include_skill=True,
        ),
    )  # fmt: skip
    call("search_memory of an agent", lambda: client.search_memory("nuts", agent_id="chef"))
    call("search_memory of an empty filter", lambda: client.search_memory("nuts", user, filter={}))
    id = found.memories[0].id if found and found.memories else "none"
    call("get_memory", lambda: client.get_memory(user, size=2, page=1))
    call("get_memory_by_id", lambda: client.get_memory_by_id(id))
    call("get_task_status", lambda: client.get_task_status(added.task_id if added else "none"))
    call("update_memory", lambda: client.update_memory(id, content="I am allergic to all nuts."))
    call("rerank", lambda: client.rerank("nuts", ["about cars", "about nuts"], top_n=1))
    return id


def chatting(client: MemOSClient, user: str, calls: Calls) -> None:
    calls.call("chat", lambda: client.chat(user, "c3", "What am I allergic to?"))
    calls.call(
        "chat stream", lambda: list(client.chat(user, "c3", "And where do I live?", stream=True))
    )


def deleting(client: MemOSClient, user: str, id: str, calls: Calls) -> None:
    call = calls.call
    call("delete_memory", lambda: client.delete_memory(memory_ids=[id]))
    talk = {"and": [{"user_id": user}, {"conversation_id": "c3"}]}
    call("delete_memory of a filter", lambda: client.delete_memory(filter=talk))
    call("delete_memory of a user", lambda: client.delete_memory(user_id=user))
    call("delete_memory of an empty filter", lambda: client.delete_memory(filter={}))
    call("get_memory_by_id of none", lambda: client.get_memory_by_id(id))
    call("get_memory of none", lambda: client.get_memory(user))


def lacking(client: MemOSClient, user: str, calls: Calls) -> None:
    call = calls.call
    file = [str(Path(__file__))]
    call("add_feedback", lambda: client.add_feedback(user, "c1", "That is wrong."))
    call("extract_memory", lambda: client.extract_memory(SAID))
    call("create_knowledgebase", lambda: client.create_knowledgebase("kb"))
    call("delete_knowledgebase", lambda: client.delete_knowledgebase("kb"))
    content = [{"content": "x"}]
    call("add_knowledgebase_file_json", lambda: client.add_knowledgebase_file_json("kb", content))
    call("add_knowledgebase_file_form", lambda: client.add_knowledgebase_file_form("kb", file))
    call("delete_knowledgebase_file", lambda: client.delete_knowledgebase_file(["f"]))
    call("get_knowledgebase_file", lambda: client.get_knowledgebase_file(["f"]))
    call("bind_profile_template", lambda: client.bind_profile_template([{"user_id": user}]))
    call("edit_profile", lambda: client.edit_profile("p", user_id=user, metadata={"a": 1}))
    call("delete_profile", lambda: client.delete_profile("p", user_id=user))


def main(url: str, key: str) -> None:
    client, calls = MemOSClient(api_key=key, base_url=url), Calls()
    user = f"user at {url.removeprefix('http://').replace('/', ' ')}"
    id = remembering(client, user, calls)
    chatting(client, user, calls)
    deleting(client, user, id, calls)
    lacking(client, user, calls)
    public = {name for name in vars(MemOSClient) if not name.startswith("_")}
    called = {name.split(" ")[0] for name in calls.results}
    calls.results["left out"] = sorted(public - called)
    sys.stdout.write(json.dumps(calls.results, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
