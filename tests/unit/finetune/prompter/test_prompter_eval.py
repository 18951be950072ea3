"""The tally of an evaluation, on replies counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.finetune.prompter.prompter_eval import AnswerTally, box_iou, count_matches, read_answer
from pipeline.finetune.prompter.samples import reply_text


def test_iou_of_half_overlapping_squares_is_a_third() -> None:
    assert box_iou(np.array([[0.0, 0, 10, 10]]), np.array([[5.0, 0, 15, 10]]))[0, 0] == pytest.approx(1 / 3)


def test_a_box_matches_once() -> None:
    truth = np.array([[0.0, 0, 10, 10], [100, 100, 120, 120]])
    boxes = np.array([[0.0, 0, 10, 9], [0, 0, 10, 10], [50, 50, 60, 60]])
    assert count_matches(boxes, truth) == 1


def test_a_tally_by_hand() -> None:
    tally = AnswerTally()
    nothing = np.zeros((0, 4))
    truth = np.array([[0.0, 0, 10, 10], [20, 20, 40, 40]])
    tally.add(np.array([[0.0, 0, 10, 10]]), truth)
    tally.add(nothing, truth)
    tally.add(nothing, nothing)
    tally.add(np.array([[1.0, 1, 2, 2]]), nothing)
    tally.add(None, nothing)
    found = tally.summary()
    assert (found["recall"], found["precision"], found["rejection"], found["false_rejection"]) == (
        0.25,
        0.5,
        1 / 3,
        0.5,
    )
    assert found["malformed"] == 1


def test_answers_are_read_or_called_malformed() -> None:
    read = read_answer(reply_text("pools", [[5, 6, 1, 2, 9, 10]]))
    assert read is not None
    assert read.tolist() == [[1, 2, 9, 10]]
    empty = read_answer(reply_text("pools", []))
    assert empty is not None
    assert empty.shape == (0, 4)
    for text in (
        "",
        "<answer>[{</answer>",
        '<answer>[{"box":[1,2,3,4]}]</answer>',
        '<answer>[{"bbox_2d":[1,2]}]</answer>',
    ):
        assert read_answer(text) is None
