"""What every worker does: add turn by turn, search, and report. Standard library only.

A worker runs in the environment of the system that it drives. It reads a plan and writes an
outcome, both JSON:

    plan: {endpoint, model, dimensions, home, variant, limit, conversations: [
        {user, turns: [{id, session, role, speaker, text, words, at}], questions: [{id, text}]}]}
    outcome: {add_s: [...], search_s: [...], found: {question id: [turn ids]}, rss_mb}
"""

from __future__ import annotations

import json
import resource
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path


class Driver(ABC):
    """One system under test."""

    def __init__(self, plan: dict) -> None:
        """Open the system; ``plan`` says where, for whom, and with which embedding endpoint."""
        self.plan = plan
        self.users = [conversation["user"] for conversation in plan["conversations"]]

    @abstractmethod
    def add(self, user: str, turn: dict) -> None:
        """Remember one turn; durable, as far as the system can, once this returns."""

    @abstractmethod
    def search(self, user: str, text: str, limit: int) -> list[str]:
        """Return turn ids, best first."""


def main(open_driver: type[Driver]) -> None:
    """Run the plan named first on the command line, and write the outcome named second."""
    plan = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    driver = open_driver(plan)
    adds: list[float] = []
    searches: list[float] = []
    found: dict[str, list[str]] = {}
    for conversation in plan["conversations"]:
        user = conversation["user"]
        for turn in conversation["turns"]:
            start = time.perf_counter()
            driver.add(user, turn)
            adds.append(time.perf_counter() - start)
        for question in conversation["questions"]:
            start = time.perf_counter()
            ids = driver.search(user, question["text"], plan["limit"])
            searches.append(time.perf_counter() - start)
            found[question["id"]] = list(dict.fromkeys(ids))
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rss_mb = rss / (1024 * 1024 if sys.platform == "darwin" else 1024)
    outcome = {"add_s": adds, "search_s": searches, "found": found, "rss_mb": rss_mb}
    Path(sys.argv[2]).write_text(json.dumps(outcome), encoding="utf-8")
