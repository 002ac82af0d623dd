"""Cutting long texts into parts that keep their place in the original. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from memos.analysis import tokens

_HEADING: Final = re.compile(r"^(#{1,6})[ \t]+(.+?)[ \t#]*$", re.MULTILINE)
_FENCE: Final = re.compile(r"^(```|~~~).*?^\1[^\n]*$", re.MULTILINE | re.DOTALL)
_BREAKS: Final = (
    re.compile(r"\n\s*\n"),
    re.compile(r"\n"),
    re.compile(r"(?<=[.!?;])\s+|(?<=[。！？；…])"),
    re.compile(r"(?<=[,，、:：])\s*|\s+"),
)
"""Where a text may be cut, best first: paragraphs, lines, sentences, clauses and words."""
_SLACK: Final = 1.5
"""A text up to this many times the aim stays whole: two lopsided parts help nobody."""


class Span(NamedTuple):
    """Part of a text: ``text[start:end]``."""

    start: int
    end: int


class Section(NamedTuple):
    """Part of a document below a heading; ``title`` is the path of headings that leads to it."""

    title: str | None
    span: Span


def split(text: str, aim: int) -> list[Span]:
    """Return spans of about ``aim`` tokens that cover ``text``, cut at the best breaks.

    White space around a part belongs to none; a text of white space has no part.
    """
    whole = _trimmed(text, Span(0, len(text)))
    if whole is None:
        return []
    if len(text) <= aim:  # as most messages are: no need to count
        return [whole]
    return list(_parts(text, whole, aim, 0))


def sections(text: str) -> list[Section]:
    """Return the sections of a Markdown text, in order; code blocks hold no headings."""
    fences = [match.span() for match in _FENCE.finditer(text)]
    heads = [
        match
        for match in _HEADING.finditer(text)
        if not any(start <= match.start() < end for start, end in fences)
    ]
    found = [Section(None, Span(0, heads[0].start() if heads else len(text)))]
    trail: list[tuple[int, str]] = []
    for index, head in enumerate(heads):
        level = len(head[1])
        trail = [(depth, title) for depth, title in trail if depth < level] + [(level, head[2])]
        end = heads[index + 1].start() if index + 1 < len(heads) else len(text)
        found.append(Section(" > ".join(title for _, title in trail), Span(head.start(), end)))
    return [section for section in found if text[section.span.start : section.span.end].strip()]


def _parts(text: str, span: Span, aim: int, level: int) -> Iterator[Span]:
    if tokens(text[span.start : span.end]) <= aim * _SLACK:
        yield span
        return
    if level == len(_BREAKS):
        step = max(1, aim)  # no break at all: any place is as good as another
        for start in range(span.start, span.end, step):
            yield Span(start, min(start + step, span.end))
        return
    for piece in _packed(text, _cut(text, span, _BREAKS[level]), aim):
        yield from _parts(text, piece, aim, level + 1)


def _cut(text: str, span: Span, breaks: re.Pattern[str]) -> Iterator[Span]:
    start = span.start
    for match in breaks.finditer(text, span.start, span.end):
        if piece := _trimmed(text, Span(start, match.end())):
            yield piece
        start = match.end()
    if piece := _trimmed(text, Span(start, span.end)):
        yield piece


def _packed(text: str, pieces: Iterator[Span], aim: int) -> Iterator[Span]:
    """Join neighbouring pieces as long as they stay within the aim."""
    held: Span | None = None
    size = 0
    for piece in pieces:
        cost = tokens(text[piece.start : piece.end])
        if held is not None and size + cost <= aim:
            held, size = Span(held.start, piece.end), size + cost
            continue
        if held is not None:
            yield held
        held, size = piece, cost
    if held is not None:
        yield held


def _trimmed(text: str, span: Span) -> Span | None:
    piece = text[span.start : span.end]
    left = len(piece) - len(piece.lstrip())
    right = len(piece.rstrip())
    return Span(span.start + left, span.start + right) if right > left else None
