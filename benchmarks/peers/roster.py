"""Who is measured: what to install, and what to know before figures are compared."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Peer:
    """One way of remembering.

    Attributes:
        name: Its row in the table.
        worker: The script ``workers/<worker>_driver.py`` drives it.
        packages: What its environment needs; empty for this checkout itself.
        variant: What the script is told.
        keeps: Where an add is once it returns: ``disk`` (synced), ``file`` (written, not synced)
            or ``memory``.
        reads: What it ranks by.
        leaves_out: What a comparison has to bear in mind.
    """

    name: str
    worker: str
    packages: tuple[str, ...]
    variant: str
    keeps: str
    reads: str
    leaves_out: str = ""


ROSTER: tuple[Peer, ...] = (
    Peer("memos", "ours", (), "fast", "disk", "words, vectors, windows, sessions, days"),
    Peer("memos, dense only", "ours", (), "meaning", "disk", "vectors"),
    Peer(
        "mem0 (Qdrant)",
        "mem0",
        ("mem0ai==2.2.1", "qdrant-client==1.20.0"),
        "qdrant",
        "disk",
        "vectors",
        "infer=False; its words need files from a hub",
    ),
    Peer(
        "mem0 (FAISS)",
        "mem0",
        ("mem0ai==2.2.1", "faiss-cpu==1.15.1"),
        "faiss",
        "file",
        "vectors",
        "infer=False; writes its whole index at every add",
    ),
    Peer(
        "LangGraph store",
        "langgraph",
        ("langgraph==1.2.24", "numpy"),
        "InMemoryStore",
        "memory",
        "vectors",
        "what LangMem's tools write to; nothing is kept when the process ends",
    ),
    Peer(
        "MemOS 2 (general text)",
        "memos_general",
        ("MemoryOS==2.0.33", "qdrant-client==1.20.0"),
        "qdrant",
        "disk",
        "vectors",
        "memories are handed over ready-made; its reader needs a language model",
    ),
)
