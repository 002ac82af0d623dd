"""A question of several sentences asks several things. Pure."""

from __future__ import annotations

import re
from typing import Final

from memos.analysis import count_terms

MOST: Final = 4
"""Of more sentences none is a question of its own: that is a text."""
_LEADING_UP: Final = 2
"""In so few sentences one may say what the other asks about; more of them ramble."""
_SENTENCE: Final = re.compile(r"(?:[^.?!。？！；\n]|[.](?=\S))+[.?!。？！；\n]*")
_FEWEST_TERMS: Final = 2


def aspects(question: str) -> tuple[str, ...]:
    """Return the sentences of a question, if there are a few that say something; else nothing.

    Of more than two, those that do not ask are left out, if others do.

    Example:
        >>> aspects("Where does Ann live? And which car does she drive?")
        ('Where does Ann live?', 'And which car does she drive?')
        >>> aspects("Where does Ann live?")
        ()
    """
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
