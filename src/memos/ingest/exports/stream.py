"""JSON that is larger than memory: the entries of a list, or lines, one at a time."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final, cast

from memos.errors import InvalidInput

_CHUNK: Final = 256 * 1024
LARGEST_ENTRY: Final = 256 * 1024 * 1024
_SPACE: Final = " \t\r\n"


def entries(stream: BinaryIO, name: str, read: Callable[[int], None]) -> Iterator[object]:
    """Yield the entries of a JSON list; another JSON value is yielded as a whole.

    Args:
        stream: UTF-8, with or without a mark.
        name: For errors.
        read: Told how many bytes were taken, each time.

    Raises:
        InvalidInput: It is not JSON, or an entry is larger than 256 MB.
    """
    window = _Window(stream, name, read)
    if window.peek() != "[":
        yield window.value()
        return
    window.skip()
    if window.peek() == "]":
        return
    while True:
        yield window.value()
        following = window.peek()
        window.skip()
        if following == "]":
            return
        if following != ",":
            raise _malformed(name, "a comma is missing between two entries")


def lines(stream: BinaryIO, name: str, read: Callable[[int], None]) -> Iterator[object]:
    """Yield the value of every line that is not blank.

    Raises:
        InvalidInput: A line is not JSON.
    """
    for number, line in enumerate(stream, 1):
        read(len(line))
        text = line.strip(b"\xef\xbb\xbf \t\r\n")
        if text:
            try:
                yield cast("object", json.loads(text))
            except (ValueError, RecursionError) as error:
                raise _malformed(name, f"line {number}: {error}") from None


class _Window:
    """The part of a file that has not been read as values yet."""

    def __init__(self, stream: BinaryIO, name: str, read: Callable[[int], None]) -> None:
        self._stream = stream
        self._name = name
        self._read = read
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._text = ""
        self._at = 0
        self._ended = False
        self._decoder = json.JSONDecoder()

    def peek(self) -> str:
        """Return the next character that is no white space, empty at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _SPACE:
                self._at += 1
            if self._at < len(self._text) or not self._more(_CHUNK):
                return self._text[self._at : self._at + 1]

    def skip(self) -> None:
        """Pass over one character."""
        self._at += 1

    def value(self) -> object:
        """Return the next value, reading as much as it takes."""
        self.peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                # The window doubles, so that long entries are not parsed over and over.
                if not self._more(max(_CHUNK, len(self._text) - self._at)):
                    raise _malformed(self._name, str(error)) from None
                continue
            # A number at the end of the window may go on behind it.
            if end == len(self._text) and self._more(_CHUNK):
                continue
            self._at = end
            return cast("object", value)

    def _more(self, size: int) -> bool:
        if self._ended:
            return False
        if len(self._text) - self._at > LARGEST_ENTRY:
            raise _malformed(self._name, "an entry is larger than 256 MB")
        content = self._stream.read(size)
        self._read(len(content))
        self._ended = not content
        try:
            more = self._decode(content, self._ended)
        except UnicodeDecodeError as error:
            raise _malformed(self._name, f"it is not UTF-8 ({error.reason})") from None
        self._text = self._text[self._at :] + more
        self._at = 0
        return not self._ended


def _malformed(name: str, what: str) -> InvalidInput:
    return InvalidInput(f"{name} cannot be read as JSON: {what}", code="invalid_export")
