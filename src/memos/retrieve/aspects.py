"""A question of several sentences asks several things. Pure."""

from __future__ import annotations

import re
from typing import Final

from memos.analysis import count_terms

MOST: Final = 4
"""Of more sentences none is a question of its own: that is a text."""
_SENTENCE: Final = re.compile(r"(?:[^.?!。？！；\n]|[.](?=\S))+[.?!。？！；\n]*")
_FEWEST_TERMS: Final = 2


def aspects(question: str) -> tuple[str, ...]:
    """Return the sentences of a question, if there are a few that say something; else nothing.

    Example:
        >>> aspects("Where does Ann live? And which car does she drive?")
        ('Where does Ann live?', 'And which car does she drive?')
        >>> aspects("Where does Ann live?")
        ()
    """
    telling = tuple(one for one in _sentences(question) if len(count_terms(one)) >= _FEWEST_TERMS)
    return telling if 1 < len(telling) <= MOST else ()


def asking(question: str) -> str:
    """Return the sentences that ask, or everything if none does: what leads up to them asks not.

    Example:
        >>> asking("I watched a film yesterday. Who went to Rome last May?")
        'Who went to Rome last May?'
    """
    return " ".join(one for one in _sentences(question) if one[-1] in "?？") or question


def _sentences(text: str) -> list[str]:
    found = (match.group().strip() for match in _SENTENCE.finditer(text))
    return [sentence for sentence in found if sentence]
