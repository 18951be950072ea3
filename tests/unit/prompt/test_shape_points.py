"""Shapes that were drawn by hand, and points on them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from prompt_tiles import PATIENT

from pipeline.prompt.oracle_prompter import interior_points, object_prompts
from pipeline.prompt.shape_points import MOST_POINTS, counted_prompts, kind_of, shape_prompts, spread_points

Mask = NDArray[np.bool_]


def bar(high: int, wide: int) -> Mask:
    return np.ones((high, wide), np.bool_)


def ring(side: int, thick: int) -> Mask:
    mask = bar(side, side)
    mask[thick:-thick, thick:-thick] = False
    return mask


def diagonal(side: int, thick: int) -> Mask:
    rows, cols = np.indices((side, side))
    found: Mask = abs(rows - cols) <= thick
    return found


@pytest.mark.parametrize(
    ("mask", "kind"),
    [
        (bar(20, 20), "compact"),
        (bar(20, 60), "compact"),  # three times as long as wide
        (bar(20, 120), "long"),
        (bar(120, 20), "long"),
        (diagonal(80, 4), "long"),
        (ring(40, 6), "ring"),
        (ring(40, 19), "compact"),  # a hole of 2 x 2 px
    ],
)
def test_kinds(mask: Mask, kind: str) -> None:
    assert kind_of(mask)[0] == kind


def test_length_over_width_by_hand() -> None:
    """20 rows: the deepest pixel is 10 deep, and 2400 / (4 * 10 * 10) = 6 = 120 / 20."""
    assert kind_of(bar(20, 120))[1] == 6.0


def test_points_run_along_a_bar() -> None:
    """The farthest ones come first, near both ends."""
    points = spread_points(bar(20, 120), 3)
    assert len(points) == 3
    xs = sorted(x for x, _ in points)
    assert xs[0] < 30
    assert xs[-1] > 90
    assert all(4.5 <= y <= 15.5 for _, y in points)  # row 4 is 5 deep, half of the deepest


def test_prompts_of_three_shapes() -> None:
    labels = np.zeros((140, 300), np.int32)
    labels[10:30, 10:130] = 1
    labels[40:80, 200:240] = ring(40, 6) * 2
    labels[100:120, 20:40] = 3
    long, hollow, compact = shape_prompts(labels)
    assert long.box_xyxy == (10, 10, 130, 30)
    assert long.point_labels == (1, 1, 1)
    assert hollow.point_labels == (1, 1, 1, 1, 0)
    x, y = hollow.points_xy[-1]
    assert labels[int(y), int(x)] == 0
    assert 206 <= x <= 234
    assert 46 <= y <= 74
    assert compact == object_prompts(labels)[2]


@PATIENT
@given(st.integers(3, 40), st.integers(3, 200), st.integers(1, 8))
def test_points_lie_inside_and_are_few(high: int, wide: int, count: int) -> None:
    points = spread_points(bar(high, wide), count)
    assert 1 <= len(points) <= count
    assert len(set(points)) == len(points)
    assert all(0 < x < wide and 0 < y < high for x, y in points)


@PATIENT
@given(st.integers(0, 2**32 - 1))
def test_two_points_are_those_of_the_fixed_combination(seed: int) -> None:
    from scipy import ndimage

    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(40, 40)), 4)
    labels = ndimage.label(noise > 0)[0]
    for window, local in zip(ndimage.find_objects(labels), range(1, labels.max() + 1), strict=True):
        mask = labels[window] == local
        assert spread_points(mask, 2) == interior_points(mask)


def test_no_more_than_the_most() -> None:
    labels = np.zeros((20, 2000), np.int32)
    labels[5:15, :] = 1
    (prompt,) = shape_prompts(labels)
    assert len(prompt.points_xy) == MOST_POINTS


def test_counted_points_are_on_the_object_and_beside_it_in_its_box() -> None:
    labels = np.zeros((60, 60), np.int32)
    labels[10:50, 10:20] = 1
    labels[40:50, 10:50] = 1
    labels[12:30, 30:48] = 2
    first, second = counted_prompts(labels, inside=2, outside=2)
    assert (first.box_xyxy, first.point_labels) == ((10.0, 10.0, 50.0, 50.0), (1, 1, 0, 0))
    assert [int(labels[int(y), int(x)]) for x, y in first.points_xy] == [1, 1, 0, 0]
    assert set(second.point_labels) == {1}  # its box holds nothing else
    assert all(labels[int(y), int(x)] == 2 for x, y in second.points_xy)
    (four, _) = counted_prompts(labels, inside=4)
    assert four.point_labels == (1,) * 4
