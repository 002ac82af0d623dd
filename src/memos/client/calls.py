"""What is sent for a call, and how its answer is read; neither knows who sends it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, Generic, TypeAlias, TypeVar, cast
from urllib.parse import quote

import httpx
import msgspec

from memos import options as opt
from memos.client.failures import unreadable
from memos.client.files import Upload
from memos.errors import InvalidInput

T = TypeVar("T")
Parameter: TypeAlias = str | Sequence[str]
KEY: Final = "Idempotency-Key"
_MOMENTS: Final = frozenset({"at", "as_of", "since", "valid_from", "valid_to", "expires_at"})


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request of the native API.

    Attributes:
        method: Of HTTP.
        path: Below the base URL.
        read: Reads the body of the answer.
        params: What stands in the query.
        body: What is sent as JSON; None for no body.
        headers: Beside those of every call.
        upload: A file that is sent in place of ``body``.
        repeatable: Whether it may be sent again when nobody knows what became of it.
    """

    method: str
    path: str
    read: Callable[[bytes], T]
    params: Mapping[str, Parameter] = field(default_factory=dict[str, Parameter])
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    upload: Upload | None = None
    repeatable: bool = False

    def request(self, http: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        """Return the request as ``http`` sends it.

        Raises:
            InvalidInput: What was given cannot be written as JSON.
        """
        headers = dict(self.headers)
        content: bytes | None = None
        if self.body is not None:
            content = _encoded(self.body)
            headers["Content-Type"] = "application/json"
        if self.upload is not None:
            headers |= self.upload.headers()
        request = http.build_request(
            self.method, self.path, params=dict(self.params), content=content, headers=headers
        )
        if self.upload is not None:
            request.stream = self.upload
        return request

    def result(self, response: httpx.Response) -> T:
        """Return what the answer holds.

        Raises:
            UpstreamError: It is not what it should be.
        """
        try:
            return self.read(response.content)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise unreadable(error) from error


def reading(type_: type[T]) -> Callable[[bytes], T]:
    """Return what reads a value of a type."""
    return lambda content: cast("T", decoder(type_).decode(content))


@cache
def decoder(type_: type[Any]) -> msgspec.json.Decoder[Any]:
    """Return the decoder of a type; making one takes longer than using it."""
    return msgspec.json.Decoder(type_)


def field_of(name: str, type_: type[T]) -> Callable[[bytes], T]:
    """Return what reads one field of an object."""

    def read(content: bytes) -> T:
        fields = decoder(dict[str, msgspec.Raw]).decode(content)
        return cast("T", decoder(type_).decode(fields.get(name, msgspec.Raw(b"null"))))

    return read


def nothing(_content: bytes) -> None:
    """Read an answer without a body."""


def given(**values: object) -> dict[str, object]:
    """Return what was given."""
    return {name: value for name, value in values.items() if value is not None}


def query(**values: object) -> dict[str, Parameter]:
    """Return what was given as it stands in a URL."""
    return {name: _parameter(value) for name, value in values.items() if value is not None}


def segment(id: object) -> str:
    """Return an id as part of a path.

    Raises:
        InvalidInput: It is no text, or empty.
    """
    if not isinstance(id, str) or not id:
        raise InvalidInput(f"id: expected a non-empty string, got {id!r:.80}", code="empty")
    # A path that consists of dots would be resolved on its way.
    return quote(id, safe="") if id.strip(".") else id.replace(".", "%2E")


def timed(options: Mapping[str, object]) -> dict[str, object]:
    """Return options with every moment as the wire has it; ``MOS`` reads more forms than it does.

    Raises:
        InvalidInput: One of them names no moment.
    """
    return {
        name: opt.moment(value, name) if name in _MOMENTS else value
        for name, value in options.items()
    }


def key_of(options: dict[str, object]) -> dict[str, str]:
    """Take the batch id out of options and return the header for it; a new one without."""
    batch = options.pop("batch_id", None)
    return {KEY: uuid.uuid4().hex if batch is None else str(batch)}


def _parameter(value: object) -> Parameter:
    plain = msgspec.to_builtins(value)
    if isinstance(plain, list | tuple):
        return [str(part) for part in cast("Sequence[object]", plain)]
    return str(plain).lower() if isinstance(plain, bool) else str(plain)


def _encoded(value: object) -> bytes:
    try:
        return msgspec.json.encode(value)
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise InvalidInput(f"it cannot be written as JSON ({error})") from error
