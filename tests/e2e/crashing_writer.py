"""Writes to a store until somebody kills it, and says what was acknowledged, a line each."""

from __future__ import annotations

import random
import sys
from pathlib import Path

from memos import MOS
from memos.settings import Settings
from memos.testing.fakes import HashEmbedder


def say(*words: str) -> None:
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


def main(home: Path, seed: int) -> None:
    dice = random.Random(seed)
    embedder = HashEmbedder(name=f"hash-{seed % 2}")
    with MOS.open(Settings(home=home), embedder=embedder) as mos:
        say("ready")
        mos.reindex(progress=lambda done, total: say("progress", str(done), str(total)))
        say("reindexed", embedder.name)
        ids = [memory.id for memory in mos.get_all(limit=10_000).items]
        for step in range(100_000):
            text = f"fact{seed}x{step} " + " ".join(dice.choices(WORDS, k=12))
            choice = dice.random()
            if choice < 0.6 or len(ids) < 10:
                messages = [
                    {"role": "user", "content": f"{text} part{n}"}
                    for n in range(dice.randint(1, 5))
                ]
                added = mos.add(messages, session=f"s{dice.randint(0, 5)}")
                for id, message, stored in zip(added.ids, messages, added.stored, strict=True):
                    if stored:
                        say("added", id, message["content"])
                        ids.append(id)
            elif choice < 0.8:
                id = dice.choice(ids)
                mos.update(id, text=text)
                say("updated", id, text)
            else:
                id = ids.pop(dice.randrange(len(ids)))
                mode = "erase" if choice > 0.92 else "retire"
                mos.forget(id, mode=mode)
                say(f"{mode}d", id)
            if step % 7 == 0:
                mos.search(text)


WORDS = [
    "apple",
    "river",
    "stone",
    "cloud",
    "meadow",
    "lantern",
    "harbour",
    "北京",
    "上海",
    "咖啡",
    "天气",
    "朋友",
    "winter",
    "copper",
]

if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
