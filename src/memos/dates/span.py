"""Days on end, and arithmetic with them. Pure."""

from __future__ import annotations

from calendar import monthrange
from datetime import date
from typing import Final, NamedTuple

LENGTHS: Final = {"day": 1, "week": 7, "weekend": 7, "month": 31, "year": 366}
"""Days of a unit."""
_ABOUT: Final = {"week": 3, "weekend": 3, "month": 15, "year": 182}
"""How many days off "two weeks before" may be: who counts in weeks does not mean the very day."""
FIRST_YEAR: Final = 1900
LAST_YEAR: Final = 2999
_DECEMBER: Final = 12
_EARLIEST: Final = date(FIRST_YEAR, 1, 1).toordinal()


class Span(NamedTuple):
    """Some days on end.

    Attributes:
        first: The first of them, counted from the year 1 (``date.toordinal``).
        last: The last of them.
        yearly: No year was named: the same days of an earlier year may be meant.
    """

    first: int
    last: int
    yearly: bool = False

    def by(self, newest: int) -> Span:
        """Return the latest such days that begin by ``newest``, if the year is free to choose."""
        if not self.yearly or self.first <= newest or newest < _EARLIEST:
            return self
        first = date.fromordinal(self.first)
        moved = in_year(first, date.fromordinal(newest).year)
        if moved.toordinal() > newest:
            moved = in_year(first, moved.year - 1)
        return Span(moved.toordinal(), moved.toordinal() + self.last - self.first)

    def moved(self, days: int) -> Span:
        """Return the span so many days later."""
        return Span(self.first + days, self.last + days, self.yearly)


def in_year(day: date, year: int) -> date:
    """Return the same day of another year; 29 February may become the 28th."""
    return day.replace(year=year, day=min(day.day, monthrange(year, day.month)[1]))


def of_day(year: int, month: int, day: int, *, yearly: bool = False) -> Span | None:
    """Return one day, None if there is none such."""
    if not (FIRST_YEAR <= year <= LAST_YEAR and 1 <= month <= _DECEMBER):
        return None
    if not 1 <= day <= monthrange(year, month)[1]:
        return None
    number = date(year, month, day).toordinal()
    return Span(number, number, yearly)


def of_months(year: int, month: int, count: int = 1, *, yearly: bool = False) -> Span | None:
    """Return ``count`` months from one on; the month may lie outside 1 to 12."""
    year, month = year + (month - 1) // 12, (month - 1) % 12 + 1
    after, end = year + (month - 1 + count) // 12, (month - 1 + count) % 12 + 1
    if not (year >= FIRST_YEAR and after <= LAST_YEAR):
        return None
    last = date(after, end, 1).toordinal() - 1
    return Span(date(year, month, 1).toordinal(), last, yearly)


def week_of(day: date, weeks: int = 0) -> Span:
    """Return the week, from Monday on, of a day or some weeks from it."""
    monday = day.toordinal() - day.weekday() + 7 * weeks
    return Span(monday, monday + 6)


def back(day: date, unit: str, count: int) -> Span | None:
    """Return what lies ``count`` units before a day: that day, week, month or year, roughly."""
    match unit:
        case "day":
            span = Span(day.toordinal() - count, day.toordinal() - count)
        case "week":
            middle = day.toordinal() - 7 * count
            span = Span(middle - 3, middle + 3)
        case "weekend":
            span = weekend(week_of(day, -count))
        case "month":
            return of_months(day.year, day.month - count)
        case _:
            return of_months(day.year - count, 1, 12)
    return span if span.first > 0 else None


def weekend(week: Span) -> Span:
    """Return Saturday and Sunday of a week."""
    return Span(week.first + 5, week.last)


def next_to(anchor: Span, sign: int, unit: str, count: int | None) -> Span:
    """Return what lies ``count`` units before (-1) or after (1) some days, roughly.

    Without a count, the one right beside them: "the week before", "the day after".
    """
    if count is not None:
        moved, about = anchor.moved(sign * LENGTHS[unit] * count), _ABOUT.get(unit, 0)
        return Span(moved.first - about, moved.last + about, anchor.yearly)
    if unit == "weekend":
        found = weekend(week_of(date.fromordinal(anchor.first), min(sign, 0)))
        return Span(found.first, found.last, anchor.yearly)
    if sign < 0:
        return Span(anchor.first - LENGTHS[unit], anchor.first - 1, anchor.yearly)
    return Span(anchor.last + 1, anchor.last + LENGTHS[unit], anchor.yearly)
