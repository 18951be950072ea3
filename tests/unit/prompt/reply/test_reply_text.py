"""Where an answer stands and what raw items it holds, on replies written out by hand."""

from __future__ import annotations

import pytest

from pipeline.prompt.profile import ParserSettings
from pipeline.prompt.reply.reply_text import (
    AnswerPlace,
    ReplyLog,
    decode_json,
    is_empty_list,
    read_values,
    split_reply,
)

SETTINGS = ParserSettings(box_keys=("bbox",), max_items=3)


def texts(reply: str) -> tuple[str, list[tuple[str, bool, bool]]]:
    rationale, places = split_reply(reply)
    return rationale, [(place.text, place.marked, place.fenced) for place in places]


@pytest.mark.parametrize(
    ("reply", "rationale", "first"),
    [
        ("<think> a b </think><answer>[1]</answer>", "a b", ("[1]", True, False)),
        ("a b</think> [1]", "a b", (" [1]", False, False)),  # opened by the chat template
        ("<think>a b<answer>[1]</answer>", "a b", ("[1]", True, False)),  # never closed
        ("<think>a b", "a b", ("", False, False)),
        ("<answer>x ```json\n[1]\n``` y</answer>", "", ("\n[1]\n", True, True)),
        ("plain [1]", "", ("plain [1]", False, False)),
        ("<THINK>a</THINK><Answer>[1]</Answer>", "a", ("[1]", True, False)),
    ],
)
def test_thinking_and_the_likeliest_place(reply: str, rationale: str, first: tuple[str, bool, bool]) -> None:
    found, places = texts(reply)
    assert (found, places[0]) == (rationale, first)


def test_every_answer_block_is_a_place_in_order() -> None:
    assert texts("<answer>[1]</answer> and <answer>[2]</answer>")[1] == [
        ("[1]", True, False),
        ("[2]", True, False),
    ]


def test_a_fence_comes_before_the_block_around_it() -> None:
    assert texts("see ```[1]```")[1] == [("[1]", True, True), ("see ```[1]```", False, False)]


@pytest.mark.parametrize(
    ("text", "marked", "empty"),
    [
        ("[]", False, True),
        (" [ ] ", False, True),
        ("[]]", False, True),
        ("［］", False, True),
        ("nothing here: []", True, True),
        ("nothing here: []", False, False),
        ("[] but box 3", True, False),
        ("[] []", True, False),
        ("", True, False),
    ],
)
def test_a_written_out_empty_list(text: str, marked: bool, empty: bool) -> None:
    assert is_empty_list(AnswerPlace(text=text, marked=marked, fenced=False)) is empty


def values(body: str, *, hit_limit: bool = False) -> tuple[list[object], ReplyLog]:
    log = ReplyLog()
    return list(read_values(body, SETTINGS, log, hit_limit=hit_limit)), log


def test_valid_json_is_opened_down_to_its_items() -> None:
    assert values('[{"bbox": [1, 2, 3, 4]}, [[5, 6, 7, 8]]]')[0] == [{"bbox": [1, 2, 3, 4]}, [5, 6, 7, 8]]
    assert values('{"objects": [{"bbox": [1, 2, 3, 4]}]}')[0] == [{"bbox": [1, 2, 3, 4]}]


def test_a_broken_list_is_read_item_by_item() -> None:
    found, log = values('[{"bbox": [1, 2, 3, 4]}, {"bbox": [5, 6, 7, 8], {"bbox": [9, 9, 9, 9]}]')
    assert found == [{"bbox": [1, 2, 3, 4]}, {"bbox": [5, 6, 7, 8]}, {"bbox": [9, 9, 9, 9]}]
    assert "an item lacks its closing brace" in log.notes
    assert log.n_dropped == 0


def test_an_item_that_is_cut_off_is_counted_and_left_out() -> None:
    found, log = values('[{"bbox": [1, 2, 3, 4]}, {"bbox": [5, 6', hit_limit=True)
    assert found == [{"bbox": [1, 2, 3, 4]}]
    assert (log.cut_open, log.n_dropped) == (True, 1)


def test_further_items_than_allowed_are_counted() -> None:
    found, log = values("[" + ", ".join('{"bbox": [1, 2, 3, 4]}' for _ in range(5)) + "]")
    assert len(found) == 3
    assert log.n_dropped == 2
    assert log.notes == ("only the first 3 items were read",)


def test_a_log_keeps_each_sentence_once_and_adds_the_counts() -> None:
    log = ReplyLog()
    log.drop("bad", 2)
    log.drop("bad")
    log.note("odd")
    assert (log.n_dropped, log.notes) == (3, ("bad", "odd"))


def test_decoding_mends_what_it_can() -> None:
    assert decode_json('{"a": 1}') == {"a": 1}
    assert decode_json("{'a': 1,}") == {"a": 1}
