"""The expressions of both languages, found in a text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import date
from functools import cache, lru_cache
from typing import Final

from memos.dates import chinese, english
from memos.dates.rule import Rule
from memos.dates.span import FIRST_YEAR, LAST_YEAR, Span

_MOST: Final = 4
FURTHEST: Final = 4000
"""Letters of a text that are read: what a long document is about is not said on its last page."""
_WORD: Final = re.compile(r"[a-z]+")
_RULES: Final = {"english": english.ENGLISH, "chinese": chinese.CHINESE}


@lru_cache(maxsize=1024)
def spans(text: str, day: date) -> tuple[Span, ...]:
    """Return the days that a text speaks of, in its order, seen from ``day``; four at most.

    Raises nothing: what is no date, or one out of all range, is passed over.

    Example:
        >>> [friday] = spans("What did we eat last Friday?", date(2024, 5, 15))
        >>> date.fromordinal(friday.first).isoformat()
        '2024-05-10'
    """
    return spoken(text, _WORD.findall(text[:FURTHEST].lower()), day)


def spoken(text: str, words: Iterable[str], day: date) -> tuple[Span, ...]:
    """Return ``spans`` of a text, given its lower words, or those of them in ``HINTING``."""
    text = text[:FURTHEST].lower()
    rules = _promising("english", english.hints(text, words))
    if not text.isascii():
        rules += _promising("chinese", chinese.hints(text))
    if not rules or not FIRST_YEAR < day.year < LAST_YEAR:
        return ()
    found = sorted(_found(text, day, rules))
    return tuple(span for _, span in found[:_MOST])


@cache
def compiled(pattern: str) -> re.Pattern[str]:
    """Return the pattern, compiled with its first use."""
    return re.compile(pattern)


@lru_cache(maxsize=1024)
def _promising(language: str, hints: frozenset[str]) -> tuple[Rule, ...]:
    return tuple(rule for rule in _RULES[language] if rule.hints <= hints)


def _found(text: str, day: date, rules: Iterable[Rule]) -> Iterator[tuple[int, Span]]:
    """Yield spans with where they stand; what one rule read is read by no later one."""
    taken: list[tuple[int, int]] = []
    for rule in rules:
        for match in compiled(rule.pattern).finditer(text):
            start, end = match.span()
            if any(start < other_end and other < end for other, other_end in taken):
                continue
            span = rule.means(match, day)
            if span is not None:
                taken.append((start, end))
                yield start, span
