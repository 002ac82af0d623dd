"""Drives this checkout through ``MOS``; the variant is the recipe."""

from __future__ import annotations

import atexit

from protocol import Driver, main

from memos import MOS
from memos.settings import Settings


class Ours(Driver):
    def __init__(self, plan: dict) -> None:
        super().__init__(plan)
        embedder = {
            "kind": "openai",
            "base_url": plan["endpoint"],
            "model": plan["model"],
            "dimensions": plan["dimensions"],
        }
        self.mos = MOS.open(Settings(home=plan["home"], embedder=embedder))
        atexit.register(self.mos.close)
        for user in self.users:
            self.mos.users.create(user)

    def add(self, user: str, turn: dict) -> None:
        message = {"role": turn["role"], "content": turn["text"], "message_id": turn["id"]}
        if turn["speaker"]:
            message["name"] = turn["speaker"]
        if turn["at"]:
            message["chat_time"] = turn["at"]
        self.mos.add([message], user=user, session=turn["session"])

    def search(self, user: str, text: str, limit: int) -> list[str]:
        result = self.mos.search(text, user=user, limit=limit, recipe=self.plan["variant"])
        cited = [memory for hit in result.hits for memory in (hit.memory, *hit.repeats)]
        return [source.id for memory in cited for source in memory.sources if source.id]


main(Ours)
