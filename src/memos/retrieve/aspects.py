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
    sentences = (found.group().strip() for found in _SENTENCE.finditer(question))
    telling = tuple(one for one in sentences if len(count_terms(one)) >= _FEWEST_TERMS)
    return telling if 1 < len(telling) <= MOST else ()
