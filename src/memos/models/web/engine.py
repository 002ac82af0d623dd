"""What the engines share: their settings, and how an answer becomes pages."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, Final, Generic, TypeAlias, TypeVar

import msgspec
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, HttpUrl

from memos.models.web.asking import Asker, Request, asking
from memos.network import Policy
from memos.ports.backend import Opened
from memos.ports.web import WebPage

Item: TypeAlias = Mapping[str, object]
"""One result, as the engine wrote it."""
_KB: Final = 1024
_MOST_CHARS: Final = 400
"""Engines refuse longer questions; the start says most."""


def split(value: object) -> object:
    """Return the parts of a string with commas between; anything else as it is."""
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


class WebSettings(BaseModel):
    """What every engine has."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: HttpUrl
    timeout_s: float = Field(
        default=5, gt=0, le=60, description="Longest time for one question, in seconds."
    )
    max_results: int = Field(default=5, ge=1, le=50, description="Pages of one search at most.")
    allow: Annotated[tuple[str, ...], BeforeValidator(split)] = Field(
        default=(),
        description="Hosts and networks where `base_url` may be although they are not public, "
        "with commas between.",
    )
    max_kilobytes: int = Field(default=1024, ge=1, description="Largest answer, in KB.")


S = TypeVar("S", bound=WebSettings)


@dataclass(frozen=True, slots=True)
class Dialect(Generic[S]):
    """How one engine is asked.

    Attributes:
        name: The engine.
        path: What follows ``base_url``.
        most: Results that one request can have.
        request: What asks for so many pages.
        items: The results of an answer.
        page: The page of a result.
    """

    name: str
    path: str
    most: int
    request: Callable[[S, str, int], Request]
    items: Callable[[bytes], Sequence[Item]]
    page: Callable[[Item], WebPage]


@dataclass(frozen=True, slots=True)
class Engine(Generic[S]):
    """The ``WebSearch`` port over one dialect."""

    dialect: Dialect[S]
    settings: S
    asker: Asker

    @property
    def name(self) -> str:
        """The engine's name."""
        return self.dialect.name

    async def find(self, query: str, limit: int) -> list[WebPage]:
        """Return at most ``limit`` pages, from one request."""
        count = min(limit, self.settings.max_results, self.dialect.most)
        asked = query.encode("utf-8", "replace").decode("utf-8").replace("\0", " ")
        request = self.dialect.request(self.settings, asked[:_MOST_CHARS], count)
        content = await self.asker.ask(request)
        try:
            items = self.dialect.items(content)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise self.asker.malformed(type(error).__name__) from None
        except ValueError as error:
            raise self.asker.malformed(str(error)) from None
        return [self.dialect.page(item) for item in items[:count]]


def opening(dialect: Dialect[S]) -> Callable[[S], AbstractAsyncContextManager[Opened]]:
    """Return what opens the adapter of a dialect."""

    @asynccontextmanager
    async def opened(settings: S) -> AsyncGenerator[Opened, None]:
        base = str(settings.base_url).rstrip("/")
        url = base if base.endswith(dialect.path) else base + dialect.path
        policy = Policy(
            allow=settings.allow,
            max_bytes=settings.max_kilobytes * _KB,
            timeout_s=settings.timeout_s,
            setting="web.allow",
        )
        async with asking(dialect.name, url, policy) as asker:
            yield Opened(web=Engine(dialect, settings, asker))

    return opened


class _Results(msgspec.Struct):
    results: list[dict[str, object]]


def results(content: bytes) -> Sequence[Item]:
    """Return the results of an answer that lists them under that name."""
    return msgspec.json.decode(content, type=_Results).results


def text(item: Item, *names: str) -> str:
    """Return the first of the fields that holds words."""
    for name in names:
        value = item.get(name)
        if isinstance(value, str) and value.strip():
            return value
    return ""


def moment(value: object) -> datetime | None:
    """Return a date in ISO 8601 or in the form of mails; None for anything else."""
    if not isinstance(value, str):
        return None
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            found = read(value.strip())
            return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            continue
    return None
