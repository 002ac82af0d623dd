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
        hint: The kind of word that has to be in the text.
        pattern: What is looked for, in any case; compiled with its first use.
        means: Which days a match means, seen from a day; None: none.
    """

    hint: str
    pattern: str
    means: Meaning
