"""A chat model made of several: the next one answers when the one before cannot."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

from memos.errors import UpstreamError
from memos.ports.models import FREELY, ChatEvent, ChatMessage, ChatModel, Generation, Reply

_log: Final = logging.getLogger(__name__)


class FallbackChat:
    """The ``ChatModel`` port over models in order of preference.

    The next one is asked when one fails in a way that may pass: overloaded, rate-limited, silent,
    gone. A refused key or an unknown model is a mistake in the settings and stays an error. Once a
    piece of an answer was handed on, that model's answer is the answer.
    """

    def __init__(self, *models: ChatModel) -> None:
        self._models = models

    @property
    def name(self) -> str:
        """The name of the preferred model; ``Reply.model`` says which one answered."""
        return self._models[0].name

    async def reply(self, messages: Sequence[ChatMessage], how: Generation = FREELY) -> Reply:
        """Return the answer of the first model that gives one."""
        for model in self._models[:-1]:
            try:
                return await model.reply(messages, how)
            except UpstreamError as error:
                _passed_over(model, error)
        return await self._models[-1].reply(messages, how)

    async def stream(
        self, messages: Sequence[ChatMessage], how: Generation = FREELY
    ) -> AsyncGenerator[ChatEvent, None]:
        """Yield the answer of the first model that begins one."""
        for model in self._models:
            begun = False
            try:
                async with aclosing(model.stream(messages, how)) as events:
                    async for event in events:
                        begun = True
                        yield event
                    return
            except UpstreamError as error:
                if begun or model is self._models[-1]:
                    raise
                _passed_over(model, error)


def _passed_over(model: ChatModel, error: UpstreamError) -> None:
    if not error.retryable:
        raise error
    _log.warning("chat_fallback model=%s code=%s", model.name, error.code)
