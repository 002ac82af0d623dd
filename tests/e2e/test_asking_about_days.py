"""Questions about days find what was said on them, or speaks of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import apsw
import pytest

from memos import MOS
from memos.backends.sqlite.codec import decode_memory
from memos.settings import Settings
from memos.testing.fakes import HashEmbedder
from memos.traits import traits

NOW = datetime(2024, 6, 19, 12, tzinfo=UTC)  # a Wednesday
DISHES = ("lentil soup", "fried rice", "pancakes", "a salad", "dumplings", "curry", "noodles")
SKIES = ("sunny", "raining", "cloudy", "windy", "cold")
DATA = Path(__file__).parents[1] / "data"


def tell(mos: MOS, day: str, *texts: str, **options: object) -> None:
    messages = [{"role": "user", "content": text, "chat_time": day} for text in texts]
    mos.add(messages, session=day, **options)  # pyright: ignore[reportCallIssue]


@pytest.fixture(scope="module")
def diary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MOS]:
    """Two months of the same days, with the bundled embedder."""
    with MOS.open(Settings(home=tmp_path_factory.mktemp("diary"))) as mos:
        for back in range(60):
            day = (NOW - timedelta(days=back)).date().isoformat()
            tell(mos, day, f"We had {DISHES[back % 7]}.", f"It was quiet, and {SKIES[back % 5]}.")
        yield mos


@pytest.mark.parametrize(
    ("question", "days"),
    [
        ("What did we have last Friday?", {"2024-06-14"}),
        ("上周五我们吃了什么？", {"2024-06-14"}),
        ("What did we have two days ago?", {"2024-06-17"}),
        ("What did we have on May 3?", {"2024-05-03"}),
        ("What happened last weekend?", {"2024-06-15", "2024-06-16"}),
    ],
)
def test_what_was_said_then_comes_first(diary: MOS, question: str, days: set[str]) -> None:
    hits = diary.search(question, at=NOW, limit=len(days)).hits
    assert {hit.memory.place.session for hit in hits} <= days
    assert "time" in hits[0].why.lanes
    assert hits[0].why.parts["time"] == pytest.approx(5.0)


def test_results_are_spread_over_the_days_that_are_asked_about(diary: MOS) -> None:
    hits = diary.search("What did we have last week?", at=NOW, limit=7).hits
    days = [hit.memory.place.session or "" for hit in hits]
    assert all("2024-06-10" <= day <= "2024-06-16" for day in days)
    assert len(set(days)) >= 5


def test_a_memory_may_speak_of_another_day(diary: MOS) -> None:
    tell(diary, "2024-06-19T08:00:00Z", "The plumber came on the 3rd of May, finally.")
    hits = diary.search("Who came on May 3?", at=NOW, limit=3).hits
    assert hits[0].memory.text.startswith("The plumber")


def test_the_latest_december_is_that_of_what_is_still_remembered(mos: MOS) -> None:
    tell(mos, "2022-12-10", "We had a goose.")
    tell(mos, "2023-12-15", "We had a carp.")
    (late,) = [m.id for m in mos.get_all().items if "carp" in m.text]
    found = mos.search("What did we have in December?", at=NOW).hits
    assert {hit.memory.id: hit.why.parts["time"] for hit in found}[late] == pytest.approx(5.0)
    mos.forget(late)
    (hit,) = mos.search("What did we have in December?", at=NOW).hits
    assert hit.why.parts["time"] == pytest.approx(5.0)
    assert "time" not in mos.search("in December", at=NOW, recipe="meaning").hits[0].why.lanes


def test_days_select_nothing_that_a_filter_leaves_out(diary: MOS) -> None:
    where = {"session": "2024-06-01"}
    hits = diary.search("What did we have last Friday?", at=NOW, where=where).hits
    assert {hit.memory.place.session for hit in hits} == {"2024-06-01"}


def test_no_day_or_one_without_memories_changes_no_order(diary: MOS) -> None:
    plain = diary.search("dumplings", at=NOW, limit=5)
    assert all("time" not in hit.why.parts for hit in plain.hits)
    none = diary.search("dumplings in 1950", at=NOW, limit=5)
    assert none.hits[0].memory.text == plain.hits[0].memory.text


def test_files_of_the_first_schema_get_traits(tmp_path: Path) -> None:
    shutil.copytree(DATA / "v1", tmp_path / "home")
    with MOS.open(Settings(home=tmp_path / "home"), embedder=HashEmbedder()) as mos:
        assert mos.check()
        db = apsw.Connection(str(tmp_path / "home" / "memos.db"))
        rows = db.execute("SELECT body, cues, said, begins, ends FROM memories").fetchall()
        db.close()
    assert rows
    assert any(told[0] for _, *told in rows)
    for body, *told in rows:
        assert traits(decode_memory(body)) == tuple(told)
