"""A chat model behind HTTP: everything but the provider's dialect."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from typing import Final, Protocol

import msgspec
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from memos.models._http.gathering import Gathering, Incomplete, Prices
from memos.models._http.service import Service
from memos.ports.models import FREELY, ChatEvent, ChatMessage, Finished, Generation, Reply

_OVERLOADED: Final = 529


class ChatSettings(BaseModel):
    """What every chat model behind HTTP can be told."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(min_length=1, description="The model, as the server calls it.")
    api_key: SecretStr | None = Field(default=None, description="Key for the server.")
    max_tokens: int | None = Field(
        default=None, ge=1, description="Most tokens of an answer; the server's limit when unset."
    )
    temperature: float | None = Field(
        default=None, ge=0, le=2, description="Randomness; the server's default when unset."
    )
    top_p: float | None = Field(
        default=None, gt=0, le=1, description="Nucleus sampling; the server's default when unset."
    )
    timeout_s: float = Field(
        default=60, gt=0, description="Longest silence of the server, also within an answer."
    )
    max_retries: int = Field(
        default=2, ge=0, le=10, description="Further tries while nothing of an answer has come."
    )
    price_prompt: float | None = Field(
        default=None, ge=0, description="Price of a million tokens of prompt, for accounts."
    )
    price_completion: float | None = Field(
        default=None, ge=0, description="Price of a million tokens of answer."
    )
    price_cached: float | None = Field(
        default=None, ge=0, description="Price of a million prompt tokens from a cache."
    )

    @property
    def prices(self) -> Prices:
        """The three prices together."""
        return Prices(self.price_prompt, self.price_completion, self.price_cached)


class Reported(Exception):
    """An error that a provider reports inside of an answer, with an HTTP status that fits it."""

    def __init__(self, message: str, status: int = 500) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


class Dialect(Protocol):
    """How a provider writes requests and answers.

    ``read`` raises ``Reported`` for errors inside of an answer, ``msgspec.DecodeError`` (or its
    ``ValidationError``) and ``ValueError`` for what it cannot understand.
    """

    def body(
        self, messages: Sequence[ChatMessage], how: Generation, *, streamed: bool
    ) -> Mapping[str, object]:
        """Return the body of a request."""
        ...

    def payloads(self, lines: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
        """Yield the JSON documents of a streamed answer."""
        ...

    def read(self, payload: str | bytes, gathering: Gathering) -> Iterator[ChatEvent]:
        """Take in one document, or a whole answer that was not streamed."""
        ...


class HttpChat:
    """The ``ChatModel`` port over HTTP.

    Example:
        >>> async with open_openai(settings) as opened:
        ...     print((await opened.chat.reply([ChatMessage("user", "Hello")])).text)
    """

    def __init__(self, settings: ChatSettings, service: Service, dialect: Dialect) -> None:
        self._settings = settings
        self._service = service
        self._dialect = dialect

    @property
    def name(self) -> str:
        """The model's name."""
        return self._settings.model

    async def reply(self, messages: Sequence[ChatMessage], how: Generation = FREELY) -> Reply:
        """Return the whole answer."""
        answer = await self._service.ask(self._dialect.body(messages, how, streamed=False))
        gathering = Gathering(self.name, self._settings.prices)
        with self._understood():
            for event in (*self._dialect.read(answer, gathering), *gathering.end()):
                if isinstance(event, Finished):
                    return event.reply
        raise AssertionError

    async def stream(
        self, messages: Sequence[ChatMessage], how: Generation = FREELY
    ) -> AsyncGenerator[ChatEvent, None]:
        """Yield the answer as it comes."""
        body = self._dialect.body(messages, how, streamed=True)

        async def once() -> AsyncGenerator[ChatEvent, None]:
            gathering = Gathering(self.name, self._settings.prices)
            lines = self._service.lines(body)
            with self._understood():
                async with aclosing(self._dialect.payloads(lines)) as payloads:
                    async for payload in payloads:
                        for event in self._dialect.read(payload, gathering):
                            yield event
                for event in gathering.end():
                    yield event

        async with aclosing(self._service.patiently(once)) as events:
            async for event in events:
                yield event

    @contextmanager
    def _understood(self) -> Generator[None, None, None]:
        """Turn what a dialect cannot understand into errors of the service."""
        try:
            yield
        except Reported as error:
            raise self._service.reported(error.message, error.status) from None
        except Incomplete:
            cause = "broke off in the middle of an answer; ask again"
            raise self._service.error(cause, code="model_truncated", retryable=True) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._service.malformed(type(error).__name__) from error
        except ValueError as error:
            raise self._service.malformed(str(error)) from error


def status_of(kind: object) -> int:
    """Return the HTTP status that fits an error's ``code`` or ``type`` inside of an answer."""
    if isinstance(kind, int):
        return kind
    words = str(kind or "")
    if words.isdecimal():
        return int(words)
    if "rate_limit" in words:
        return 429
    if "overloaded" in words:
        return _OVERLOADED
    if "auth" in words or "permission" in words or "api_key" in words:
        return 401
    if "not_found" in words:
        return 404
    return 400 if "invalid" in words or "context_length" in words else 500
