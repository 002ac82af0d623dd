"""Bring your own embedder: any object with a name, a number of dimensions and ``embed``."""

import tempfile
from collections.abc import Sequence
from typing import Literal
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from memos import MOS
from memos.errors import Conflict
from memos.settings import Settings


class LetterPairs:
    """Texts are near when they share pairs of letters. Stands in for a real model."""

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions
        # Equal names promise comparable vectors: put whatever changes them into the name.
        self.name = f"letter-pairs-{dimensions}"

    async def embed(
        self, texts: Sequence[str], role: Literal["query", "passage"]
    ) -> NDArray[np.float32]:
        del role  # many models want queries and passages marked; this one does not care
        vectors = np.zeros((len(texts), self.dimensions), np.float32)
        for row, text in enumerate(texts):
            word = f" {text.casefold()} "
            for start in range(len(word) - 1):
                vectors[row, crc32(word[start : start + 2].encode()) % self.dimensions] += 1
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.maximum(lengths, 1e-9)


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        settings = Settings(home=home)
        with MOS.open(settings, embedder=LetterPairs(256)) as mos:
            mos.add("The telescope stands in the attic.")
            mos.add("Soup is served at noon.")
            hit = mos.search("telescopic", recipe="meaning").hits[0]
            print(hit.memory.text)  # The telescope stands in the attic.

        # Another embedder cannot read these vectors, and says so.
        with MOS.open(settings, embedder=LetterPairs(512)) as mos:
            try:
                mos.search("telescopic")
            except Conflict as conflict:
                print(conflict.code)  # embedder_mismatch
            print(mos.reindex())  # 2
            print(len(mos.search("telescopic").hits))  # 2


if __name__ == "__main__":
    main()
