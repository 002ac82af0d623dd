"""Drives MemTensor's MemOS: its general textual memory over a local Qdrant."""

from __future__ import annotations

from pathlib import Path

from memos.configs.memory import GeneralTextMemoryConfig
from memos.memories.textual.general import GeneralTextMemory
from protocol import Driver, main


class MemosGeneral(Driver):
    def __init__(self, plan: dict) -> None:
        super().__init__(plan)
        self.memories = {user: self._opened(user) for user in self.users}

    def add(self, user: str, turn: dict) -> None:
        item = {"memory": turn["words"], "metadata": {"source": "conversation", "key": turn["id"]}}
        self.memories[user].add([item])

    def search(self, user: str, text: str, limit: int) -> list[str]:
        return [item.metadata.key for item in self.memories[user].search(text, limit)]

    def _opened(self, user: str) -> GeneralTextMemory:
        plan = self.plan
        embedder = {
            "provider": "openai",
            "api_key": "none",
            "base_url": plan["endpoint"],
            "model_name_or_path": plan["model"],
        }
        vectors = {
            "collection_name": user,
            "vector_dimension": plan["dimensions"],
            "distance_metric": "cosine",
            "path": str(Path(plan["home"]) / f"qdrant-{user}"),
        }
        llm = {"model_name_or_path": "none", "api_key": "none", "api_base": plan["endpoint"]}
        config = GeneralTextMemoryConfig(
            extractor_llm={"backend": "openai", "config": llm},
            vector_db={"backend": "qdrant", "config": vectors},
            embedder={"backend": "universal_api", "config": embedder},
        )
        return GeneralTextMemory(config)


main(MemosGeneral)
