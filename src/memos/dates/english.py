"""English expressions of time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Final

from memos.dates.rule import Meaning, Rule
from memos.dates.span import LENGTHS, Span, back, next_to, of_day, of_months, week_of, weekend

_MONTHS: Final = {
    name: number
    for number, names in enumerate(
        ("january jan", "february feb", "march mar", "april apr", "may", "june jun", "july jul",
         "august aug", "september sept sep", "october oct", "november nov", "december dec"), 1)
    for name in names.split()
}  # fmt: skip
_DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_SEASONS: Final = {"spring": 3, "summer": 6, "autumn": 9, "fall": 9, "winter": 12}
_FEASTS: Final = {"christmas": (12, 25), "halloween": (10, 31), "valentine": (2, 14)}
_NUMBERS: Final = {
    word: number
    for number, words in enumerate(
        ("a an one first", "two second couple", "three third few several", "four fourth",
         "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"), 1)
    for word in words.split()
}  # fmt: skip
_SHIFT: Final = {"last": -1, "past": -1, "previous": -1, "this": 0, "next": 1, "coming": 1}
_NEAR: Final = {"yesterday": -1, "last night": -1, "today": 0, "tonight": 0, "tomorrow": 1}


def _either(words: Iterable[str]) -> str:
    return "|".join(sorted(words, key=len, reverse=True))


_DIGIT: Final = re.compile(r"\d")
_FOUR_DIGITS: Final = re.compile(r"(?<![0-9])(?:19|20)[0-9]{2}(?![0-9])")
_MONTH: Final = rf"(?P<month>{_either(_MONTHS)})\b\.?"
_YEAR: Final = r"(?P<year>(?:19|20)\d\d)\b"
_DAY: Final = r"(?P<day>\d\d?)(?:st|nd|rd|th)?\b"
COUNT: Final = rf"(?P<count>\d{{1,3}}|{_either(_NUMBERS)})"
_UNIT: Final = r"(?P<unit>weekend|week|day|month|year)s?"


def number(word: str) -> int:
    """Return the value of a number in digits or words, as ``COUNT`` finds it."""
    return int(word) if word.isdecimal() else _NUMBERS[word.lower()]


def _year(match: re.Match[str], day: date) -> tuple[int, bool]:
    """Return the year that is named, or this one and that it is free."""
    named = match.groupdict().get("year")
    return (day.year, True) if named is None else (int(named), False)


def _date(match: re.Match[str], day: date) -> Span | None:
    year, free = _year(match, day)
    month = match["month"]
    number = int(month) if month.isdecimal() else _MONTHS[month]
    return of_day(year, number, int(match["day"]), yearly=free)


def _whole_month(match: re.Match[str], day: date) -> Span | None:
    year, free = _year(match, day)
    month = match["month"]
    number = int(month) if month.isdecimal() else _MONTHS[month]
    return of_months(year, number, yearly=free)


def _whole_year(match: re.Match[str], day: date) -> Span | None:
    del day
    return of_months(int(match["year"]), 1, 12)


def _feast(match: re.Match[str], day: date) -> Span | None:
    year, free = _year(match, day)
    return of_day(year, *_FEASTS[match["feast"]], yearly=free)


def _season(match: re.Match[str], day: date) -> Span | None:
    year, free = _year(match, day)
    return of_months(year, _SEASONS[match["season"]], 3, yearly=free)


def _week_of_month(match: re.Match[str], day: date) -> Span | None:
    whole = _whole_month(match, day)
    if whole is None:
        return None
    first = date.fromordinal(whole.first)
    if match["unit"].startswith("weekend"):
        weeks = [weekend(week_of(first, n)) for n in range(-1, 6)]
        inside = [week for week in weeks if whole.first <= week.first <= whole.last]
    else:
        starts = range(whole.first, whole.last + 1, 7)
        inside = [Span(start, min(start + 6, whole.last)) for start in starts]
    which = match["which"]
    number = -1 if which == "last" else _NUMBERS[which] - 1
    found = inside[number] if number < len(inside) else None
    return None if found is None else Span(found.first, found.last, whole.yearly)


def _beside(anchor: Meaning) -> Meaning:
    """Return what so many days, weeks, ... before or after a date means."""

    def means(match: re.Match[str], day: date) -> Span | None:
        found = anchor(match, day)
        return None if found is None else _next_to(found, match)

    return means


def _next_to(anchor: Span, match: re.Match[str]) -> Span:
    sign = -1 if match["side"] == "before" else 1
    count = None if match["count"] is None else number(match["count"])
    return next_to(anchor, sign, match["unit"], count)


def _ago(match: re.Match[str], day: date) -> Span | None:
    return back(day, match["unit"], number(match["count"]))


def _since(match: re.Match[str], day: date) -> Span | None:
    """Return the days up to now: "the past three weeks"."""
    first = day.toordinal() - LENGTHS[match["unit"]] * number(match["count"])
    return Span(first, day.toordinal()) if first > 0 else None


def _relative(match: re.Match[str], day: date) -> Span | None:
    shift, what = _SHIFT[match["shift"]], match["what"]
    if what in _DAYS:
        return _weekday(day, _DAYS.index(what), shift)
    if what in _MONTHS:
        return _named(day, _MONTHS[what], 1, shift)
    if what in _SEASONS:
        return _named(day, _SEASONS[what], 3, shift)
    if what == "week":
        return week_of(day, shift)
    if what == "weekend":
        # On a Saturday or Sunday the last one is the one before it.
        return weekend(week_of(day, shift))
    return back(day, what, -shift)


def _weekday(day: date, wanted: int, shift: int) -> Span:
    """Return the last such day before today, the next one after it, or that of this week."""
    ahead = (wanted - day.weekday()) % 7
    if shift < 0:
        number = day.toordinal() + ahead - 7
    elif shift > 0:
        number = day.toordinal() + (ahead or 7)
    else:
        number = week_of(day).first + wanted
    return Span(number, number)


def _named(day: date, month: int, count: int, shift: int) -> Span | None:
    """Return a month or season: the last one that is over, the next to begin, or this year's."""
    span = of_months(day.year, month, count)
    if span is None:
        return None
    if shift < 0 and span.last >= day.toordinal():
        return of_months(day.year - 1, month, count)
    if shift > 0 and span.first <= day.toordinal():
        return of_months(day.year + 1, month, count)
    return span


def _near(match: re.Match[str], day: date) -> Span | None:
    words = " ".join(match.group().split())
    number = day.toordinal() + (-2 if words.startswith("the day before") else _NEAR[words])
    return Span(number, number)


def _on_weekday(match: re.Match[str], day: date) -> Span | None:
    return _weekday(day, _DAYS.index(match["what"]), -1)


def _rule(hints: str, pattern: str, means: Meaning) -> Rule:
    return Rule(frozenset(hints.split()), pattern.replace(" ", r"\s+"), means)


def _beside_of(rule: Rule) -> Rule:
    pattern = (_BESIDE + rule.pattern).replace(" ", r"\s+")
    return Rule(rule.hints | {"side"}, pattern, _beside(rule.means))


_FIRST_HINTS: Final[Mapping[str, frozenset[str]]] = {
    "month": frozenset(_MONTHS),
    "day": frozenset(_DAYS),
    "feast": frozenset(_FEASTS),
    "season": frozenset(_SEASONS),
    "shift": frozenset(_SHIFT),
    "near": frozenset({"yesterday", "today", "tonight", "tomorrow"}),
    "ago": frozenset({"ago", "back"}),
}
_MORE_HINTS: Final[Mapping[str, frozenset[str]]] = {
    "week": frozenset({"week", "weekend"}),
    "unit": frozenset(unit + ending for unit in LENGTHS for ending in ("", "s")),
    "side": frozenset({"before", "after"}),
    "night": frozenset({"night"}),
    "shifted": frozenset({*LENGTHS, *_DAYS, *_SEASONS, *_MONTHS} - {"day"}),
    "when": frozenset(["in", "during", "since", "until", "by", "of", "early", "late", "mid"]),
}
_HINTS: Final[Mapping[str, frozenset[str]]] = {
    word: frozenset(hint for hint, some in hints.items() if word in some)
    for hints in [{**_FIRST_HINTS, **_MORE_HINTS}]
    for word in frozenset[str]().union(*hints.values())
}
"""Word -> the hints that it gives: what has to be in a text for a rule to match."""
DATING: Final = frozenset[str]().union(*_FIRST_HINTS.values())
"""A text with none of these words, and no digit, speaks of no day."""
HINTING: Final = frozenset(_HINTS)
"""The words that hints are made of."""


def hints(text: str, words: Iterable[str]) -> frozenset[str]:
    """Return what rules ask of a text, given its words, or those of them in ``HINTING``."""
    found = {hint for word in words for hint in _HINTS.get(word, ())}
    if _DIGIT.search(text):
        found.add("digit")
        if _FOUR_DIGITS.search(text):
            found.add("year")
    return frozenset(found)


_DATES: Final = (
    _rule("year", rf"\b{_YEAR}[-/.](?P<month>\d\d?)[-/.](?P<day>\d\d?)(?!\d)", _date),
    _rule("month digit", rf"\b{_MONTH} {_DAY}(?:,? {_YEAR})?", _date),
    _rule("month digit", rf"\b{_DAY} (?:of )?{_MONTH}(?:,? {_YEAR})?", _date),
    _rule("month digit", rf"\b{_MONTH},? (?:of )?{_YEAR}", _whole_month),
    _rule("feast", rf"\b(?P<feast>{_either(_FEASTS)})(?:'s day| day| eve)?(?: {_YEAR})?\b", _feast),
)
_BESIDE: Final = rf"\b(?:{COUNT}|the) (?:of )?{_UNIT} (?P<side>before|after) "
ENGLISH: Final = (
    _rule(
        "month week",
        rf"\b(?P<which>{_either(_NUMBERS)}|last) (?P<unit>week|weekend) (?:of|in) {_MONTH}"
        rf"(?:,? {_YEAR})?",
        _week_of_month,
    ),
    *(_beside_of(rule) for rule in _DATES),
    *_DATES,
    _rule("ago unit", rf"\b{COUNT} (?:of )?{_UNIT} (?:ago|back)\b", _ago),
    _rule("shift unit", rf"\b(?:past|last|previous) {COUNT} {_UNIT}\b", _since),
    _rule("near", r"\bthe day before yesterday\b|\byesterday\b|\bto(?:day|night|morrow)\b", _near),
    _rule("shift night", r"\blast night\b", _near),
    _rule(
        "shift shifted",
        rf"\b(?P<shift>{_either(_SHIFT)}) "
        rf"(?P<what>week|weekend|month|year|{_either((*_DAYS, *_SEASONS, *_MONTHS))})\b",
        _relative,
    ),
    _rule(
        "month when",
        rf"\b(?:in|during|since|until|by|of|early|late|mid)(?: |-)(?:the )?{_MONTH}(?! \d)",
        _whole_month,
    ),
    _rule(
        "season when",
        rf"\b(?:in|during) (?:the )?(?P<season>{_either(_SEASONS)})(?:,? (?:of )?{_YEAR})?\b",
        _season,
    ),
    _rule("year", rf"\b(?:in|during|since|until|by|of) {_YEAR}(?!-)", _whole_year),
    _rule("day", rf"\bon (?P<what>{_either(_DAYS)})\b", _on_weekday),
)
