from __future__ import annotations

import gc
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memos.analysis import tokens
from memos.errors import InvalidInput
from memos.ingest import chunk
from memos.ingest.messages import read_messages, read_time
from memos.ingest.overlap import repeated
from memos.types import Memory, Place, Put, Source


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("2024-05-01T10:00:00Z", datetime(2024, 5, 1, 10, tzinfo=UTC)),
        (
            "2024-05-01T10:00:00+08:00",
            datetime(2024, 5, 1, 10, tzinfo=timezone(timedelta(hours=8))),
        ),
        ("2024-05-01", datetime(2024, 5, 1, tzinfo=UTC)),
        ("1:56 pm on 8 May, 2023", datetime(2023, 5, 8, 13, 56, tzinfo=UTC)),
        ("2023/05/20 (Sat) 02:21", datetime(2023, 5, 20, 2, 21, tzinfo=UTC)),
        ("2024年04月01日 周一 08:30", datetime(2024, 4, 1, 8, 30, tzinfo=UTC)),
        ("2024年4月1日 星期一", datetime(2024, 4, 1, tzinfo=UTC)),
        ("March-15-2024", datetime(2024, 3, 15, tzinfo=UTC)),
        (1_700_000_000, datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
        (1_700_000_000_000, datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
        ("last night", None),
        ("", None),
    ],
)
def test_times(value: object, moment: datetime | None) -> None:
    assert read_time(value, "t") == moment


@pytest.mark.parametrize(
    "value", ["2024-13-01", "2024-02-30", "0000-01-01", 1e40, True, [], "2024\x00"]
)
def test_absurd_times_are_refused(value: object) -> None:
    with pytest.raises(InvalidInput):
        read_time(value, "t")


def test_messages_keep_what_they_carry() -> None:
    turns = read_messages(
        [
            {"role": "system", "content": "You are helpful."},
            {"role": "user", "name": "Ann", "message_id": 7, "mood": "happy",
             "chat_time": "later", "content": [
                {"type": "text", "text": "Look:"},
                {"type": "image_url",
                 "image_url": {"url": "https://x.org/cat.png", "image_id": "cat"}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            ]},
            {"role": "assistant", "content": None, "tool_calls": [
                {"id": "c1", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}]},
            {"role": "tool", "content": "12 degrees", "tool_call_id": "c1"},
        ]
    )  # fmt: skip
    user, call, tool = turns
    assert user.text == "Look:\n[image: cat]\n[image]"
    assert (user.speaker, user.id, user.at) == ("Ann", "7", None)
    assert user.extra["mood"] == "happy"
    assert user.extra["chat_time"] == "later"
    assert "base64" not in str(user.extra)
    assert call.text == 'weather({"city": "Oslo"})'
    assert (tool.text, tool.extra["tool_call_id"]) == ("12 degrees", "c1")


@given(st.text(max_size=3000), st.integers(16, 100))
def test_parts_cover_the_text_in_order_and_in_size(text: str, aim: int) -> None:
    spans = chunk.split(text, aim)
    assert "".join("".join(text[s:e].split()) for s, e in spans) == "".join(text.split())
    assert all(a.end <= b.start for a, b in pairwise(spans))
    for start, end in spans:
        assert tokens(text[start:end]) <= aim * 1.5
        assert text[start:end].strip() == text[start:end] or end - start == aim


def test_markdown_sections_skip_code() -> None:
    text = "intro\n# A\nx\n```\n# not a heading\n```\n## B\ny\n# C\n"
    found = chunk.sections(text)
    assert [s.title for s in found] == [None, "A", "A > B", "C"]
    assert "".join(text[s.span.start : s.span.end] for s in found) == text


def said(*texts: str, at: datetime | None = None) -> list[Memory]:
    return [
        Memory(str(n), "turn", text, Place("a", "c", session="s"), speaker="user",
               sources=(Source(role="user", start=0, end=len(text), at=at),))
        for n, text in enumerate(texts)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("tail", "sent", "count"),
    [
        ("", "ab", 0), ("ab", "abc", 2), ("xab", "abc", 2), ("ab", "ab", 2), ("ab", "b", 0),
        ("ab", "bc", 1),
        ("abab", "abc", 2), ("aab", "aabc", 3), ("ab", "ba", 1), ("ab", "cab", 0),
        ("abc", "abd", 0),
    ],
)  # fmt: skip
def test_overlap(tail: str, sent: str, count: int) -> None:
    assert repeated(said(*tail), said(*sent)) == count


def test_the_same_words_at_another_time_are_no_repetition() -> None:
    before, now = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 2, tzinfo=UTC)
    assert repeated(said("a", "b", at=before), said("a", "b", at=now)) == 0
    assert repeated(said("a", "b", at=before), said("a", "b")) == 2


def test_the_garbage_collector_need_not_follow_memories() -> None:
    """It would look through all of a large add again and again."""
    place, source = Place("a", "c"), Source(id="m")
    memory = Memory(id="m", kind="turn", text="hello", place=place, sources=(source,))
    assert not any(map(gc.is_tracked, (place, source, memory, Put(memory))))
