"""Models behind the core."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from memos.types import JsonObject

EmbedRole: TypeAlias = Literal["query", "passage"]
Vectors: TypeAlias = NDArray[np.float32]
"""Shape (texts, dimensions); every row is L2-normalised."""


class Embedder(Protocol):
    """Turns texts into vectors whose inner product tells how near their meanings are.

    Equal ``name`` promises comparable vectors: a model, its quantisation and its prefixes.
    Vectors come in the order of the texts; no text at all gives shape (0, dimensions).
    Every string is accepted, the empty one included.

    Raises:
        ModelError: The model failed; ``retryable`` tells whether again may help.
        RateLimited: The service refuses for now.
        Timeout: The service did not answer in time.
    """

    @property
    def name(self) -> str:
        """The identity that is stored with the vectors."""
        ...

    @property
    def dimensions(self) -> int:
        """Length of one vector."""
        ...

    async def embed(self, texts: Sequence[str], role: EmbedRole) -> Vectors:
        """Return one vector per text."""
        ...


ChatRole: TypeAlias = Literal["system", "user", "assistant", "tool"]
FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A model's wish to have a tool run; ``arguments`` is JSON text as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool that a model may ask for; ``parameters`` is a JSON schema."""

    name: str
    description: str
    parameters: JsonObject


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of a prompt.

    Attributes:
        role: Who speaks.
        text: What is said.
        tool_calls: What an assistant's message asked for.
        tool_call_id: Which call a tool's message answers.
    """

    role: ChatRole
    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None


@dataclass(frozen=True, slots=True)
class Generation:
    """How to generate.

    Attributes:
        schema: The JSON schema that the text must follow, or None for free text.
        tools: What the model may ask for.
        max_tokens: Most tokens of the answer; the adapter's own limit when None.
    """

    schema: JsonObject | None = None
    tools: tuple[ToolSpec, ...] = ()
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that a call took; ``cached`` of the prompt's came from the provider's cache.

    ``cost`` is in the currency of the adapter's prices; None when it has none.
    """

    prompt: int
    completion: int
    cached: int = 0
    cost: float | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer.

    Attributes:
        text: What was said, reasoning left out.
        model: The model that answered, as its adapter is called (``ChatModel.name``).
        finish: Why it ended.
        reasoning: What the model thought aloud, if it shows it.
        tool_calls: The tools that it wants run.
        usage: What the service counted, None when it does not say.
    """

    text: str
    model: str
    finish: FinishReason = "stop"
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next piece of the answer; never empty."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """The next piece of what the model thinks aloud; never empty."""

    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of a stream: the answer as a whole."""

    reply: Reply


ChatEvent: TypeAlias = TextDelta | ReasoningDelta | ToolCall | Finished
FREELY = Generation()
"""Text without a form, within the adapter's own limit."""


class ChatModel(Protocol):
    """A language model that goes on with a conversation.

    A reply that was cut off has ``finish`` "length", one that the provider withheld
    "content_filter": both are answers, not errors. With a schema the text is JSON; a model that
    was cut off or does not obey may still miss the schema, so callers parse it.

    Raises:
        ModelError: The model failed or answered no answer; ``retryable`` tells whether again may
            help. Adapters have tried again already where nothing had been streamed.
        RateLimited: The service refuses for now.
        Timeout: The service did not answer in time, or fell silent in between.
    """

    @property
    def name(self) -> str:
        """The model's name, for accounts and messages."""
        ...

    async def reply(self, messages: Sequence[ChatMessage], how: Generation = FREELY) -> Reply:
        """Return the whole answer."""
        ...

    def stream(
        self, messages: Sequence[ChatMessage], how: Generation = FREELY
    ) -> AsyncGenerator[ChatEvent, None]:
        """Yield the answer as it comes; the last event, and only it, is ``Finished``.

        The deltas together are the reply's text and reasoning; every tool call comes once, whole.
        Closing the generator ends the request.
        """
        ...


class Reranker(Protocol):
    """Says how well texts answer a query, better and slower than vectors do.

    Scores come in the order of the texts and compare within one call only; higher is better. No
    text at all gives no score. Every string is accepted, the empty one included.

    Raises:
        ModelError: The model failed; ``retryable`` tells whether again may help.
        RateLimited: The service refuses for now.
        Timeout: The service did not answer in time.
    """

    @property
    def name(self) -> str:
        """The model's name, for messages."""
        ...

    async def score(self, query: str, texts: Sequence[str]) -> list[float]:
        """Return one finite score per text."""
        ...
