"""Write ``docs/transcripts.md``: a scripted conversation, and one with a real small model.

python scripts/transcripts.py           # both; needs the dependency group ``models``
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts import real_model  # noqa: E402

from memos import MOS  # noqa: E402
from memos.chat.conversation import ChatResult  # noqa: E402
from memos.ports.models import ChatMessage  # noqa: E402
from memos.settings import Settings  # noqa: E402
from memos.testing.fakes import ScriptedChat  # noqa: E402

PAGE = ROOT / "docs" / "transcripts.md"
NOTES = (
    ("Zoe is allergic to peanuts.", "2026-05-20"),
    ("The dinner is on Friday at seven in the evening.", "2026-05-21"),
    ("我七月六号到新公司报到。", "2026-06-30"),
)
ASKED = (
    "What must Zoe not eat?",
    "When is the dinner?",
    "我什么时候报到？",
    "So what do I have to remember for the dinner?",
)
SAID = (
    "Zoe must not eat peanuts {peanuts}.",
    "On Friday at seven in the evening {Friday}.",
    "七月六号 {公司}。",
    "Friday at seven {Friday}, and no peanuts for Zoe {peanuts}.",
)
HEAD = """# Transcripts

Written by `python scripts/transcripts.py`. In both conversations the program is closed and opened
again after the second question: the history comes from the store. Below each answer stand the
memories that it cites, and how many tokens the provider took from its prompt cache.
"""


def scripted(template: str) -> Callable[[Sequence[ChatMessage]], str]:
    """Return an answer that cites memories by the numbers that they have in the prompt."""

    def answer(messages: Sequence[ChatMessage]) -> str:
        def number(word: re.Match[str]) -> str:
            found = re.search(rf"^(\[\d+\]).*{word.group(1)}", messages[-1].text, re.MULTILINE)
            return found.group(1) if found else "(no memory of it)"

        return re.sub(r"\{(\w+)\}", number, template)

    return answer


def conversation(settings: Settings, model: ScriptedChat | None) -> Iterator[str]:
    """Talk, with a restart in between, and yield lines of the transcript."""
    with MOS.open(settings, chat=model) as mos:
        for text, date in NOTES:
            mos.add(text, valid_from=date)
        yield from answers(mos, ASKED[:2])
    yield "*(closed and opened again)*\n"
    with MOS.open(settings, chat=model) as mos:
        yield from answers(mos, ASKED[2:])
        total = mos.usage().total
        yield (
            f"In all: {total.calls} calls, {total.prompt} tokens of prompts "
            f"({total.cached} cached), {total.completion} of answers.\n"
        )


def answers(mos: MOS, questions: tuple[str, ...]) -> Iterator[str]:
    """Ask, and yield what is said."""
    for question in questions:
        yield shown(question, mos.chat(question, session="dinner", limit=3))


def shown(question: str, result: ChatResult) -> str:
    """Return one exchange as Markdown."""
    said = re.sub(r"\s+", " ", result.text).strip().replace("<", "&lt;")
    lines = [f"> **you** {question}", ">", f"> **{result.model}** {said}", ""]
    lines += [f"- [{c.number}] {c.memory.text}" for c in result.cited]
    lines.append(f"- memories in the prompt: {len(result.memories)}; finish `{result.finish}`")
    if result.usage is not None:
        usage = result.usage
        lines[-1] += f"; {usage.prompt} tokens of prompt, {usage.cached} cached"
    return "\n".join([*lines, ""])


def main() -> int:
    """Write the page."""
    parts = [HEAD, "## Scripted\n"]
    with tempfile.TemporaryDirectory() as home:
        settings = Settings(home=Path(home))
        parts += conversation(settings, ScriptedChat(*map(scripted, SAID)))
    parts.append("## A real model\n")
    parts.append(
        f"{real_model.NAME} (135 million parameters, 4 bits) behind a llama.cpp server. A model of "
        "this size proves the plumbing, not wisdom: it may repeat itself, and seldom cites.\n"
    )
    with tempfile.TemporaryDirectory() as home, real_model.served() as url:
        own = {
            "kind": "openai", "model": real_model.NAME, "base_url": url, "max_tokens": 60,
            "temperature": 0, "extra_body": {"seed": 7},
        }  # fmt: skip
        settings = Settings(home=Path(home), chat=own)
        parts += conversation(settings, None)
    PAGE.write_text("\n".join(parts), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
