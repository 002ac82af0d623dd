"""What a rule is."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from typing import NamedTuple

from memos.dates.span import Span

Meaning = Callable[["re.Match[str]", date], Span | None]


class Rule(NamedTuple):
    """How an expression of time looks, and what it means.

    Attributes:
        hints: The kinds of words that have to be in the text, each of them.
        pattern: What is looked for in the lower text; compiled with its first use.
        means: Which days a match means, seen from a day; None: none.
    """

    hints: frozenset[str]
    pattern: str
    means: Meaning
