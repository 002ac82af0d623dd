"""What of a question is asked: all of it, its sentences, or the ends of a long text. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from memos.analysis import count_terms, query_terms, tokens

MOST: Final = 4
"""Of more sentences none is a question of its own: that is a text."""
_LEADING_UP: Final = 2
"""In so few sentences one may say what the other asks about; more of them ramble."""
_SENTENCE: Final = re.compile(r"(?:[^.?!。？！；\n]|[.](?=\S))+[.?!。？！；\n]*")
_FEWEST_TERMS: Final = 2
LONGEST: Final = 512
"""Tokens of a question; of a longer one half as many of either end are asked."""
_END: Final = 64
"""So many tokens of either end are asked by themselves: about what a need takes to be told."""
_FARTHER_IN: Final = 0.25
_LEFT_OUT: Final = "\n…\n"
_BREAK: Final = re.compile(r"[.?!。？！；\n]+\s*")


def shortened(question: str) -> str:
    """Return a question, or the first and the last sentences of one that is a long text.

    Whoever pastes a text says before or behind it what to do with it. The rest would only hide
    that: a vector is a mean over all that is said, and costs time for every word.
    """
    question = question.strip()
    if len(question) <= LONGEST or tokens(question) <= LONGEST:
        return question
    return f"{_first(question, LONGEST // 2)}{_LEFT_OUT}{_last(question, LONGEST // 2)}"


def wanted_terms(question: str) -> Mapping[str, float]:
    """Return the index terms of a question with their weight: how often it says them.

    A text that was ``shortened`` says things often because it is long. There each counts once, and
    less where it stands farther from either end.
    """
    terms, ends = query_terms(question), _ends(question)
    if not ends:
        return terms
    close = {term for end in ends for term in query_terms(end)}
    return {term: 1.0 if term in close else _FARTHER_IN for term in terms}


def aspects(question: str) -> tuple[str, ...]:
    """Return the sentences of a question, if there are a few that say something; else nothing.

    Of more than two, those that do not ask are left out, if others do. Of a text that was
    ``shortened`` these are its very beginning and its very end.

    Example:
        >>> aspects("Where does Ann live? And which car does she drive?")
        ('Where does Ann live?', 'And which car does she drive?')
        >>> aspects("Where does Ann live?")
        ()
    """
    if ends := _ends(question):
        return ends
    telling = [one for one in _sentences(question) if len(count_terms(one)) >= _FEWEST_TERMS]
    if len(telling) <= 1:
        return ()
    asked = [one for one in telling if _asks(one)] if len(telling) > _LEADING_UP else []
    chosen = asked[-MOST:] or telling
    return tuple(chosen) if len(chosen) <= MOST else ()


def asking(question: str) -> str:
    """Return the sentences that ask, or everything if none does: what leads up to them asks not.

    Example:
        >>> asking("I watched a film yesterday. Who went to Rome last May?")
        'Who went to Rome last May?'
    """
    return " ".join(filter(_asks, _sentences(question))) or question


def _asks(sentence: str) -> bool:
    return sentence[-1] in "?？"


def _sentences(text: str) -> list[str]:
    found = (match.group().strip() for match in _SENTENCE.finditer(text))
    return [sentence for sentence in found if sentence]


def _ends(question: str) -> tuple[str, ...]:
    before, cut, after = question.partition(_LEFT_OUT)
    return (_first(before, _END), _last(after, _END)) if cut else ()


def _first(text: str, most: int) -> str:
    """Return the beginning of a text, up to the last sentence or word that fits."""
    part = text[: 4 * most]
    while tokens(part) > most:
        part = part[: len(part) * 7 // 8]
    if len(part) == len(text):
        return part
    ends = [match.end() for match in _BREAK.finditer(part)] or [part.rfind(" ")]
    return part[: ends[-1] if 2 * ends[-1] > len(part) else None].rstrip()


def _last(text: str, most: int) -> str:
    """Return the end of a text, from the first sentence or word on that fits."""
    part = text[-4 * most :]
    while tokens(part) > most:
        part = part[len(part) // 8 or 1 :]
    if len(part) == len(text):
        return part
    starts = [match.end() for match in _BREAK.finditer(part)] or [part.find(" ") + 1]
    return part[starts[0] if 2 * starts[0] < len(part) else 0 :].lstrip()
