"""Regenerate the parts of the documentation that are drawn from the code.

Blocks stand between ``<!-- NAME:begin -->`` and ``<!-- NAME:end -->``:

``docs/openapi.json`` is the document of the server's routes, as a whole.

    python scripts/generate_docs.py           # rewrite them
    python scripts/generate_docs.py --check   # exit 1 when one has drifted
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from memos import mosconfig, registry
from memos.ports.backend import Role
from memos.server.app import create_app
from memos.settings import PREFIX, Settings

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "configuration.md"
DOCUMENT = ROOT / "docs" / "openapi.json"
ADAPTERS: tuple[tuple[str, Role], ...] = (
    ("sqlite", Role.RECORDS),
    ("onnx", Role.EMBEDDER),
    ("openai", Role.EMBEDDER),
    ("ollama", Role.EMBEDDER),
    ("sentence-transformers", Role.EMBEDDER),
    ("openai", Role.CHAT),
    ("ollama", Role.CHAT),
    ("anthropic", Role.CHAT),
    ("http", Role.RERANKER),
    ("onnx", Role.RERANKER),
    ("late-interaction", Role.RERANKER),
    ("sentence-transformers", Role.RERANKER),
    ("tavily", Role.WEB),
    ("bing", Role.WEB),
    ("google", Role.WEB),
    ("bocha", Role.WEB),
    ("searxng", Role.WEB),
)
SECTIONS: Mapping[Role, str] = {
    Role.RECORDS: "store",
    Role.EMBEDDER: "embedder",
    Role.CHAT: "chat",
    Role.RERANKER: "reranker",
    Role.WEB: "web",
}
_ATTRIBUTE = re.compile(r"^ {4}(\w+): (.+(?:\n {8}.+)*)", re.MULTILINE)


def settings_block() -> str:
    """Return the tables of the settings tree and of every adapter's section."""
    parts = [_table(_rows(Settings, ""))]
    for name, role in ADAPTERS:
        section, form = SECTIONS[role], registry.load(name, role).settings
        parts += [f'### `{section}` with `kind = "{name}"`', _table(_rows(form, f"{section}."))]
    return "\n\n".join(parts)


def names_block() -> str:
    """Return the table of MemOS's environment names and what becomes of each."""
    lines = ["| name | becomes | accepted values |", "|---|---|---|"]
    for name, known in sorted(mosconfig.NAMES.items()):
        shown = f"{name}*" if name.endswith("_") else name
        becomes = f"`{known.path}`" if known.path else f"error: not built yet ({known.asks_for})"
        off = ", ".join(f"`{value}`" for value in known.off) if known.asks_for else ""
        lines.append(f"| `{shown}` | {becomes} | {off} |")
    return "\n".join(lines)


BLOCKS: Mapping[str, Callable[[], str]] = {"settings": settings_block, "names": names_block}


def regenerated(text: str) -> str:
    """Return a page with every block as the code has it now."""
    for name, block in BLOCKS.items():
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        if text.count(begin) != 1 or text.count(end) != 1:
            raise SystemExit(f"{PAGE.name}: the markers {begin} and {end} must stand there once")
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = f"{before}{begin}\n{block()}\n{end}{after}"
    return text


def document() -> str:
    """Return the OpenAPI document of the server."""
    return json.dumps(create_app(Settings()).openapi(), indent=1, ensure_ascii=False) + "\n"


def main() -> int:
    """Rewrite what has drifted, or with ``--check`` only say what has."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 on drift")
    check = parser.parse_args().check
    held = {path: path.read_text("utf-8") if path.exists() else "" for path in (PAGE, DOCUMENT)}
    fresh = {PAGE: regenerated(held[PAGE]), DOCUMENT: document()}
    drifted = [path for path in held if held[path] != fresh[path]]
    for path in drifted:
        name = path.relative_to(ROOT)
        if check:
            print(f"{name} has drifted: run python scripts/generate_docs.py")
        else:
            path.write_text(fresh[path], encoding="utf-8")
            print(f"{name} rewritten")
    return 1 if check and drifted else 0


def _table(rows: Iterator[tuple[str, str, str, str]]) -> str:
    lines = ["| setting | default | environment | meaning |", "|---|---|---|---|"]
    for path, default, name, meaning in rows:
        lines.append(f"| `{path}` | {default} | `{name}` | {meaning} |")
    return "\n".join(lines)


def _rows(form: type[BaseModel], stem: str) -> Iterator[tuple[str, str, str, str]]:
    documented = _attributes(form)
    for name, field in form.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            yield from _rows(section, f"{stem}{name}.")
            continue
        if stem and name == "kind":
            continue  # the heading says it
        path = f"{stem}{name}"
        if path in (*SECTIONS.values(), "chat_fallback"):
            path = f"{path}.kind"
        variable = PREFIX + path.upper().replace(".", "__")
        meaning = field.description or documented.get(name, "")
        yield path, _default(field), variable, meaning


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Mapping):
        value = value.get("kind")
    if value is None or value == "":
        return "none"
    if isinstance(value, Path):
        value = f"~/{value.relative_to(Path.home()).as_posix()}"
    return f"`{value}`{_bounds(field)}"


def _bounds(field: FieldInfo) -> str:
    facts = {type(note).__name__: note for note in field.metadata}
    low, high = facts.get("Ge"), facts.get("Le")
    if low is None or high is None:
        return ""
    return f" ({low.ge} to {high.le})"


def _attributes(form: type[BaseModel]) -> dict[str, str]:
    """Return what the docstring says of the fields that have no description of their own."""
    text = inspect.getdoc(form) or ""
    _, _, attributes = text.partition("Attributes:\n")
    found = {name: " ".join(said.split()) for name, said in _ATTRIBUTE.findall(attributes)}
    return {name: said.replace("``", "`") for name, said in found.items()}


if __name__ == "__main__":
    sys.exit(main())
