"""Drives LangGraph's store, which LangMem's tools write to; it lives in memory."""

from __future__ import annotations

import json
import urllib.request

from langgraph.store.memory import InMemoryStore
from protocol import Driver, main


class LangGraph(Driver):
    def __init__(self, plan: dict) -> None:
        super().__init__(plan)
        index = {"dims": plan["dimensions"], "embed": self._embed, "fields": ["content"]}
        self.store = InMemoryStore(index=index)

    def add(self, user: str, turn: dict) -> None:
        self.store.put(("memories", user), turn["id"], {"content": turn["words"]})

    def search(self, user: str, text: str, limit: int) -> list[str]:
        return [item.key for item in self.store.search(("memories", user), query=text, limit=limit)]

    def _embed(self, texts: list[str]) -> list[list[float]]:
        body = json.dumps({"model": self.plan["model"], "input": list(texts)}).encode()
        request = urllib.request.Request(
            f"{self.plan['endpoint']}/embeddings", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as answer:
            return [item["embedding"] for item in json.load(answer)["data"]]


main(LangGraph)
