"""Days beside one that has to be looked up: "two weeks before my birthday", "婚礼之后的第二天".

The expression alone gives no days: somebody has to know when the birthday is. What is read here are
the words under which that day may be remembered, and what is to be done with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from typing import Final, NamedTuple

from memos.dates import chinese, english
from memos.dates.expressions import FURTHEST, compiled, spans
from memos.dates.span import FIRST_YEAR, LAST_YEAR, Span, in_year, next_to


class Beside(NamedTuple):
    """Some days before or after a day that is to be looked up.

    Attributes:
        anchor: The words of the event on that day, without articles: "Ann's wedding", "小明 婚礼".
        mine: It is one of who asks.
        yearly: It comes back every year.
        year: The year that is named, or None.
        phrase: The whole expression.
        rest: What else the text says, without the sentence of the expression.
        sign: -1 before the event, 1 after it.
        unit: "day", "week", "weekend", "month" or "year".
        number: How many of these; None: the one right beside it.
    """

    anchor: str
    mine: bool
    yearly: bool
    year: int | None
    phrase: str
    rest: str
    sign: int
    unit: str
    number: int | None

    def of(self, event: Span, day: date) -> Span | None:
        """Return the days that are meant, given those of the event, seen from ``day``.

        Of what comes back every year that is the time nearest to ``day``, or that of the year that
        is named. None: the event is of another year than the one that is named, or there is none.
        """
        if not FIRST_YEAR < day.year < LAST_YEAR:
            return None
        if self.yearly:
            years = [self.year] if self.year else [day.year + more for more in (-1, 0, 1)]
            events = [_in_year(event, year) for year in years]
        else:
            events = [] if self.year and self.year != _year_of(event) else [event]
        found = [next_to(one, self.sign, self.unit, self.number) for one in events]
        found = [span for span in found if span.first > 0]
        nearest = min(found, key=lambda span: abs(span.first - day.toordinal()), default=None)
        if nearest is None:
            return None
        return Span(nearest.first, nearest.last, yearly=self.yearly and self.year is None)


def anchored(text: str, day: date) -> Beside | None:
    """Return the first such expression of a text, None where it has none.

    Days that can be told without looking anything up ("the week before Christmas") are none.

    Example:
        >>> found = anchored("What did I buy two weeks before my birthday?", date(2024, 5, 15))
        >>> found.anchor, found.unit, found.number
        ('birthday', 'week', 2)
    """
    text = text[:FURTHEST]
    if not _MAY.search(text):
        return None
    for start, read in _found(text):
        if read.anchor and not spans(f"on {read.anchor}", day):
            sentence = next(match for match in _SENTENCE.finditer(text) if match.end() > start)
            named = _YEAR.search(sentence.group())
            return read._replace(
                year=None if named is None else int(named.group()),
                rest=text[: sentence.start()] + text[sentence.end() :],
            )
    return None


_MAY: Final = re.compile(r"\b(?:before|after)\b|[前后]", re.IGNORECASE)
_SENTENCE: Final = re.compile(r"[^.?!。？！\n]*(?:[.?!。？！\n]+|$)")
_YEAR: Final = re.compile(r"(?<![-/.\d])(?:19|20)\d\d(?![-/.\d])")
_YEARLY: Final = re.compile(r"birthday|anniversary|生日|纪念日", re.IGNORECASE)

_UNIT: Final = r"(?P<unit>weekend|week|day|night|evening|morning|month|year)s?"
_ENGLISH: Final = (
    rf"(?i)\b(?:{english.COUNT}|the)\s+(?:of\s+)?{_UNIT}\s+(?P<side>before|after)\s+"
    r"(?P<anchor>[\w’'-]+(?:\s+[\w’'-]+){0,7})"
)
_MINE: Final = frozenset({"my", "i"})
_SKIPPED: Final = _MINE | frozenset({"our", "we", "the", "a", "an", "this", "that"})
_SOMEBODY: Final = frozenset(
    {"his", "her", "their", "your", "he", "she", "they", "you", "before", "after"}
)
"""Whose event it is, or which, would have to be known first."""
_STOP_WORDS: Final = """
in on at with for when where what who which how why did do does was were is are am has have
had will would should can could and or but from by until since last next here there i we he she
they you
"""
_STOPS: Final = frozenset(_STOP_WORDS.split())
_MOST_WORDS: Final = 5

_SIDE: Final = r"(?P<side>[以之]?[前后])"
_EVENT: Final = (
    r"(?:生日|纪念日|[婚典葬丧]礼|结婚|订婚|毕业|[考面笔]试|手术|比赛|[会聚晚宴]会|会议|开会|婚宴|聚餐"
    r"|派对|旅行|旅游|出差|搬家|入职|离职|开学|出生|节|假期|仪式|活动|演出|演唱会|展览)"
)
_OUTSIDE: Final = "在于从是了得问年"
"""What an event hardly has in its name, and what stands before it."""
_HAN: Final = rf"(?:(?![{_OUTSIDE}])[\u4e00-\u9fffA-Za-z·])"
_BEFORE_IT: Final = rf"(?:(?<![\u4e00-\u9fffA-Za-z])|(?<=[{_OUTSIDE}]))"
_CHINESE: Final = tuple(
    _BEFORE_IT + pattern
    for pattern in (
        # 我生日前两周, 婚礼后第二天
        rf"(?P<anchor>{_HAN}{{0,8}}?{_EVENT})的?{_SIDE}的?{chinese.COUNT}",
        # 回国之后的第三天
        rf"(?P<anchor>{_HAN}{{2,10}}?)(?P<side>[以之][前后])的?{chinese.COUNT}",
        # 我生日的两周前
        rf"(?P<anchor>{_HAN}{{0,8}}?{_EVENT})的?{chinese.COUNT}{_SIDE}",
    )
)
_HAN_PARTS: Final = rf"(?P<who>.*?)的?(?P<event>(?!节$){_EVENT})$"
_HAN_MINE: Final = re.compile(r"^(?:我们?|咱们?)的?")


def _found(text: str) -> Iterator[tuple[int, Beside]]:
    for match in compiled(_ENGLISH).finditer(text):
        mine, anchor, end = _named(match["anchor"])
        unit = match["unit"].lower()
        number = None if match["count"] is None else english.number(match["count"])
        sign = -1 if match["side"].lower() == "before" else 1
        unit = "day" if unit in ("night", "evening", "morning") else unit
        phrase = text[match.start() : match.start("anchor") + end]
        yield (
            match.start(),
            Beside(anchor, mine, _yearly(anchor), None, phrase, "", sign, unit, number),
        )
    if text.isascii():
        return
    for match in (match for pattern in _CHINESE for match in compiled(pattern).finditer(text)):
        mine, anchor = _named_in_chinese(match["anchor"])
        sign = -1 if match["side"].endswith("前") else 1
        unit, number = chinese.counted(match)
        phrase = match.group()
        yield (
            match.start(),
            Beside(anchor, mine, _yearly(anchor), None, phrase, "", sign, unit, number),
        )


def _yearly(anchor: str) -> bool:
    return _YEARLY.search(anchor) is not None


def _named_in_chinese(words: str) -> tuple[bool, str]:
    """Return whether the event is one of who asks, and its words: whose it is, and what."""
    if words[0] in "他她它你您":
        return False, ""
    mine = _HAN_MINE.match(words)
    anchor = words[mine.end() :] if mine else words
    if parts := compiled(_HAN_PARTS).match(anchor):
        anchor = f"{parts['who']} {parts['event']}".strip()
    return mine is not None, anchor


def _named(words: str) -> tuple[bool, str, int]:
    """Return whether the event is one of who asks, its words, and where something else begins.

    Years are no words of it: they say which one is meant.
    """
    mine, end = False, 0
    kept: list[str] = []
    for match in re.finditer(r"\S+", words):
        low = match.group().lower()
        if low in (_STOPS if kept else ()) or len(kept) == _MOST_WORDS:
            break
        if low in _SOMEBODY:
            return False, "", end
        if low in _SKIPPED:
            mine |= low in _MINE
        elif not _YEAR.fullmatch(low):
            kept.append(match.group())
        end = match.end()
    return mine, " ".join(kept), end


def _in_year(event: Span, year: int) -> Span:
    first = in_year(date.fromordinal(event.first), year).toordinal()
    return Span(first, first + event.last - event.first)


def _year_of(event: Span) -> int:
    return date.fromordinal(event.first).year
