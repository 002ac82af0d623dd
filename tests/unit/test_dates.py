from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memos.dates import Span, anchored, spans
from memos.testing import strategies as some

WEDNESDAY = date(2023, 7, 19)


def read(text: str, day: date = WEDNESDAY) -> list[str]:
    return [
        f"{date.fromordinal(first)} {date.fromordinal(last)}" for first, last, _ in spans(text, day)
    ]


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("What did we eat last Friday?", "2023-07-14 2023-07-14"),
        ("on Wednesday", "2023-07-12 2023-07-12"),
        ("next Wednesday", "2023-07-26 2023-07-26"),
        ("this Sunday", "2023-07-23 2023-07-23"),
        ("yesterday", "2023-07-18 2023-07-18"),
        ("the day before yesterday", "2023-07-17 2023-07-17"),
        ("LAST NIGHT", "2023-07-18 2023-07-18"),
        ("three days ago", "2023-07-16 2023-07-16"),
        ("2 weeks ago", "2023-07-02 2023-07-08"),
        ("a couple of months ago", "2023-05-01 2023-05-31"),
        ("the past two weeks", "2023-07-05 2023-07-19"),
        ("last week", "2023-07-10 2023-07-16"),
        ("last weekend", "2023-07-15 2023-07-16"),
        ("last month", "2023-06-01 2023-06-30"),
        ("next year", "2024-01-01 2024-12-31"),
        ("last summer", "2022-06-01 2022-08-31"),
        ("last December", "2022-12-01 2022-12-31"),
        ("in May", "2023-05-01 2023-05-31"),
        ("March 2023", "2023-03-01 2023-03-31"),
        ("in the winter of 2021", "2021-12-01 2022-02-28"),
        ("during 2021", "2021-01-01 2021-12-31"),
        ("May 7th, 2023", "2023-05-07 2023-05-07"),
        ("7 May 2023", "2023-05-07 2023-05-07"),
        ("2023-05-07", "2023-05-07 2023-05-07"),
        ("the first weekend of June 2023", "2023-06-03 2023-06-04"),
        ("the last week of June", "2023-06-29 2023-06-30"),
        ("the week before August 3, 2023", "2023-07-27 2023-08-02"),
        ("two days after 2023-05-07", "2023-05-09 2023-05-09"),
        ("a week after 3rd of May", "2023-05-07 2023-05-13"),
        ("in mid-March", "2023-03-01 2023-03-31"),
        ("two weekends back", "2023-07-08 2023-07-09"),
        ("this Tuesday,", "2023-07-18 2023-07-18"),
        ("three days before Christmas", "2023-12-22 2023-12-22"),
        ("去年三月", "2022-03-01 2022-03-31"),
        ("上个周末去哪了", "2023-07-15 2023-07-16"),
        ("上周五", "2023-07-14 2023-07-14"),
        ("上上周", "2023-07-03 2023-07-09"),
        ("下个月5号", "2023-08-05 2023-08-05"),
        ("大前天", "2023-07-16 2023-07-16"),
        ("三天前", "2023-07-16 2023-07-16"),
        ("十二天之后", "2023-07-31 2023-07-31"),
        ("两个月以前", "2023-05-01 2023-05-31"),
        ("最近三天", "2023-07-16 2023-07-19"),
        ("2023年5月7日", "2023-05-07 2023-05-07"),
        ("二〇二三年五月", "2023-05-01 2023-05-31"),
        ("在2022年", "2022-01-01 2022-12-31"),
        ("前年冬天", "2021-12-01 2022-02-28"),
        ("星期一", "2023-07-17 2023-07-17"),
        ("二十五天前", "2023-06-24 2023-06-24"),
    ],
)  # fmt: skip
def test_an_expression_means_days(text: str, days: str) -> None:
    assert read(text) == [days]


@pytest.mark.parametrize(
    "text",
    ["", "I may go", "May 32, 2023", "2023-13-01", "99999-99-99", "0000-00-00", "13月40日", "三百",
     "march on", "a second", "week", "999 years ago", "room 2023", "下", "周",
     "this summary", "last nightmare", "in \u017fummer, not winter", "5 \u0131n May5"],
)  # fmt: skip
def test_what_is_no_date_is_passed_over(text: str) -> None:
    assert read(text) == []


def test_expressions_come_in_the_order_of_the_text_and_are_few() -> None:
    assert read("昨天 or last Friday?") == ["2023-07-18 2023-07-18", "2023-07-14 2023-07-14"]
    assert len(spans("2020-01-01 " * 50, WEDNESDAY)) == 4


def test_without_a_year_the_latest_days_that_have_begun_are_meant() -> None:
    (december,) = spans("in December", WEDNESDAY)
    newest = date(2022, 3, 1).toordinal()
    assert december.yearly
    assert december.by(newest) == Span(
        date(2021, 12, 1).toordinal(), date(2021, 12, 31).toordinal()
    )
    (leap,) = spans("29 February", date(2024, 5, 1))
    assert date.fromordinal(leap.by(date(2023, 5, 1).toordinal()).first) == date(2023, 2, 28)
    (named,) = spans("December 2023", WEDNESDAY)
    assert named.by(newest) == named


@pytest.mark.parametrize("day", [date.min, date.max, date(1900, 1, 1), date(2999, 12, 31)])
def test_days_at_the_ends_of_time_have_no_past_or_future(day: date) -> None:
    for text in (
        "999 weeks ago",
        "next year",
        "the past 900 years",
        "大前天",
        "上个月",
        "last winter",
    ):
        for span in spans(text, day):
            assert 0 < span.first <= span.last


@given(
    text=st.one_of(
        some.text(200), st.lists(st.sampled_from(some.TIMES), max_size=4).map("".join),
        st.from_regex(r"[0-9]{1,4}[-/年][0-9]{1,3}[-/月][0-9]{1,3}[日号]?", fullmatch=True),
    ),
    day=st.dates(),
)  # fmt: skip
def test_any_text_has_sane_spans(text: str, day: date) -> None:
    for span in spans(text, day):
        assert 0 < span.first <= span.last
        assert span.by(day.toordinal()).first <= span.first


@pytest.mark.parametrize(
    ("text", "event", "days"),
    [
        ("two weeks before my birthday", "2001-03-03", "2023-02-14 2023-02-20"),
        ("the day before my birthday in 2021", "2001-03-03", "2021-03-02 2021-03-02"),
        ("the day after Ann’s wedding", "2022-05-07", "2022-05-08 2022-05-08"),
        ("a week before the move to Berlin", "2022-05-14", "2022-05-04 2022-05-10"),
        ("the week before I got married", "2022-05-14", "2022-05-07 2022-05-13"),
        ("the weekend after our party", "2022-05-18", "2022-05-21 2022-05-22"),
        ("the night before the exam", "2022-05-18", "2022-05-17 2022-05-17"),
        ("two months after the surgery", "2022-01-01", "2022-02-17 2022-03-19"),
        ("我生日前两周", "1990-08-20", "2023-08-03 2023-08-09"),
        ("2021年我生日前一天", "1990-08-20", "2021-08-19 2021-08-19"),
        ("婚礼之后的第二天", "2022-05-07", "2022-05-08 2022-05-08"),
        ("小明婚礼后第三天", "2022-05-07", "2022-05-09 2022-05-09"),
        ("我们结婚纪念日的三天前", "2022-08-20", "2023-08-17 2023-08-17"),
        ("毕业典礼前一周", "2022-06-20", "2022-06-13 2022-06-19"),
        ("会议之前的那天", "2022-06-20", "2022-06-19 2022-06-19"),
        ("回国之后的第二天", "2022-06-20", "2022-06-21 2022-06-21"),
    ],
)  # fmt: skip
def test_days_beside_an_event(text: str, event: str, days: str) -> None:
    found = anchored(text, WEDNESDAY)
    assert found is not None
    day = date.fromisoformat(event).toordinal()
    span = found.of(Span(day, day), WEDNESDAY)
    assert span is not None
    assert f"{date.fromordinal(span.first)} {date.fromordinal(span.last)}" == days


@pytest.mark.parametrize(
    "text",
    ["", "before my birthday", "the week before Christmas dinner", "two days before 2023-05-07",
     "the day before yesterday", "the day after tomorrow", "the day after", "two days before the",
     "三天前", "小明前两天去了北京", "前后", "以后两天", "我三天前去了", "生日",
     "after before week", "the day before " + "my " * 50,
     "the day before her birthday", "她生日的前一天",
     "the day after the second day after my party"],
)  # fmt: skip
def test_what_counts_from_no_event_is_passed_over(text: str) -> None:
    assert anchored(text, WEDNESDAY) is None


def test_the_words_of_an_event_end_where_something_else_begins() -> None:
    read = anchored("What did I buy two weeks before my 30th birthday with Bo?", WEDNESDAY)
    assert read is not None
    assert (read.anchor, read.mine, read.yearly) == ("30th birthday", True, True)
    read = anchored("Who rang? And the day after Ann's wedding, who came? Why?", WEDNESDAY)
    assert read is not None
    assert (read.anchor, read.mine, read.rest) == ("Ann's wedding", False, "Who rang? Why?")
    read = anchored("two weeks after I started my new job at the bank", WEDNESDAY)
    assert read is not None
    assert (read.anchor, read.mine) == ("started new job", True)
    read = anchored("春节前一周", WEDNESDAY)
    assert read is not None
    assert read.anchor == "春节"
    read = anchored("你记得我在小明的婚礼之后的第二天去了哪里吗", WEDNESDAY)
    assert read is not None
    assert (read.anchor, read.mine) == ("小明 婚礼", False)


def test_an_event_of_another_year_than_the_named_one_is_none() -> None:
    read = anchored("the day after Ann's wedding in 2019", WEDNESDAY)
    day = date(2022, 5, 7).toordinal()
    assert read is not None
    assert read.of(Span(day, day), WEDNESDAY) is None


@given(
    text=st.lists(
        st.sampled_from(["two weeks before ", "the day after ", "my birthday ", "999 years before ",
                         "我生日", "婚礼", "之后的第二天", "前", "九十九年前", "1900 ", "?"]),
        max_size=6,
    ).map("".join),
    day=st.dates(),
    event=st.dates(),
)  # fmt: skip
def test_any_event_has_sane_days_beside_it(text: str, day: date, event: date) -> None:
    read = anchored(text, day)
    span = read and read.of(Span(event.toordinal(), event.toordinal()), day)
    assert span is None or 0 < span.first <= span.last
