"""Remember the conversations that another program exported; nothing is stored twice."""

import json
import tempfile
from pathlib import Path

from memos import MOS

EXPORT = [
    {
        "uuid": "0b6c",
        "name": "Planting",
        "chat_messages": [
            {
                "uuid": "m1",
                "sender": "human",
                "created_at": "2026-03-01T09:00:00Z",
                "content": [{"type": "text", "text": "When should I plant garlic?"}],
            },
            {
                "uuid": "m2",
                "sender": "assistant",
                "created_at": "2026-03-01T09:00:05Z",
                "content": [{"type": "text", "text": "Plant garlic in October, cloves upright."}],
            },
        ],
    }
]


def main() -> None:
    with tempfile.TemporaryDirectory() as name, MOS.simple(Path(name, "home")) as mos:
        export = Path(name, "conversations.json")
        export.write_text(json.dumps(EXPORT), encoding="utf-8")

        result = mos.import_chats(export)
        print(result.conversations, result.stored, result.known)  # 1 2 0
        memory = mos.search("October, and which way up do cloves go?").hits[0].memory
        print(memory.text)  # Plant garlic in October, cloves upright.
        print(memory.place.session, memory.sources[0].id)  # 0b6c m2

        again = mos.import_chats(export)
        print(again.stored, again.known)  # 0 2

        notes = Path(name, "notes", "beds")
        notes.mkdir(parents=True)
        (notes / "north.md").write_text("# North bed\n\nRhubarb and mint.", encoding="utf-8")
        mos.import_chats(Path(name, "notes"))
        print(mos.search("rhubarb").hits[0].memory.sources[0].uri)  # beds/north.md


if __name__ == "__main__":
    main()
