from __future__ import annotations

import json

import numpy as np
import pytest
from evaluate.box_worlds import Painted, answer

from pipeline.evaluate.calibrate.box_pairs import box_iou, collect_pairs, matched, said_boxes, true_boxes
from pipeline.prompt.profile import load_profile

GEOSEG = load_profile("geoseg")


def test_the_same_reply_in_three_frames() -> None:
    """By hand, on a picture of 448 x 224: x * 448 / 896 and / 1000; shares are above 1 and outside."""
    reply = '{"bbox": [100, 200, 500, 600], "prompt": "tank"}'
    assert said_boxes(reply, GEOSEG, "image_px", (224, 448)).tolist() == [[50, 50, 250, 150]]
    assert said_boxes(reply, GEOSEG, "thousand", (224, 448)) == pytest.approx(
        np.array([[44.8, 44.8, 224.0, 134.4]])
    )
    assert said_boxes(reply, GEOSEG, "unit", (224, 448)).shape == (0, 4)
    assert said_boxes("no box", GEOSEG, "thousand", (224, 448)).shape == (0, 4)


def test_true_boxes_of_objects_and_of_a_mask() -> None:
    """Objects that touch stay apart where the source knows them, and are one where it is a mask alone."""
    known = Painted(((10, 10, 20, 30), (20, 10, 40, 30), (50, 50, 53, 70)), 100)
    assert true_boxes(known, (100, 100)).tolist() == [[10, 10, 20, 30], [20, 10, 40, 30]]
    assert true_boxes(known, (200, 100)).tolist() == [[10, 20, 20, 60], [20, 20, 40, 60]]

    class MaskAlone:
        size_hw = known.size_hw
        read = known.read
        digest = known.digest

    assert true_boxes(MaskAlone(), (100, 100)).tolist() == [[10, 10, 40, 30]]


def test_iou_by_hand() -> None:
    first = np.array([[0.0, 0, 10, 10]])
    second = np.array([[0.0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30]])
    assert box_iou(first, second) == pytest.approx(np.array([[1.0, 1 / 3, 0.0]]))


def test_pairs_are_one_to_one_and_near() -> None:
    said = np.array([[0.0, 0, 10, 10], [1, 0, 11, 10], [80, 80, 90, 90]])
    true = np.array([[1.0, 0, 11, 10], [0, 0, 10, 10], [50, 50, 60, 60]])
    rows, cols = matched(said, true)
    assert sorted(zip(rows.tolist(), cols.tolist(), strict=True)) == [(0, 1), (1, 0)]
    assert [len(part) for part in matched(said, true[:0])] == [0, 0]


def test_answers_about_absent_targets_are_left_out() -> None:
    there = answer(4, Painted(((10, 10, 40, 40),), 100), json.dumps({"bbox": [100, 100, 400, 420]}))
    absent = answer(5, Painted((), 100), json.dumps({"bbox": [100, 100, 400, 420]}))
    pairs = collect_pairs([there, absent], GEOSEG, "thousand")
    assert pairs.said.tolist() == [[10, 10, 40, 42]]
    assert pairs.true.tolist() == [[10, 10, 40, 40]]
    assert pairs.picture.tolist() == [4]
    assert pairs.size_wh.tolist() == [[100, 100]]
    assert len(pairs.answers) == 1
