"""Take over MemOS's textual memory items, and give them back as they were."""

import tempfile

from memos import MOS
from memos.ingest.items import to_item

ITEMS = [
    {
        "id": "0b6c2e9e-6a38-4c43-9f0a-1d8a6f3f7a01",
        "memory": "Prefers tea to coffee.",
        "metadata": {
            "memory_type": "UserMemory",
            "key": "drinks",
            "tags": ["taste"],
            "confidence": 0.9,
            "sources": [{"type": "chat", "role": "user", "content": "Tea for me, please."}],
            "usage": ["2026-03-01"],
        },
    },
    {
        "memory": "To deploy: run the tests, tag, push.",
        "metadata": {"memory_type": "SkillMemory", "info": {"project": "studio"}},
    },
]


def main() -> None:
    with tempfile.TemporaryDirectory() as home, MOS.simple(home) as mos:
        added = mos.add(ITEMS)
        print(added.ids[0] == ITEMS[0]["id"])  # True

        memory = mos.get(added.ids[0])
        print(memory.kind, memory.tier, memory.title)  # fact user drinks
        print(mos.get(added.ids[1]).kind)  # skill

        # MemOS's names work in filters.
        page = mos.get_all(where={"memory_type": "SkillMemory"})
        print([item.text for item in page.items])  # ['To deploy: run the tests, tag, push.']

        # Every field comes back, those that MemOS alone knows included.
        item = to_item(memory)
        before, after = ITEMS[0]["metadata"], item["metadata"]
        print(all(after[name] == value for name, value in before.items()))  # True
        print(item["memory"])  # Prefers tea to coffee.


if __name__ == "__main__":
    main()
