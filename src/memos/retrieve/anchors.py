"""When an event was that a question counts from: "two weeks before my birthday". Pure.

The memories that hold all words of the event are candidates; the best of them that speaks of a day
says when it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Final

from memos.analysis import count_terms, words
from memos.dates import Beside, Span
from memos.ports.stores import Feature, Features
from memos.traits import NO_DAY

_ONESELF: Final = ("user", "用户")
"""What others write of who speaks of themselves."""


def without(asked: Beside, text: str) -> str:
    """Return the question without the expression, or as it is where nothing else is asked.

    The memory that says when the event is holds these words, and is not what is asked for.
    """
    left = text.replace(asked.phrase, " ", 1)
    return left if words(left) else text


def terms_of(asked: Beside) -> Mapping[str, float]:
    """Return the terms under which the event may be remembered, with their weight."""
    own = dict.fromkeys(_ONESELF, 1.0) if asked.mine else {}
    return {**own, **_terms(asked.anchor)}


def meant(asked: Beside, found: Iterable[Features], day: date) -> Span | None:
    """Return the days that are meant, None if nobody said when the event is.

    Of several memories that one counts that names a single day, is of who is asked about, and has
    the least besides the words of the event.

    Args:
        asked: The expression.
        found: The candidates of each cube for ``terms_of``.
        day: The day of the question.
    """
    known = [one for part in found for one in _known(asked, part)]
    for _, first, last in sorted(known, key=lambda one: one[0], reverse=True):
        if (span := asked.of(Span(first, last), day)) is not None:
            return span
    return None


_Standing = tuple[bool, float, float]


def _known(asked: Beside, part: Features) -> list[tuple[_Standing, int, int]]:
    """Return the days of those that hold the event's words, with how well each stands."""
    wanted = [term for term in _terms(asked.anchor) if term in part.terms]
    if not wanted or part.days is None:
        return []
    rows = range(len(part.ids))
    holding = [row for row in rows if all(_holds(part, term, row) for term in wanted)]
    if asked.mine:
        holding = [row for row in holding if _of_oneself(part, row)]
    days: Sequence[tuple[int, int]] = part.days.tolist()
    return [
        ((first == last, _value(part, Feature.SPEAKER, row), _value(part, Feature.BM25, row)),
         first, last)
        for row in holding
        for first, last in [days[row]]
        if first != NO_DAY
    ]  # fmt: skip


def _terms(anchor: str) -> Mapping[str, float]:
    """Return the terms of an event; single Han characters are halves of names."""
    terms = [term for word in anchor.split() for term in count_terms(word)]
    telling = [term for term in terms if term.isascii() or len(term) > 1]
    return dict.fromkeys(telling or terms, 1.0)


def _of_oneself(part: Features, row: int) -> bool:
    first_person = _value(part, Feature.PERSONAL, row) > 0 and not _value(part, Feature.REPLY, row)
    return first_person or any(_holds(part, term, row) for term in _ONESELF)


def _holds(part: Features, term: str, row: int) -> bool:
    return term in part.words and bool(part.words[term][row])


def _value(part: Features, feature: Feature, row: int) -> float:
    column = part.columns.get(feature)
    return 0.0 if column is None else float(column[row])
