"""Chinese expressions of time."""

from __future__ import annotations

import re
from datetime import date
from typing import Final

from memos.dates.rule import Meaning, Rule
from memos.dates.span import LENGTHS, Span, back, of_day, of_months, week_of, weekend

_DIGITS: Final = {digit: number for number, digit in enumerate("零一二三四五六七八九")} | {
    "〇": 0, "两": 2, "几": 3,
}  # fmt: skip
_YEARS: Final = {"前": -2, "去": -1, "今": 0, "本": 0, "明": 1, "后": 2}
_DAYS: Final = {"大前": -3, "前": -2, "昨": -1, "今": 0, "明": 1, "后": 2, "大后": 3}
_SEASONS: Final = {"春": 3, "夏": 6, "秋": 9, "冬": 12}
_UNITS: Final = {"天": "day", "日": "day", "周": "week", "星期": "week", "礼拜": "week",
                 "月": "month", "年": "year"}  # fmt: skip
_DECEMBER: Final = 12
_NUMBER: Final = r"\d{1,3}|[一二两三四五六七八九十]{1,3}|几"
_WEEK: Final = r"(?:周|星期|礼拜)"


def _number(text: str) -> int:
    """Return the value of digits of either kind below a hundred: 12, 十二, 二十."""
    if text.isdecimal():
        return int(text)
    tens, ten, ones = text.rpartition("十")
    if not ten:
        return _DIGITS.get(text[-1:], 0)
    return 10 * (_DIGITS.get(tens, 0) if tens else 1) + (_DIGITS.get(ones, 0) if ones else 0)


def counted(match: re.Match[str]) -> tuple[str, int | None]:
    """Return the unit and how many of it lie between, as ``COUNT`` finds them; None: none."""
    if match["one"] is not None:
        return _UNITS[match["one"]], None
    count = _number(match["count"])
    # The second day is the next one: that of the event is the first.
    count -= match["which"] == "第" and count > 1
    return _UNITS[match["unit"]], None if count == 1 and match["which"] != "第" else count


def _shift(word: str) -> int:
    """Return -2 for 上上, -1 for 上, 0 for 这 or 本, 1 for 下."""
    return word.count("下") - word.count("上")


def _year(match: re.Match[str], day: date) -> tuple[int, bool]:
    """Return the year that is named, in digits, words or from here; or this one, and that."""
    if named := match["year"]:
        return int("".join(str(_DIGITS.get(digit, digit)) for digit in named)), False
    which = match["which"]
    return (day.year, True) if which is None else (day.year + _YEARS[which], False)


def _calendar(match: re.Match[str], day: date) -> Span | None:
    year, free = _year(match, day)
    month = _number(match["month"])
    if match["day"] is not None:
        return of_day(year, month, _number(match["day"]), yearly=free)
    return of_months(year, month, yearly=free) if 1 <= month <= _DECEMBER else None


def _whole_year(match: re.Match[str], day: date) -> Span | None:
    return of_months(_year(match, day)[0], 1, 12)


def _season(match: re.Match[str], day: date) -> Span | None:
    return of_months(day.year + _YEARS[match["which"]], _SEASONS[match["season"]], 3)


def _month(match: re.Match[str], day: date) -> Span | None:
    whole = of_months(day.year, day.month + _shift(match["shift"]))
    if whole is None or match["day"] is None:
        return whole
    first = date.fromordinal(whole.first)
    return of_day(first.year, first.month, _number(match["day"]))


def _week(match: re.Match[str], day: date) -> Span | None:
    week, which = week_of(day, _shift(match["shift"])), match["day"]
    if which is None:
        return week
    if which == "末":
        return weekend(week)
    number = week.first + (6 if which in "日天" else _number(which) - 1)
    return Span(number, number) if number <= week.last else None


def _weekday(match: re.Match[str], day: date) -> Span | None:
    """Return the last such day, today included."""
    which = match["day"]
    if which == "末":
        return weekend(week_of(day))
    wanted = 6 if which in "日天" else _number(which) - 1
    number = day.toordinal() - (day.weekday() - wanted) % 7
    return Span(number, number)


def _ago(match: re.Match[str], day: date) -> Span | None:
    count = _number(match["count"]) * (1 if match["side"].endswith("前") else -1)
    return back(day, _UNITS[match["unit"]], count)


def _since(match: re.Match[str], day: date) -> Span | None:
    first = day.toordinal() - LENGTHS[_UNITS[match["unit"]]] * _number(match["count"])
    return Span(first, day.toordinal()) if first > 0 else None


def _near(match: re.Match[str], day: date) -> Span | None:
    number = day.toordinal() + _DAYS[match["which"]]
    return Span(number, number)


def _rule(hint: str, pattern: str, means: Meaning) -> Rule:
    return Rule(frozenset({hint}), pattern, means)


_HINTS: Final = re.compile(
    r"(?P<month>月)|(?P<year>年)|(?P<week>周|星期|礼拜)|(?P<near>[前昨今明后][天日晚早])"
    r"|(?P<ago>[前后])|(?P<past>最近|过去|近)"
)
"""Words without which a rule of that hint cannot match."""


def hints(text: str) -> frozenset[str]:
    """Return what rules ask of a text."""
    return frozenset(match.lastgroup or "" for match in _HINTS.finditer(text))


_UNIT: Final = r"(?P<unit>天|日|周|星期|礼拜|月|年)"
COUNT: Final = rf"(?:(?P<which>第|那)?(?P<count>{_NUMBER})个?{_UNIT}|那(?P<one>天|周))"
"""So many units, the so-and-so-many-th, or the one: 两周, 第二天, 那一周."""
_YEAR: Final = (
    r"(?:(?P<year>(?:19|20)\d\d|[一二][零〇一二三四五六七八九]{3})年|(?P<which>[前去今本明后])年)"
)
CHINESE: Final = (
    _rule(
        "month", rf"{_YEAR}?的?(?P<month>{_NUMBER})月(?:份|(?P<day>{_NUMBER})[日号]?)?", _calendar
    ),
    _rule("year", r"(?P<which>[前去今本明后])年的?(?P<season>[春夏秋冬])[天季]?", _season),
    _rule("year", _YEAR, _whole_year),
    _rule(
        "month", rf"(?P<shift>上上|下下|上|下|这|本)个?月的?(?:(?P<day>{_NUMBER})[日号])?", _month
    ),
    _rule(
        "week", rf"(?P<shift>上上|下下|上|下|这|本)个?{_WEEK}(?P<day>[一二三四五六日天末])?", _week
    ),
    _rule("ago", rf"(?P<count>{_NUMBER})个?{_UNIT}(?P<side>[以之]?[前后])", _ago),
    _rule("past", rf"(?:最近|过去|近)的?(?P<count>{_NUMBER})个?{_UNIT}", _since),
    _rule("near", r"(?P<which>大前|大后|前|昨|今|明|后)[天日晚早]", _near),
    _rule("week", rf"{_WEEK}(?P<day>[一二三四五六日天末])", _weekday),
)
