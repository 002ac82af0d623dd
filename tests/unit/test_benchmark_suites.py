"""The loaders of the benchmark, on small files of our own in the published formats."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from benchmarks.cases import Conversation, DataError, Question, Turn
from benchmarks.suites import load
from benchmarks.suites.files import parse_date, stated_at
from benchmarks.suites.memdaily import POOL


def write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return path


def one(path: Path, suite: str) -> Conversation:
    (conversation,) = load(suite, path).conversations
    return conversation


LOCOMO = {
    "sample_id": "talk-1",
    "conversation": {
        "speaker_a": "Ines",
        "speaker_b": "Otto",
        "session_2_date_time": "9:05 pm on 3 June, 2024",
        "session_2": [{"speaker": "Otto", "dia_id": "D2:1", "text": "The boat sank."}],
        "session_1_date_time": "12:30 am on 1 June, 2024",
        "session_1": [
            {"speaker": "Ines", "dia_id": "D1:1", "text": "I bought a boat."},
            {
                "speaker": "Otto",
                "dia_id": "D1:2",
                "text": "Look!",
                "img_url": ["x"],
                "blip_caption": "a harbour at dusk",
            },
        ],
        "session_10": [],
    },
    "qa": [
        {"question": "What sank?", "answer": "a boat", "evidence": ["D2:01; D:1:1"], "category": 1},
        {"question": "Why?", "adversarial_answer": "x", "evidence": ["D2:1"], "category": 5},
        {"question": "No evidence?", "answer": "x", "evidence": ["D"], "category": 3},
        {"question": "Mended later?", "answer": "x", "evidence": [], "category": 4},
    ],
}


def test_locomo_turns_come_in_order_of_sessions(tmp_path: Path) -> None:
    turns = one(write(tmp_path / "two.json", [LOCOMO]), "locomo").turns
    assert [turn.id for turn in turns] == ["D1:1", "D1:2", "D2:1"]
    assert [turn.role for turn in turns] == ["user", "assistant", "assistant"]
    assert turns[1].text == "Look! [shares an image: a harbour at dusk]"
    assert turns[0].at == "2024-06-01T00:30:00+00:00"
    assert turns[2].at == "2024-06-03T21:05:00+00:00"
    assert turns[0].words() == "Ines: I bought a boat."


def test_locomo_evidence_is_parsed_and_questions_without_it_are_skipped(tmp_path: Path) -> None:
    first, second = one(write(tmp_path / "two.json", [LOCOMO]), "locomo").questions
    assert first.id == "talk-1/0"
    assert first.category == "multi-hop"
    assert first.gold == {"turn": {"D2:1", "D1:1"}, "session": {"D1", "D2"}}
    assert first.corrected is None
    assert first.headline
    assert second.category == "adversarial"
    assert not second.headline


def test_locomo_errata_beside_the_file_correct_the_evidence(tmp_path: Path) -> None:
    errata = [
        {"sample_id": "talk-1", "question": "What sank?", "correct_evidence": ["D2:1"]},
        {"sample_id": "talk-1", "question": "Mended later?", "correct_evidence": ["D1:1"]},
        {"sample_id": "other", "question": "Why?", "correct_evidence": ["D1:2"]},
    ]
    write(tmp_path / "errata.json", errata)
    write(tmp_path / "two.json", [LOCOMO])
    first, second, third = one(tmp_path, "locomo").questions
    assert first.corrected == {"turn": {"D2:1"}, "session": {"D2"}}
    assert second.corrected == second.gold
    assert third.gold == {}
    assert third.corrected == {"turn": {"D1:1"}, "session": {"D1"}}


def test_locomo_reads_every_file_of_a_folder(tmp_path: Path) -> None:
    write(tmp_path / "a.json", [LOCOMO])
    write(tmp_path / "b.json", [{**LOCOMO, "sample_id": "talk-2"}])
    assert [c.id for c in load("locomo", tmp_path).conversations] == ["talk-1", "talk-2"]


def haystack(name: str = "q1") -> dict[str, object]:
    return {
        "question_id": name,
        "question_type": "multi-session",
        "question": "Which bike?",
        "answer": "the red one",
        "question_date": "2024/02/03 (Sat) 10:00",
        "haystack_dates": ["2024/01/01 (Mon) 09:00", "2024/01/02 (Tue) 19:30"],
        "haystack_session_ids": ["s1", "s2"],
        "haystack_sessions": [
            [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}],
            [{"role": "user", "content": "I took the red bike", "has_answer": True}],
        ],
        "answer_session_ids": ["s2"],
    }


def test_longmemeval_lists_have_a_conversation_per_question(tmp_path: Path) -> None:
    file = write(tmp_path / "s.json", [haystack(), haystack("q2_abs")])
    conversation = one(file, "longmemeval")
    assert [turn.id for turn in conversation.turns] == ["s1:0", "s1:1", "s2:0"]
    assert conversation.turns[2].at == "2024-01-02T19:30:00+00:00"
    (question,) = conversation.questions
    assert question.gold == {"session": {"s2"}, "turn": {"s2:0"}}
    assert question.at == datetime(2024, 2, 3, 10, tzinfo=UTC)


def test_longmemeval_without_turn_labels_measures_sessions_only(tmp_path: Path) -> None:
    item = haystack()
    item["haystack_sessions"] = [[], [{"role": "user", "content": "I took the red bike"}]]
    (question,) = one(write(tmp_path / "s.json", [item]), "longmemeval").questions
    assert set(question.gold) == {"session"}


def test_longmemeval_tells_what_was_updated_from_what_holds_now(tmp_path: Path) -> None:
    item = haystack()
    item["question_type"] = "knowledge-update"
    item["haystack_sessions"] = [
        [{"role": "user", "content": "My bike is blue", "has_answer": True}],
        [{"role": "user", "content": "I took the red bike", "has_answer": True}],
    ]
    (question,) = one(write(tmp_path / "s.json", [item]), "longmemeval").questions
    assert (question.stale, question.current) == ({"s1:0"}, {"s2:0"})


def test_longmemeval_folder_with_a_recipe_is_composed(tmp_path: Path) -> None:
    write(tmp_path / "oracle.json", [haystack()])
    filler = {"f1": {"date": "x", "session": [{"role": "user", "content": "Weather?"}]}}
    write(tmp_path / "filler_sessions_1.json", filler)
    recipe = {"q1": [["s2", "2024/01/05 (Fri) 08:00"], ["f1", "2024/01/06 (Sat) 08:00"]]}
    write(tmp_path / "haystack_recipe_s2.json", recipe)
    conversation = one(tmp_path, "longmemeval")
    assert [turn.id for turn in conversation.turns] == ["s2:0", "f1:0"]
    assert conversation.turns[0].at == "2024-01-05T08:00:00+00:00"


def test_beam_chats_are_found_at_any_depth(tmp_path: Path) -> None:
    chat = [
        {
            "batch_number": 1,
            "time_anchor": None,
            "turns": [
                [
                    {"role": "user", "id": 0, "content": "Hi", "time_anchor": "March-15-2024"},
                    {"role": "assistant", "id": 1, "content": "Hello"},
                ]
            ],
        },
        {"batch_number": 2, "turns": [[{"role": "user", "id": 2, "content": "Back"}]]},
    ]
    probes = {
        "abstention": [{"question": "Unknown?"}],
        "knowledge_update": [
            {"question": "Now?", "source_chat_ids": {"original_info": [0], "updated_info": [2]}}
        ],
        "event_ordering": [{"question": "Order?", "source_chat_ids": [2, 0]}],
        "preference_following": [{"question": "Empty?", "source_chat_ids": []}],
    }
    for name in ("10", "9"):
        write(tmp_path / "100K" / name / "chat.json", chat)
        write(tmp_path / "100K" / name / "probing_questions.json", probes)
    first, second = load("beam", tmp_path).conversations
    assert (first.id, second.id) == ("100K/9", "100K/10")
    assert [(t.id, t.session) for t in first.turns] == [
        ("0", "batch-1"),
        ("1", "batch-1"),
        ("2", "batch-2"),
    ]
    assert first.turns[1].at == "2024-03-15T00:00:00+00:00"
    unknown, *known = first.questions
    assert (unknown.gold, unknown.answerable, unknown.headline) == ({}, False, False)
    assert [q.gold for q in known] == [{"turn": {"0", "2"}}, {"turn": {"2", "0"}}]
    assert (known[0].stale, known[0].current) == ({"0"}, {"2"})
    assert one(tmp_path / "100K" / "9", "beam").id == "9"


def test_prefeval_measures_one_preference_alone_and_all_pooled(tmp_path: Path) -> None:
    fillers = [{"conversation": [{"role": "user", "content": "Sort a list"}]}]
    write(tmp_path / "filtered_inter_turns.json", fillers)
    pairs = [
        {"preference": "I hate noise.", "question": "Which hotel?", "explanation": "x"},
        {"preference": "I love jazz.", "question": "Which bar?", "explanation": "x"},
    ]
    write(tmp_path / "explicit_preference" / "travel.json", pairs)
    alone, pooled = load("prefeval", tmp_path).conversations
    assert [turn.text for turn in alone.turns] == ["Sort a list"]
    assert [q.own[0].text for q in alone.questions] == ["I hate noise.", "I love jazz."]
    assert alone.questions[1].gold == {"turn": {"travel:1"}}
    assert alone.sessions() == {
        "filler-0:0": "filler-0",
        "travel:0": "travel",
        "travel:1": "travel",
    }
    assert [turn.id for turn in pooled.turns] == ["travel:0", "travel:1"]
    assert pooled.questions[1].gold == {"pooled": {"travel:1"}}


def trajectory(number: int, question: str = "我喜欢什么?") -> dict[str, object]:
    message = {"mid": 0, "message": f"我喜欢{number}", "time": "2024年04月01日 周一 08:39"}
    asked = {"qid": 0, "question": question, "answer": "茶", "target_step_id": [0]}
    return {"tid": number, "message_list": [message], "question_list": [asked]}


def test_memdaily_pools_trajectories_in_order_of_file_and_tid(tmp_path: Path) -> None:
    write(tmp_path / "02_noisy_items.json", [trajectory(1), trajectory(0, "坏 [ERRORQ]")])
    write(tmp_path / "01_simple_roles.json", [trajectory(n) for n in range(POOL - 1)])
    full, rest = load("memdaily", tmp_path).conversations
    assert len(full.turns) == POOL
    assert full.turns[0].id == "01_simple_roles-0:0"
    assert full.turns[-1].id == "02_noisy_items-0:0"
    assert len(full.questions) == POOL - 1
    assert full.questions[0].category == "simple"
    assert full.turns[0].at == "2024-04-01T08:39:00+00:00"
    (question,) = rest.questions
    assert question.category == "noisy"
    assert question.gold == {"turn": {"02_noisy_items-1:0"}}


def test_memdaily_reads_the_published_nesting(tmp_path: Path) -> None:
    nested = {"simple": {"roles": [trajectory(0)]}, "noisy": {"items": [trajectory(0)]}}
    pool = one(write(tmp_path / "memdaily.json", nested), "memdaily")
    assert [turn.id for turn in pool.turns] == ["simple_roles-0:0", "noisy_items-0:0"]
    assert [question.category for question in pool.questions] == ["simple", "noisy"]


def persona(tmp_path: Path, *rows: tuple[str, int, int]) -> Path:
    """Three blocks of three messages; a row is a question, its distance and its end."""
    block = [
        {"role": "system", "content": "Current user persona"},
        {"role": "user", "content": "User: tell me"},
        {"role": "assistant", "content": "Assistant: told"},
    ]
    context = tmp_path / "shared_contexts_8k.jsonl"
    context.write_text(json.dumps({"context-of-ours": block * 3}) + "\n", encoding="utf-8")
    names = str.split(
        "persona_id question_id question_type distance_to_ref_in_blocks user_question_or_message "
        "shared_context_id end_index_in_shared_context"
    )
    file = tmp_path / "questions_8k.csv"
    with file.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(names)
        for number, (text, distance, end) in enumerate(rows):
            writer.writerow([0, f"q{number}", "recall", distance, text, "context-of-ours", end])
    return file


def test_personamem_counts_blocks_back_from_the_end(tmp_path: Path) -> None:
    file = persona(tmp_path, ("Last?", 1, 8), ("First?", 3, 8), ("Inside?", 1, 5), ("None", 9, 8))
    last, first, inside = one(file, "personamem").questions
    assert last.gold == {"session": {"block-3"}}
    assert first.gold == {"session": {"block-1"}}
    assert inside.gold == {"session": {"block-1"}}
    assert (last.after, inside.after) == (5, 3)
    assert last.cluster == "persona-0"


def test_personamem_drops_labels_system_messages_and_the_question_itself(tmp_path: Path) -> None:
    persona(tmp_path, ("User: tell me", 1, 8))
    conversation = one(tmp_path, "personamem")
    assert [turn.text for turn in conversation.turns] == ["tell me", "told"] * 3
    (question,) = conversation.questions
    assert question.text == "tell me"
    assert question.after == 4


def test_stages_add_turns_up_to_each_question() -> None:
    turns = tuple(Turn(str(number), "s", "text") for number in range(4))
    questions = tuple(Question(f"q{end}", "c", "?", {}, "k", after=end) for end in (3, None, 1, 3))
    stages = [
        ([t.id for t in added], [q.id for q in asked])
        for added, asked in Conversation("c", turns, questions).stages()
    ]
    assert stages == [(["0"], ["q1"]), (["1", "2"], ["q3", "q3"]), (["3"], ["qNone"])]


@pytest.mark.parametrize(
    ("suite", "content"),
    [("locomo", {}), ("locomo", [{"conversation": {}}]), ("memdaily", [{"tid": 1}]), ("nope", [])],
)
def test_other_formats_are_an_error(tmp_path: Path, suite: str, content: object) -> None:
    with pytest.raises(DataError):
        load(suite, write(tmp_path / "x.json", content))


def test_missing_data_is_an_error(tmp_path: Path) -> None:
    for suite in ("locomo", "prefeval", "personamem"):
        with pytest.raises(DataError):
            load(suite, tmp_path / "nowhere")
        with pytest.raises(DataError):
            load(suite, tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1:56 pm on 8 May, 2023", datetime(2023, 5, 8, 13, 56, tzinfo=UTC)),
        ("12:09 am on 13 September, 2023", datetime(2023, 9, 13, 0, 9, tzinfo=UTC)),
        ("2023/08/11 (Fri) 09:00", datetime(2023, 8, 11, 9, tzinfo=UTC)),
        ("March-15-2024", datetime(2024, 3, 15, tzinfo=UTC)),
        ("2024年04月01日 周一 08:39", datetime(2024, 4, 1, 8, 39, tzinfo=UTC)),
        ("2024-02-30", None),
        ("some day", None),
        (None, None),
    ],
)
def test_dates_of_the_data_sets(text: str | None, expected: datetime | None) -> None:
    assert parse_date(text) == expected


def test_dates_that_are_not_understood_keep_their_words() -> None:
    assert stated_at("late in spring") == "late in spring"
    assert stated_at("") is None
