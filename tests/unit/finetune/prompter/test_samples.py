"""What the prompter learns from a label raster, checked by hand on tiles small enough to draw."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.finetune.prompter import samples


def tile(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    """A 252 px raster with object k + 1 filling boxes[k] = x0, y0, x1, y1."""
    labels = np.zeros((252, 252), np.int32)
    for number, (x0, y0, x1, y1) in enumerate(boxes, 1):
        labels[y0:y1, x0:x1] = number
    return labels


def test_boxes_points_and_order_of_a_drawn_tile() -> None:
    labels = tile((100, 150, 140, 170), (60, 10, 80, 40), (10, 12, 30, 30))
    truth = samples.describe_tile(labels, {1: 4, 2: 0, 3: 7}, n_classes=9)
    assert truth.class_ids.tolist() == [7, 0, 4]
    assert truth.boxes_xyxy.tolist() == [[10, 12, 30, 30], [60, 10, 80, 40], [100, 150, 140, 170]]
    assert np.abs(truth.points_xy - [[20, 21], [70, 25], [120, 160]]).max() <= 0.5
    numbers = samples.answer_numbers(truth.points_xy, truth.boxes_xyxy)
    assert numbers[2].tolist() == [120, 160, 100, 150, 140, 170]


def test_a_larger_tile_is_squashed() -> None:
    labels = np.kron(tile((100, 150, 140, 170)), np.ones((2, 2), np.int32))
    truth = samples.describe_tile(labels, {1: 0}, n_classes=1)
    assert truth.boxes_xyxy.tolist() == [[100, 150, 140, 170]]


def test_slivers_and_specks_are_left_out_of_the_reply_but_not_of_the_coverage() -> None:
    labels = tile((0, 0, 7, 100), (100, 100, 108, 107), (200, 200, 208, 208))
    truth = samples.describe_tile(labels, {1: 0, 2: 1, 3: 2}, n_classes=3)
    assert truth.class_ids.tolist() == [2]
    assert truth.coverage[0, 0].tolist() == [0.25, 0.0, 0.0]


def test_the_point_of_a_ring_lies_on_the_ring() -> None:
    rows, cols = np.mgrid[:252, :252]
    distance = np.hypot(rows - 126, cols - 126)
    labels = ((distance < 60) & (distance > 40)).astype(np.int32)
    x, y = samples.describe_tile(labels, {1: 0}, n_classes=1).points_xy[0]
    assert labels[int(y), int(x)] == 1


def test_the_owner_of_a_cell_is_the_object_with_most_of_it() -> None:
    truth = samples.describe_tile(tile((0, 0, 28, 20), (0, 20, 28, 56)), {1: 0, 2: 1}, n_classes=2)
    assert truth.class_ids.tolist() == [0, 1]
    assert truth.owner[:3, 0].tolist() == [0, 1, -1]
    assert (truth.owner[:, 1:] == -1).all()


def test_an_empty_tile_has_nothing() -> None:
    truth = samples.describe_tile(np.zeros((256, 256), np.int32), {}, n_classes=9)
    assert len(truth.class_ids) == 0
    assert truth.boxes_xyxy.shape == (0, 4)
    assert (truth.owner == -1).all()
    assert not truth.coverage.any()


def test_replies_are_the_contract_letter_by_letter() -> None:
    assert samples.reply_text("storage tanks", [[41, 30, 20, 12, 60, 49], [200, 101, 180, 77, 221, 125]]) == (
        "<think>The question is about storage tanks. I see some.</think><answer>"
        '[{"cell":"b2","positive_points":[[41,30]],"bbox_2d":[20,12,60,49]},'
        '{"cell":"h4","positive_points":[[200,101]],"bbox_2d":[180,77,221,125]}]</answer>'
    )
    assert (
        samples.reply_text("lakes", [])
        == "<think>The question is about lakes. I see none.</think><answer>[]</answer>"
    )


@given(st.lists(st.lists(st.integers(0, 252), min_size=6, max_size=6), max_size=6))
def test_answers_are_json_that_says_the_numbers(numbers: list[list[int]]) -> None:
    answer = samples.reply_text("pools", numbers).split("<answer>")[1].removesuffix("</answer>")
    read = [[*item["positive_points"][0], *item["bbox_2d"]] for item in json.loads(answer)]
    assert read == numbers


@given(st.lists(st.tuples(st.floats(0, 252), st.floats(0, 252)), max_size=8))
def test_raster_order_goes_row_of_cells_by_row_of_cells(points: list[tuple[float, float]]) -> None:
    array = np.asarray(points, np.float32).reshape(-1, 2)
    cells = samples.cell_of(array)[samples.raster_order(array)]
    assert (np.diff(cells) >= 0).all()
    assert ((cells >= 0) & (cells < 81)).all()
