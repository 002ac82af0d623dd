"""``memos init``: a few questions, a ``memos.toml``, and a store that works."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import typer

from memos.cli.output import busy, emit, say
from memos.cli.session import Session, command
from memos.errors import Conflict, InvalidInput, StoreError

_FILE: Final = "memos.toml"
_EXAMPLES: Final = (
    "memos init",
    "memos init --yes",
    "memos init --chat ollama --model qwen3:8b --yes",
    "memos init --chat openai --model gpt-5-mini --base-url https://api.example.org/v1 --yes",
)
_KINDS: Final[Mapping[str, str]] = {
    "none": "",
    "openai": "its key is read from OPENAI_API_KEY, or MEMOS_CHAT__API_KEY",
    "ollama": "no key is needed",
    "anthropic": "its key is read from MEMOS_CHAT__API_KEY",
}


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    command(app, "init", examples=_EXAMPLES)(init)


def init(
    session: Session,
    *,
    chat: Annotated[str | None, typer.Option(help=f"{', '.join(_KINDS)}.")] = None,
    model: Annotated[str | None, typer.Option(help="The chat model's name.")] = None,
    base_url: Annotated[str | None, typer.Option(help="The chat server's address.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help=f"Replace a {_FILE}.")] = False,
) -> None:
    """Write a memos.toml here, guided by a few questions, and try it.

    Keys are never written: they come from the environment or from .env.
    """
    path = Path.cwd() / _FILE
    if path.exists() and not force:
        raise Conflict(f"{_FILE} is here already; --force replaces it", code="exists")
    ask = not yes and sys.stdin.isatty()
    settings = session.loaded().settings
    home = session.home or settings.home
    user = session.user or settings.user
    if ask:
        home = Path(_asked("Directory of the store", str(home))).expanduser()
        user = _asked("Your user id", user)
        chat = chat or _asked(f"Chat model ({', '.join(_KINDS)})", "none")
    tree: dict[str, str | dict[str, str]] = {"home": str(home.absolute()), "user": user}
    if (kind := chat or "none") != "none":
        tree["chat"] = _chat(kind, model, base_url, ask=ask)
    _write(path, tree)
    with Session(session.home, session.user, session.as_json).open() as mos, busy("Opening ..."):
        mos.users.ensure(user)
    if session.as_json:
        emit({"file": str(path), "settings": tree})
        return
    say(f"wrote {path.name}; the store is {home}")
    if hint := _KINDS.get(kind):
        say(f"chat with {kind}: {hint}")
    say('next: memos add "Zoe is allergic to peanuts."')
    say('then: memos search "What must Zoe not eat?"')


def _chat(kind: str, model: str | None, base_url: str | None, *, ask: bool) -> dict[str, str]:
    if kind not in _KINDS:
        raise InvalidInput(f"--chat: {kind!r} is none of {', '.join(_KINDS)}", code="usage")
    if ask:
        model = model or _asked("Name of the chat model", "")
        base_url = base_url or _asked("Address of its server (empty: the usual one)", "")
    if not model:
        raise InvalidInput("name the chat model: --model", code="usage")
    found = {"kind": kind, "model": model}
    return {**found, "base_url": base_url} if base_url else found


def _asked(question: str, default: str) -> str:
    return str(typer.prompt(question, default=default, err=True)).strip()


def _write(path: Path, tree: Mapping[str, str | dict[str, str]]) -> None:
    lines = [f"{name} = {_toml(value)}" for name, value in tree.items() if isinstance(value, str)]
    for name, value in tree.items():
        if isinstance(value, dict):
            lines += ["", f"[{name}]", *(f"{key} = {_toml(held)}" for key, held in value.items())]
    try:
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        raise StoreError(
            f"{path.name} cannot be written: {error.strerror}", service="files", code="read_only"
        ) from error


def _toml(value: str) -> str:
    """Return a string as TOML: its basic strings have JSON's escapes."""
    return json.dumps(value, ensure_ascii=False)
