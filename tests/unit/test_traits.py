from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pytest

from memos.dates import Span, spans
from memos.relevance import timeliness
from memos.traits import NO_DAY, Cue, cues, traits
from memos.types import Memory, Place


def day(text: str) -> int:
    return date.fromisoformat(text).toordinal()


@pytest.mark.parametrize(
    ("text", "marks"),
    [
        ("The weather is nice", 0),
        ("I sold the boat", Cue.PERSONAL),
        ("I can't stand loud restaurants", Cue.PERSONAL | Cue.PREFERENCE),
        ("My favourite tea is oolong", Cue.PERSONAL | Cue.PREFERENCE),
        ("People like tea", 0),
        ("It costs 12 euros", Cue.CONCRETE),
        ("See you on Friday", Cue.CONCRETE),
        ("我卖了船", Cue.PERSONAL),
        ("我不喜欢吵闹的餐厅", Cue.PERSONAL | Cue.PREFERENCE),
        ("去年买的", Cue.CONCRETE),
        ("", 0),
    ],
)
def test_cues(text: str, marks: int) -> None:
    assert cues(text) == marks


def memory(text: str, at: datetime | None) -> Memory:
    return Memory(id="m", kind="turn", text=text, place=Place("a", "c"), valid_from=at)


def test_days_are_those_of_the_speaker() -> None:
    late = datetime(2024, 5, 1, 23, 30, tzinfo=timezone(timedelta(hours=9)))
    told = traits(memory("I went to the sea yesterday.", late))
    assert told == (Cue.PERSONAL | Cue.CONCRETE, day("2024-05-01"), *[day("2024-04-30")] * 2)
    assert traits(memory("It rains.", late))[1:] == (day("2024-05-01"), NO_DAY, NO_DAY)
    assert traits(memory("I went to the sea yesterday.", None))[1:] == (NO_DAY,) * 3
    in_may = traits(memory("We married in June.", datetime(2024, 5, 1, tzinfo=UTC)))
    assert in_may[2:] == (day("2024-06-01"), day("2024-06-30"))


@pytest.mark.parametrize(
    "text",
    [
        "LAST NIGHT I slept", "two days before May 3rd", "the first week of June", "三天前",
        "a year ago", "in the winter of 2021", "on Monday, I think", "the past two weeks",
        "去年三月, in May", "in \u017fummer, not in winter", "K\u00f6ln 2023-05-07", "this or that",
    ],
)  # fmt: skip
def test_a_memory_speaks_of_the_days_that_its_text_means(text: str) -> None:
    at = datetime(2024, 5, 1, tzinfo=UTC)
    first = next(iter(spans(text, at.date())), (NO_DAY, NO_DAY))
    assert traits(memory(text, at))[2:] == first[:2]


def test_timeliness_is_of_what_was_said_then_or_speaks_of_it() -> None:
    asked = Span(day("2024-05-10"), day("2024-05-10"))
    said = ["2024-05-10", "2024-05-12", "2024-05-09", "2024-08-01", "2024-08-01", "2024-05-09"]
    begins = [None, None, None, "2024-05-10", "2024-05-01", "2024-05-11"]
    ends = [None, None, None, "2024-05-10", "2024-05-31", "2024-05-12"]
    days = [
        np.array([NO_DAY if one is None else day(one) for one in many], np.int32)
        for many in (said, begins, ends)
    ]
    close = timeliness([asked], *days)
    assert close[0] == close[3] == 1
    assert 0.3 < close[1] < 0.5
    assert close[2] == close[5] == 0
    assert close[4] == pytest.approx(1 / 31, abs=1e-4)
    nowhere = [np.array([NO_DAY], np.int32)] * 3
    assert timeliness([asked], *nowhere)[0] == 0
