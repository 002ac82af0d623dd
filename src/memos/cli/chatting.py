"""``memos chat``: one question, a pipe of them, or a conversation at the terminal.

Lines that are typed are kept for the arrow keys in this process alone. A history file would keep
what ``memos forget --erase`` promises to be gone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import datetime
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Final, TextIO, TypeAlias

import typer

from memos.cli.output import complain, emit, plain, say, source_of, table
from memos.cli.session import Session, command
from memos.errors import ConfigError, MemosError

if TYPE_CHECKING:
    from memos import MOS
    from memos.chat.conversation import ChatResult
    from memos.options import ChatOptions, Where
    from memos.types import Memory

_CHAT: Final = (
    "memos chat",
    'memos chat "What must Zoe not eat?"',
    "echo 什么时候报到 | memos chat --session job --json",
    'memos chat "Draft a menu" --model gpt-4o-mini --no-remember',
    'memos chat "Which museums are open today?" --internet',
)
_PROMPT: Final = "you> "
_QUIT: Final = frozenset({"/quit", "/exit", "/q"})


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    command(app, "chat", examples=_CHAT)(chat)


def chat(
    session: Session,
    *,
    question: Annotated[
        str | None, typer.Argument(help="What to say; a conversation when left out.")
    ] = None,
    named: Annotated[
        str | None, typer.Option("--session", help="The conversation to go on with.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Another model of the same server.")] = None,
    cube: Annotated[str | None, typer.Option(help="Recall from and remember in it.")] = None,
    remember: Annotated[bool, typer.Option(help="Keep the exchange in memory.")] = True,
    reasoning: Annotated[
        bool, typer.Option("--reasoning", help="Show what the model thinks aloud.")
    ] = False,
    internet: Annotated[bool, typer.Option("--internet", help="Ask the web, too.")] = False,
) -> None:
    """Talk with a model that knows what is remembered, and remembers what is said."""
    options: ChatOptions = {"remember": remember}
    if cube is not None:
        options["cube"] = cube
    if internet:
        options["internet"] = True
    more: Mapping[str, object] = {} if model is None else {"chat": {"model": model}}
    interactive = question is None and sys.stdin.isatty() and not session.as_json
    if named is not None:
        options["session"] = named
    elif interactive:
        options["session"] = f"chat-{datetime.now().astimezone():%Y-%m-%d-%H%M%S}"
    with session.open(more) as mos:
        talk = Talk(mos, options, as_json=session.as_json, reasoning=reasoning)
        if question is not None:
            talk.answer(question)
        elif interactive:
            _converse(talk)
        else:
            for line in sys.stdin:
                if line.strip():
                    talk.answer(line.strip())


@dataclass(slots=True)
class Talk:
    """A conversation at the terminal.

    Attributes:
        mos: The opened memory.
        options: What every question is asked with.
        as_json: Whether to answer in JSON.
        reasoning: Whether to show what the model thinks aloud.
        shown: The memories of the last answer or search; the first is number 1.
    """

    mos: MOS
    options: ChatOptions
    as_json: bool = False
    reasoning: bool = False
    shown: Sequence[Memory] = field(default_factory=tuple)

    def answer(self, question: str) -> None:
        """Ask, and show the answer as it comes, with the memories that it cites."""
        from memos.chat.conversation import ChatDone  # noqa: PLC0415 - --help need not pay
        from memos.ports.models import ReasoningDelta, TextDelta  # noqa: PLC0415

        with closing(self.mos.chat_stream(question, **self.options)) as events:
            for event in events:
                if isinstance(event, ChatDone):
                    self._ended(event.result)
                elif isinstance(event, TextDelta) and not self.as_json:
                    _write(event.text)
                elif isinstance(event, ReasoningDelta) and self.reasoning and not self.as_json:
                    _write(event.text, to=sys.stderr)

    def _ended(self, result: ChatResult) -> None:
        self.shown = result.memories
        if self.as_json:
            emit(result)
            return
        _write("\n")
        for citation in result.cited:
            say(f"  [{citation.number}] {source_of(citation.memory) or citation.memory.id}")
        if result.finish != "stop":
            say(f"  (the answer ended early: {result.finish})")
        for lane in result.degraded:
            say(f"  (without {lane})")

    # --- what stands behind a slash

    def memories(self, _: str) -> None:
        """List the memories of the last answer."""
        if not self.shown:
            say("no memories yet; ask something")
        else:
            self._list()

    def cite(self, number: str) -> None:
        """Open a citation: the memory as it was stored, and where it comes from."""
        memory = self._numbered(number)
        if memory is not None:
            say(memory.text)
            for source in memory.sources:
                said = [source.type, source.uri or source.id, source.speaker or source.role]
                at = source.at or memory.created_at
                facts = [*filter(None, said), *([at.isoformat()] if at else [])]
                say(f"  from {' · '.join(facts)}")
            if memory.place.cube:  # a page of the web is of none
                say(f"  id {memory.id} in cube {memory.place.cube}, version {memory.version}")

    def history(self, _: str) -> None:
        """Show what was said in this conversation."""
        session = self.options.get("session", "chat")
        page = self.mos.get_all(where={"session": session}, limit=1000, **self._whose())
        for memory in page.items:
            say(f"{memory.speaker or memory.kind}> {memory.text}")

    def session(self, name: str) -> None:
        """Go on with another conversation, or say which one this is."""
        if name:
            self.options["session"] = name
        say(f"session {self.options.get('session', 'chat')}")

    def user(self, name: str) -> None:
        """Act as another user, created when new, or say who acts."""
        if name:
            self.mos.users.ensure(name)
            self.options["user"] = name
        say(f"user {self.options.get('user', 'of the settings')}")

    def search(self, query: str) -> None:
        """Search without asking the model."""
        if not query:
            say("what for? /search words")
            return
        result = self.mos.search(query, **self._whose())
        self.shown = [hit.memory for hit in result.hits]
        self._list()

    def forget(self, number: str) -> None:
        """Retire a memory of the last list; its history is kept."""
        memory = self._numbered(number)
        if memory is not None and not memory.place.cube:
            say("a page of the web is not stored")
        elif memory is not None:
            self.mos.forget(memory.id, **{**self._whose(), "cube": memory.place.cube})
            say(f"retired {memory.id}")

    def _whose(self) -> Where:
        whose: Where = {}
        if "user" in self.options:
            whose["user"] = self.options["user"]
        if "cube" in self.options:
            whose["cube"] = self.options["cube"]
        return whose

    def _numbered(self, number: str) -> Memory | None:
        if number.isdecimal() and 0 < int(number) <= len(self.shown):
            return self.shown[int(number) - 1]
        say(f"a number from 1 to {len(self.shown)}, please" if self.shown else "nothing is listed")
        return None

    def _list(self) -> None:
        table(
            {"": "dim", "memory": "", "source": "cyan"},
            [
                (number, memory.text, source_of(memory))
                for number, memory in enumerate(self.shown, 1)
            ],
        )


_Action: TypeAlias = Callable[[Talk, str], None]
_ACTIONS: Final[Mapping[str, tuple[_Action, str]]] = {
    "/memories": (Talk.memories, ""),
    "/cite": (Talk.cite, "N"),
    "/history": (Talk.history, ""),
    "/session": (Talk.session, "[NAME]"),
    "/user": (Talk.user, "[NAME]"),
    "/search": (Talk.search, "WORDS"),
    "/forget": (Talk.forget, "N"),
}


def _converse(talk: Talk) -> None:
    with suppress(ImportError):  # not on Windows; typing works without
        import_module("readline")
    say(f"session {talk.options.get('session')}; /help lists the commands, /quit ends")
    while True:
        try:
            line = input(_PROMPT).strip()
        except (EOFError, KeyboardInterrupt):
            _write("\n")
            return
        if line in _QUIT:
            return
        try:
            _do(talk, line)
        except ConfigError:
            raise  # no other question would fare better
        except MemosError as error:
            complain(error.detail)  # the conversation goes on
        except KeyboardInterrupt:
            _write("\n")  # what was said so far is remembered


def _do(talk: Talk, line: str) -> None:
    if not line:
        return
    if not line.startswith("/"):
        talk.answer(line)
        return
    name, _, rest = line.partition(" ")
    if name in _ACTIONS:
        _ACTIONS[name][0](talk, rest.strip())
        return
    if name != "/help":
        say(f"there is no command {name}")
    for known, (action, argument) in _ACTIONS.items():
        told = (action.__doc__ or "").strip()
        say(f"  {f'{known} {argument}'.strip():<18} {told}")
    say(f"  {'/quit':<18} End; so do end of input and Ctrl-D.")


def _write(text: str, *, to: TextIO | None = None) -> None:
    stream = sys.stdout if to is None else to
    stream.write(plain(text))
    stream.flush()
