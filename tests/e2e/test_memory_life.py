"""A memory's life through the public door: added, found, changed, hidden, gone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from memos import MOS
from memos.errors import Conflict, InvalidInput, NotFound
from memos.settings import Settings
from memos.testing.fakes import HashEmbedder


def texts(result) -> list[str]:
    return [hit.memory.text for hit in result.hits]


def test_what_was_added_is_found_with_its_source(mos: MOS) -> None:
    added = mos.add(
        [
            {"role": "user", "name": "Ann", "content": "I moved to Lisbon.", "message_id": "m1",
             "chat_time": "2024-05-01T09:00:00+02:00"},
            {"role": "assistant", "content": "How do you like it?", "message_id": "m2"},
        ],
        session="s1", tags=["move"], info={"channel": {"name": "web"}},
    )  # fmt: skip
    assert added.stored == (True, True)
    hit = mos.search("Where does Ann live, Lisbon?").hits[0]
    memory = hit.memory
    assert memory.id == added.ids[0]
    assert (memory.kind, memory.tier, memory.speaker, memory.position) == ("turn", "user", "Ann", 0)
    assert memory.place.session == "s1"
    (source,) = memory.sources
    assert (source.id, source.role, source.start, source.end) == ("m1", "user", 0, 18)
    assert source.at == datetime(2024, 5, 1, 7, tzinfo=UTC)
    assert memory.tags == ("move",)
    assert memory.info == {"channel": {"name": "web"}}
    assert "lisbon" in hit.why.words
    assert hit.why.lanes["text"] == 0
    assert hit.score == pytest.approx(sum(hit.why.parts.values()), abs=1e-4)


def test_long_messages_are_split_at_sentences_and_keep_their_link(mos: MOS) -> None:
    message = " ".join(
        f"Sentence number {n} speaks of topic{n} at some length." for n in range(200)
    )
    added = mos.add([{"role": "user", "content": message, "message_id": "long"}], session="s")
    assert len(added.ids) > 5
    parts = [mos.get(id) for id in added.ids]
    assert {part.sources[0].id for part in parts} == {"long"}
    assert all(message[p.sources[0].start : p.sources[0].end] == p.text for p in parts)
    assert all(part.text.startswith("Sentence") and part.text.endswith(".") for part in parts)
    assert "topic150 " in mos.search("topic150").hits[0].memory.text


def test_a_message_with_a_known_id_is_stored_once(mos: MOS) -> None:
    message = {"role": "user", "content": "Tea, please.", "message_id": "m1"}
    first = mos.add([message], session="s")
    again = mos.add(
        [message, {"role": "user", "content": "And milk.", "message_id": "m2"}], session="s"
    )
    assert again.ids[0] == first.ids[0]
    assert again.stored == (False, True)
    assert len(mos.get_all().items) == 2


def test_a_conversation_sent_again_adds_only_its_new_end(mos: MOS) -> None:
    turns = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "hi there"},
        {"role": "user", "content": "how are you"},
        {"role": "assistant", "content": "fine, thanks"},
    ]
    first = mos.add(turns[:2], session="s")
    second = mos.add(turns, session="s")
    assert second.ids[:2] == first.ids
    assert second.stored == (False, False, True, True)
    assert mos.add(turns, session="s").stored == (False,) * 4
    assert mos.add(turns[2:], session="s").stored == (False, False)
    assert [m.position for m in mos.get_all().items] == [0, 1, 2, 3]


def test_the_same_words_said_again_are_a_new_memory(mos: MOS) -> None:
    yes = [{"role": "user", "content": "yes"}]
    for _ in range(3):
        assert mos.add(yes, session="s").stored == (True,)
    mos.add([{"role": "assistant", "content": "ok"}], session="s")
    assert mos.add(yes, session="s").stored == (True,)
    assert len(mos.get_all().items) == 5


def test_a_batch_id_lets_nobody_overwrite(mos: MOS) -> None:
    mos.add({"id": "x", "memory": "one"})
    with pytest.raises(Conflict) as taken:
        mos.add({"id": "x", "memory": "two"}, batch_id="b")
    assert (taken.value.code, mos.get("x").text) == ("exists", "one")


def test_an_update_with_a_batch_id_is_done_once(mos: MOS) -> None:
    (id,) = mos.add("one").ids
    first = mos.update(id, text="two", expect=1, batch_id="b")
    assert mos.update(id, text="two", expect=1, batch_id="b") == first
    with pytest.raises(Conflict) as moved:
        mos.update(id, text="three", expect=1, batch_id="c")
    assert moved.value.code == "version_moved"
    assert [version.text for version in mos.history(id)] == ["one", "two"]


def test_a_batch_id_makes_a_repeated_call_harmless(mos: MOS) -> None:
    first = mos.add("Remember the milk.", batch_id="b-1")
    again = mos.add("Remember the milk.", batch_id="b-1")
    assert again.ids == first.ids
    assert again.stored == (False,)
    assert len(mos.get_all().items) == 1


def test_files_become_passages_below_their_headings(mos: MOS, tmp_path: Path) -> None:
    file = tmp_path / "notes.md"
    file.write_text("intro\n\n# Plans\n\nVisit Kyoto.\n\n## 预算\n\n三千元。\n", encoding="utf-8")
    mos.add(file)
    found = {m.title: m for m in mos.get_all().items}
    assert set(found) == {None, "Plans", "Plans > 预算"}
    source = found["Plans"].sources[0]
    assert (source.uri, source.type) == ("notes.md", "file")
    assert source.blob is not None
    assert mos.search("预算").hits[0].memory.text.endswith("三千元。")


def test_an_update_is_a_new_version_and_the_old_one_stays_in_history(mos: MOS) -> None:
    (id,) = mos.add("The meeting is on Monday.").ids
    changed = mos.update(id, text="The meeting is on Tuesday.", tags=["work"], expect=1)
    assert (changed.version, changed.tags) == (2, ("work",))
    assert texts(mos.search("meeting")) == ["The meeting is on Tuesday."]
    assert mos.search("Monday", recipe="words").hits == ()
    first, second = mos.history(id)
    assert first.text == "The meeting is on Monday."
    assert first.retired_at == second.recorded_at
    with pytest.raises(Conflict) as stale:
        mos.update(id, text="The meeting is off.", expect=1)
    assert stale.value.code == "version_moved"


def test_as_of_shows_what_was_known_then(mos: MOS) -> None:
    (id,) = mos.add("Bo works at Acme.").ids
    before = datetime.now(UTC)
    mos.update(id, text="Bo works at Globex.")
    (other,) = mos.add("Bo has a dog.").ids
    mos.forget(other)
    past = mos.search("Where does Bo work?", as_of=before)
    assert texts(past) == ["Bo works at Acme."]
    assert past.hits[0].memory.retired_at is None
    assert [m.text for m in mos.get_all(as_of=before).items] == ["Bo works at Acme."]
    assert texts(mos.search("Where does Bo work?")) == ["Bo works at Globex."]
    assert mos.search("Bo", as_of=before - timedelta(days=1)).hits == ()


def test_retired_memories_are_hidden_and_keep_their_history(mos: MOS) -> None:
    (id,) = mos.add("The key is under the mat.").ids
    assert mos.forget(id).ids == (id,)
    assert mos.search("key").hits == ()
    assert mos.get_all().items == ()
    memory = mos.get(id)
    assert memory.status == "archived"
    assert memory.retired_at is not None
    assert len(mos.history(id)) == 1
    with pytest.raises(Conflict, match="retired"):
        mos.update(id, text="It is not.")


def test_erased_memories_leave_a_tombstone(mos: MOS) -> None:
    (id,) = mos.add("My PIN is 4711.").ids
    mos.forget(id, mode="erase")
    for call in (mos.get, mos.history):
        with pytest.raises(NotFound) as gone:
            call(id)
        assert gone.value.code == "erased"
    assert mos.forget(id, mode="erase").ids == (id,)  # an interrupted erase can be repeated
    with pytest.raises(NotFound):
        mos.forget("never-was", mode="erase")


def test_forgetting_by_filter_takes_the_selected_ones_only(mos: MOS) -> None:
    mos.add("keep me", tags=["a"])
    for n in range(7):
        mos.add(f"drop me {n}", tags=["b"])
    assert len(mos.forget(where={"tags": {"contains": "b"}}).ids) == 7
    assert [m.text for m in mos.get_all().items] == ["keep me"]


@pytest.mark.parametrize(
    "selector", [{}, {"where": {}}, {"where": {"and": []}}, {"where": {"and": [{}]}}]
)
def test_an_empty_selector_forgets_nothing(mos: MOS, selector: dict[str, object]) -> None:
    mos.add("still here")
    for mode in ("retire", "erase"):
        with pytest.raises(InvalidInput) as refused:
            mos.forget(mode=mode, **selector)
        assert refused.value.code == "no_selector"
    with pytest.raises(InvalidInput):
        mos.forget([])
    assert len(mos.get_all().items) == 1


def test_expired_memories_are_not_found(mos: MOS) -> None:
    mos.add("Offer valid today.", expires_at="2001-01-01")
    mos.add("Offer valid for long.", expires_at="2999-01-01")
    assert texts(mos.search("offer")) == ["Offer valid for long."]
    assert len(mos.get_all().items) == 1
    assert len(mos.search("offer", at="2000-06-01").hits) == 2


def test_search_takes_filters_limits_and_budgets(mos: MOS) -> None:
    for n in range(30):
        mos.add(f"apple number {n}", info={"n": n, "even": n % 2 == 0}, session=f"s{n % 3}")
    assert len(mos.search("apple").hits) == 10
    assert len(mos.search("apple", limit=25).hits) == 25
    small = mos.search("apple", where={"and": [{"info.n": {"lt": 4}}, {"even": True}]})
    assert {h.memory.info["n"] for h in small.hits} == {0, 2}
    by_session = mos.search("apple", where={"session": "s1"}, limit=50)
    assert {h.memory.place.session for h in by_session.hits} == {"s1"}
    assert len(by_session.hits) == 10
    assert 1 <= len(mos.search("apple", budget=50).hits) <= 4
    assert mos.search("apple", budget=1).hits == ()


def test_repeated_words_of_one_speaker_come_once_unless_asked(mos: MOS) -> None:
    for session in ("a", "b"):
        mos.add([{"role": "user", "content": "I like green tea."}], session=session)
    (hit,) = mos.search("green tea").hits
    assert {hit.memory.place.session, *(m.place.session for m in hit.repeats)} == {"a", "b"}
    assert len(mos.search("green tea", dedup="none").hits) == 2


def test_several_cubes_are_searched_together(mos: MOS) -> None:
    mos.cubes.create("work")
    mos.add("The deploy is on Friday.", cube="work")
    mos.add("Dinner is on Friday.")
    both = mos.search("Friday", cubes=["work", "default"])
    assert {h.memory.place.cube for h in both.hits} == {"work", "default"}
    assert texts(mos.search("Friday", cube="work")) == ["The deploy is on Friday."]
    assert len(mos.search("Friday").hits) == 2


def test_pages_follow_the_order_of_recording(mos: MOS) -> None:
    for n in range(25):
        mos.add(f"note {n}")
    seen: list[str] = []
    cursor = None
    while True:
        page = mos.get_all(limit=10, **({"cursor": cursor} if cursor else {}))
        seen += [m.text for m in page.items]
        if (cursor := page.next) is None:
            break
    assert seen == [f"note {n}" for n in range(25)]


def test_everything_is_there_after_reopening(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    with MOS.open(settings, embedder=HashEmbedder()) as mos:
        ids = mos.add(
            [{"role": "user", "content": f"fact {n} 事实"} for n in range(20)], session="s"
        ).ids
        mos.search("fact")
    with MOS.open(settings, embedder=HashEmbedder()) as mos:
        assert [m.id for m in mos.get_all().items] == list(ids)
        assert mos.search("事实 7").hits
        assert mos.add([{"role": "user", "content": "next"}], session="s").stored == (True,)
        assert mos.get_all().items[-1].position == 20


def test_superseded_ids_resolve(mos: MOS) -> None:
    """The record keeps ``superseded_by``; ``resolve`` follows the chain."""
    old, new = (mos.add(text).ids[0] for text in ("old fact", "new fact"))
    item = {"id": "chained", "memory": "older fact"}
    mos.add(item)
    assert mos.get("chained").text == "older fact"
    assert mos.get(old, resolve=True).id == old
    assert mos.get(new, resolve=True).id == new


def test_memos_items_survive_a_round_trip(mos: MOS) -> None:
    from memos.ingest.items import to_item

    metadata = {
        "user_id": "u7", "session_id": "s7", "status": "activated", "type": "fact",
        "key": "Allergy",
        "confidence": 0.99, "source": "conversation", "tags": ["health", "食物"],
        "visibility": "private",
        "memory_type": "UserMemory", "info": {"topic": "food"}, "background": "said at dinner",
        "entities": ["Zoe"], "usage": [], "is_fast": True, "internal_info": {"chunk_index": 0},
        "sources": [{"type": "chat", "role": "user", "chat_time": "3 May 2024", "message_id": "m1",
                     "content": "I cannot eat peanuts", "lang": "en"}],
        "created_at": "2024-05-03T10:00:00+00:00",
    }  # fmt: skip
    item = {"id": "6f1c1f6e-7a52-4a2e-9d05-7a3f1b8f8a11", "memory": "Zoe cannot eat peanuts.",
            "metadata": metadata}  # fmt: skip
    assert mos.add(item).ids == (item["id"],)
    back = to_item(mos.get(item["id"]))
    assert back["memory"] == item["memory"]
    kept = back["metadata"]
    assert {name: kept[name] for name in metadata} == metadata
    with pytest.raises(Conflict):
        mos.add(item)


@pytest.mark.parametrize(
    "memory_type",
    ["WorkingMemory", "LongTermMemory", "UserMemory", "OuterMemory", "ToolSchemaMemory",
     "ToolTrajectoryMemory", "RawFileMemory", "SkillMemory", "PreferenceMemory", "Context"],
)  # fmt: skip
def test_every_memory_type_can_be_stored_and_filtered(mos: MOS, memory_type: str) -> None:
    mos.add({"memory": "something", "metadata": {"memory_type": memory_type}})
    mos.add({"memory": "something else", "metadata": {"memory_type": "LongTermMemory"}})
    found = mos.search("something", where={"memory_type": memory_type}, limit=5)
    assert "something" in texts(found)
    assert len(found.hits) == (2 if memory_type == "LongTermMemory" else 1)


def test_messages_with_and_without_ids_are_recognised_together(mos: MOS) -> None:
    turns = [
        {"role": "user", "content": "I sold the boat.", "message_id": "m1"},
        {"role": "assistant", "content": "For how much?"},
    ]
    first = mos.add(turns, session="s")
    again = mos.add(turns, session="s")
    assert again.ids == first.ids
    assert again.stored == (False, False)


def test_the_configured_session_holds_when_a_call_names_none(tmp_path: Path) -> None:
    with MOS.open(Settings(home=tmp_path, session="daily"), embedder=HashEmbedder()) as mos:
        mos.add([{"role": "user", "content": "hello"}])
        mos.add([{"role": "user", "content": "hi"}], session="other")
        assert [m.place.session for m in mos.get_all().items] == ["daily", "other"]


def test_a_kind_brings_its_tier(mos: MOS) -> None:
    (id,) = mos.add("I prefer tea.", kind="preference").ids
    memory = mos.get(id)
    assert (memory.kind, memory.tier) == ("preference", "user")
    assert mos.search("tea", where={"memory_type": "PreferenceMemory"}).hits


def test_reindex_changes_the_embedder_and_keeps_everything(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    with MOS.open(settings, embedder=HashEmbedder(name="old")) as mos:
        ids = mos.add(
            [{"role": "user", "content": f"fact {n}"} for n in range(150)], session="s"
        ).ids
        mos.update(ids[0], text="changed fact 0")
        assert mos.search("fact 7").hits
    seen: list[tuple[int, int]] = []
    with (
        MOS.open(settings, embedder=HashEmbedder(64, name="new")) as new,
        MOS.open(settings, embedder=HashEmbedder(name="old")) as old,
    ):
        with pytest.raises(Conflict) as mismatch:
            new.search("fact 7")
        assert "memos reindex" in mismatch.value.detail
        assert new.search("fact 7", recipe="words").hits  # words need no vectors

        def progress(done: int, total: int) -> None:
            seen.append((done, total))
            assert old.search("fact 7").hits  # the old vectors serve until the end

        assert new.reindex(progress=progress) == 151
        assert seen[0] == (0, 151)
        assert seen[-1] == (151, 151)
        assert new.search("fact 7").hits[0].memory.text == "fact 7"
        assert new.reindex() == 0
        with pytest.raises(Conflict):
            old.search("fact 7")
        assert all(finding.ok for finding in new.check())
