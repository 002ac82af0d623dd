"""Drives mem0 without a language model (``infer=False``); the variant is its vector store."""

from __future__ import annotations

from pathlib import Path

from mem0 import Memory
from protocol import Driver, main


class Mem0(Driver):
    def __init__(self, plan: dict) -> None:
        super().__init__(plan)
        home = Path(plan["home"])
        store = {"path": str(home / "vectors"), "collection_name": "turns"}
        store |= {"embedding_model_dims": plan["dimensions"]}
        if plan["variant"] == "qdrant":
            store |= {"on_disk": True}
        embedder = {
            "model": plan["model"],
            "openai_base_url": plan["endpoint"],
            "api_key": "none",
            "embedding_dims": plan["dimensions"],
        }
        self.memory = Memory.from_config(
            {
                "llm": {"provider": "openai", "config": {"api_key": "none"}},
                "embedder": {"provider": "openai", "config": embedder},
                "vector_store": {"provider": plan["variant"], "config": store},
                "history_db_path": str(home / "history.db"),
            }
        )

    def add(self, user: str, turn: dict) -> None:
        message = {"role": turn["role"], "content": turn["words"]}
        self.memory.add([message], user_id=user, infer=False, metadata={"turn": turn["id"]})

    def search(self, user: str, text: str, limit: int) -> list[str]:
        found = self.memory.search(text, filters={"user_id": user}, top_k=limit, threshold=0.0)
        return [hit["metadata"]["turn"] for hit in found["results"]]


main(Mem0)
