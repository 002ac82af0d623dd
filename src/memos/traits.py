"""What is told of a memory beside its words and its meaning, for ranking. Pure.

Some of what is said tells more about its speaker than the rest: who says "I" speaks of themselves,
who says what they like tells it to be remembered, and times and numbers make a statement a fact.
These are *cues*, found by rules in English and Chinese. With them go the days: when it was said,
and which days it speaks of, seen from then ("I went yesterday").
"""

from __future__ import annotations

import re
from datetime import date
from enum import IntFlag
from typing import Final, NamedTuple

from memos.dates import DATING, HINTING, spoken
from memos.types import Memory

NO_DAY: Final = 0
"""Instead of a day that nobody named."""


class Cue(IntFlag):
    """Marks of a text."""

    PERSONAL = 1
    """It speaks in the first person."""
    PREFERENCE = 2
    """It says what somebody likes, avoids or is used to."""
    CONCRETE = 4
    """It names a time or a number."""


_PERSONAL: Final = Cue.PERSONAL.value
_PREFERENCE: Final = Cue.PREFERENCE.value
_CONCRETE: Final = Cue.CONCRETE.value


class Traits(NamedTuple):
    """Cues and days of a memory; days count from the year 1, 0 is none.

    Attributes:
        cues: The marks of its text.
        said: The day from which it holds: when it was said.
        begins: The first day that its text speaks of, seen from then, or else from when it came.
        ends: The last of these days.
    """

    cues: int
    said: int
    begins: int
    ends: int


_WORD: Final = re.compile(r"[a-z]+")
_SPACED: Final = bytes(c if chr(c).isalpha() else 32 for c in range(128)).lower() + bytes(128)
"""What makes ASCII text a row of lower words between spaces, in a tenth of a pattern's time."""
_DIGIT: Final = re.compile(r"[0-9]")
_I: Final = frozenset({"i", "me", "my", "mine", "myself"})
_LIKING_WORDS: Final = """
prefer prefers preferred preference preferences like liked love loved loves enjoy enjoyed
enjoying enjoys adore hate hated dislike disliked detest despise avoid avoided avoiding refuse
favorite favorites favourite favourites fan fond keen passionate interested into allergic
aversion averse stand rather always never value appreciate comfortable uncomfortable
"""
_LIKES: Final = frozenset(_LIKING_WORDS.split())
_MEASURING_WORDS: Final = """
one two three four five six seven eight nine ten eleven twelve dozen couple
several few yesterday today tonight tomorrow ago last next since recently just morning evening
week weeks weekend month months year years monday tuesday wednesday thursday friday saturday
sunday january february march april may june july august september october november december
jan feb mar apr jun jul aug sep sept oct nov dec christmas halloween valentine
spring summer autumn fall winter
"""
_MEASURES: Final = frozenset(_MEASURING_WORDS.split())
_TELLING: Final = _I | _LIKES | _MEASURES | HINTING
"""The words that tell anything: a text has three of them, and twenty others."""
_HAN_I: Final = re.compile(r"[我咱]")
_HAN_LIKES: Final = re.compile(
    r"喜欢|喜爱|偏好|偏爱|最爱|热爱|爱好|讨厌|不爱|宁愿|更愿意|过敏|习惯|感兴趣"
)
_HAN_MEASURES: Final = re.compile(
    r"[一二两三四五六七八九十百千万]|[昨今明]天|[上下这本]个?[周月]|[去今明前]年|星期|礼拜"
)
_LIKING: Final = re.compile(
    r"\b(?:i|my|me)\b[^.?!\n]{0,40}\b(?:prefer\w*|like[sd]?|love[sd]?|enjoy\w*"
    r"|adore|hated?|disliked?|detest|despise|avoid\w*|refuse|favou?rites?|fan of"
    r"|fond of|keen|passionate|interested in|into|allergic|avers\w+|can(?:'t|’t|not) stand"
    r"|rather|always|never|value|appreciate|(?:un)?comfortable)\b"
)


def said_on(memory: Memory) -> date | None:
    """Return the day on which it was said, where it was said."""
    return None if memory.valid_from is None else memory.valid_from.date()


def traits(memory: Memory) -> Traits:
    """Return the traits of a memory."""
    text = memory.text
    words, numbered = _telling(text), _DIGIT.search(text) is not None
    marks = _cues(text, words, numbered=numbered)
    said = said_on(memory)
    seen = said or (memory.created_at and memory.created_at.date())
    dated = seen is not None and (numbered or _may_be_dated(text, words))
    days = spoken(text, words, seen) if seen and dated else ()
    begins, ends = days[0][:2] if days else (NO_DAY, NO_DAY)
    return Traits(marks, NO_DAY if said is None else said.toordinal(), begins, ends)


def cues(text: str) -> int:
    """Return the marks of a text, as the bits of ``Cue``."""
    return _cues(text, _telling(text), numbered=_DIGIT.search(text) is not None)


def _telling(text: str) -> frozenset[str]:
    """Return those of the words of a text that tell anything."""
    if text.isascii():
        return _TELLING.intersection(text.encode().translate(_SPACED).decode().split())
    return _TELLING.intersection(_WORD.findall(text.lower()))


def _may_be_dated(text: str, words: frozenset[str]) -> bool:
    """Whether it is worth while to look for days in a text without digits."""
    han = not text.isascii() and _HAN_MEASURES.search(text) is not None
    return han or not words.isdisjoint(DATING)


def _cues(text: str, words: frozenset[str], *, numbered: bool) -> int:
    marks = 0
    if not words.isdisjoint(_I):
        marks = _PERSONAL
        if not words.isdisjoint(_LIKES) and _LIKING.search(text.lower()):
            marks |= _PREFERENCE
    if numbered or not words.isdisjoint(_MEASURES):
        marks |= _CONCRETE
    return marks if text.isascii() else marks | _han_cues(text)


def _han_cues(text: str) -> int:
    marks = _PERSONAL if _HAN_I.search(text) else 0
    if _HAN_LIKES.search(text):
        marks |= _PREFERENCE
    return marks | _CONCRETE if _HAN_MEASURES.search(text) else marks
