"""``memos demo``: two packaged conversations, five questions."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import typer

from memos.cli.output import busy, emit, say, source_of, table
from memos.cli.session import Session, command

if TYPE_CHECKING:
    from memos import MOS
    from memos.settings import Settings

_BEST: Final = 3


@dataclass(frozen=True, slots=True)
class Question:
    """A question to the packaged conversations, and the message that answers it."""

    text: str
    source: str


QUESTIONS: Final = (
    Question("What did the vet find out about the dog?", "en-14"),
    Question("When do I get the keys to the studio?", "en-10"),
    Question("When is my sister getting married?", "en-18"),
    Question("孩子不能吃哪种水果？", "zh-12"),
    Question("我在学什么运动？", "zh-33"),
)


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    examples = ("memos demo", "memos demo --home /tmp/memos-demo")
    command(app, "demo", examples=examples)(demo)


def demo(session: Session) -> None:
    """Add two conversations, English and Chinese, and ask five questions about them.

    Everything happens in a temporary directory, or in --home, without network and settings.
    """
    from memos import MOS  # noqa: PLC0415

    began = time.perf_counter()
    with _home(session) as home, MOS.open(_settings(home, session)) as mos:
        with busy("Adding two conversations ..."):
            added = sum(_add(mos, name) for name in ("en", "zh"))
        took_s = time.perf_counter() - began
        if not session.as_json:
            say(f"{added} messages added in {took_s:.1f} s")
        answers = [_ask(mos, question, as_json=session.as_json) for question in QUESTIONS]
    total_s = time.perf_counter() - began
    missed = [answer for answer in answers if not answer["found"]]
    if session.as_json:
        emit({"ok": not missed, "added": added, "seconds": round(total_s, 3), "searches": answers})
    else:
        say(f"{len(answers) - len(missed)} of {len(answers)} answered, {total_s:.1f} s in all")
    if missed:
        raise typer.Exit(1)


@contextmanager
def _home(session: Session) -> Generator[Path]:
    if session.home is not None:
        yield session.home
        return
    with tempfile.TemporaryDirectory(prefix="memos-demo-") as name:
        yield Path(name)


def _settings(home: Path, session: Session) -> Settings:
    from memos import settings  # noqa: PLC0415

    # Not what is configured: the demo shows what works offline, and touches no real store.
    return settings.validated({"home": home, "user": session.user or "demo"})


def _add(mos: MOS, name: str) -> int:
    text = files(__name__).joinpath(f"{name}.json").read_text(encoding="utf-8")
    messages = cast("list[dict[str, object]]", json.loads(text))
    stored = 0
    for conversation, turns in groupby(messages, key=lambda message: str(message.pop("session"))):
        stored += sum(mos.add(list(turns), session=conversation).stored)
    return stored


def _ask(mos: MOS, question: Question, *, as_json: bool) -> dict[str, object]:
    result = mos.search(question.text, limit=_BEST)
    ids = [next((source.id for source in hit.memory.sources), None) for hit in result.hits]
    if not as_json:
        rows = [
            ("→" if found == question.source else "", f"{hit.score:.3f}", hit.memory.text,
             source_of(hit.memory))
            for found, hit in zip(ids, result.hits, strict=True)
        ]  # fmt: skip
        columns = {"": "green", "score": "dim", "memory": "", "source": "cyan"}
        table(columns, rows, title=question.text)
    return {
        "query": question.text,
        "expected": question.source,
        "found": question.source in ids,
        "hits": result.hits,
    }
