"""Questions that count from an event find what was said then, when somebody said when it is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.e2e.test_recipes import counted

from memos import MOS
from memos.settings import Settings
from memos.testing.fakes import HashEmbedder

NOW = datetime(2024, 6, 19, 12, tzinfo=UTC)
FACTS = (
    "My birthday is on March 3rd.",
    "Ann's wedding was on May 18th 2024.",
    "Bo's wedding was on April 6th 2024.",
    "我的生日是三月三号。",
    "小明的婚礼在2024年5月11日。",
)


def tell(mos: MOS, day: str, *texts: str, **options: object) -> None:
    messages = [{"role": "user", "content": text, "chat_time": day} for text in texts]
    mos.add(messages, session=day, **options)  # pyright: ignore[reportCallIssue]


@pytest.fixture(scope="module", params=["sqlite", "memory"])
def diary(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MOS]:
    """A hundred and eighty days, each with a meal and a walk, in both engines."""
    home = tmp_path_factory.mktemp("diary")
    settings = Settings.model_validate({"home": home, "store": {"kind": request.param}})
    with MOS.open(settings, embedder=HashEmbedder()) as mos:
        for back in range(180):
            day = (NOW - timedelta(days=back)).date().isoformat()
            tell(mos, day, f"We had soup number {back}.", f"走了{back}公里的路。")
        tell(mos, "2024-01-10", *FACTS)
        yield mos


def soups(mos: MOS, *days: str, **options: object) -> None:
    for day, more in zip(days, ("bread", "rice", "cake"), strict=False):
        tell(mos, day, f"We had soup with {more}.", **options)


def sessions(mos: MOS, question: str, **options: object) -> list[str]:
    found = mos.search(question, at=NOW, limit=3, **options)  # pyright: ignore[reportCallIssue]
    return [hit.memory.place.session or "" for hit in found.hits]


@pytest.mark.parametrize(
    ("question", "first", "last"),
    [
        ("What did we have two weeks before my birthday?", "2024-02-15", "2024-02-21"),
        ("Which soup did we have the day before my birthday?", "2024-03-02", "2024-03-02"),
        ("Which soup did we have the week after my birthday?", "2024-03-04", "2024-03-10"),
        ("Which soup was it the day after Ann's wedding?", "2024-05-19", "2024-05-19"),
        ("Which soup was it three days after Bo's wedding?", "2024-04-09", "2024-04-09"),
        ("我生日前两周走了多少路？", "2024-02-15", "2024-02-21"),
        ("小明的婚礼之后的第二天走了多少路？", "2024-05-12", "2024-05-12"),
        ("小明婚礼前三天走了多少路", "2024-05-08", "2024-05-08"),
    ],
)
def test_what_was_said_then_comes_first(diary: MOS, question: str, first: str, last: str) -> None:
    (best, *_) = sessions(diary, question)
    assert first <= best <= last
    hit = diary.search(question, at=NOW).hits[0]
    assert hit.why.parts["time"] == pytest.approx(5.0)


@pytest.mark.parametrize(
    "question",
    [
        "Which soup was it the day after Zoe's wedding?",
        "Which soup was it the day after the funeral?",
        "Which soup was it two days before it?",
        "Which soup did we have the day after Ann's wedding in 2019?",
        "小红的婚礼之后的第二天走了多少路？",
    ],
)
def test_what_nobody_knows_changes_nothing(diary: MOS, question: str) -> None:
    hits = diary.search(question, at=NOW).hits
    assert hits
    assert all(hit.why.parts.get("time", 0.0) < 5.0 for hit in hits)


def test_filters_and_cubes_hold_for_the_look_up(diary: MOS) -> None:
    question = "Which soup was it the day after Ann's wedding?"
    where = {"text": {"like": "soup"}}
    assert all(
        "time" not in hit.why.parts for hit in diary.search(question, at=NOW, where=where).hits
    )
    diary.users.create("eve")
    soups(diary, "2024-05-19", user="eve")
    (hit, *_) = diary.search(question, at=NOW, user="eve").hits
    assert "time" not in hit.why.parts


def test_the_event_may_be_in_another_cube_of_the_search(mos: MOS) -> None:
    mos.cubes.create("facts")
    mos.add("Our wedding was on 2024-05-18.", cube="facts")
    soups(mos, "2024-05-12", "2024-05-19", "2024-05-30")
    question = "Which soup did we have the day after our wedding?"
    assert sessions(mos, question, cubes=["default", "facts"])[0] == "2024-05-19"
    assert "time" not in mos.search(question, at=NOW, cubes=["default"]).hits[0].why.parts


def test_an_event_that_is_told_without_a_moment_and_one_that_was_forgotten(mos: MOS) -> None:
    """A plain text has no moment at which it was said; what it names is a day all the same."""
    kept = mos.add("My birthday is on March 3rd.")
    soups(mos, "2023-03-02", "2024-03-02", "2024-06-18")
    question = "Which soup did we have the day before my birthday?"
    assert sessions(mos, question)[0] == "2024-03-02"
    assert (
        sessions(mos, "Which soup did we have the day before my birthday in 2023?")[0]
        == "2023-03-02"
    )
    before = datetime.now(UTC)
    mos.forget(kept.ids[0])
    assert "time" not in mos.search(question, at=NOW).hits[0].why.parts
    past = mos.search(question, at=NOW, as_of=before).hits
    assert past[0].memory.place.session == "2024-03-02"


def test_my_birthday_is_not_that_of_somebody_else(mos: MOS) -> None:
    tell(mos, "2024-01-10", "Tom's birthday is on May 5th.")
    soups(mos, "2024-05-04")
    question = "Which soup did we have the day before my birthday?"
    assert "time" not in mos.search(question, at=NOW).hits[0].why.parts
    mos.add("The user's birthday is on May 5th.")  # as an extractor writes it
    assert sessions(mos, question)[0] == "2024-05-04"


@pytest.mark.parametrize("name", ["Ann", "Bo"])
def test_the_event_of_who_speaks(mos: MOS, name: str) -> None:
    said = {"Ann": "My wedding is on May 18th.", "Bo": "My wedding is on April 6th."}
    for who, text in said.items():
        mos.add([{"role": "user", "name": who, "content": text, "chat_time": "2024-01-10"}])
    soups(mos, "2024-05-19", "2024-04-07", "2024-06-01")
    found = sessions(mos, f"Which soup did we have the day after {name}'s wedding?")[0]
    assert found == ("2024-05-19" if name == "Ann" else "2024-04-07")


@pytest.mark.anyio
async def test_one_call_more_is_awaited(tmp_path: Path) -> None:
    async with counted(tmp_path) as made:
        await made.mos.add("My birthday is on March 3rd.")
        made.awaited()
        await made.mos.search("Where are the keys?")
        plain = made.awaited()
        await made.mos.search("Where were the keys two weeks before my birthday?")
        assert made.awaited() == plain + 1 <= 5
        await made.mos.search("Where were the keys two weeks before my party?")
        assert made.awaited() == plain + 1
        await made.mos.search("keys two weeks before my birthday", recipe="words")
        assert made.awaited() == plain - 1  # words are not embedded
