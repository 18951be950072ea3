"""Equation 2 of GeoSeg on boxes that were worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt_tiles import PATIENT

from pipeline.errors import InputError
from pipeline.prompt.box_margins import (
    GEOSEG,
    BoxMargins,
    margins_document,
    moved_box,
    moved_boxes,
    read_margins,
)
from pipeline.schema.tile_answers import Prompt

WINDOW = (800, 1000)
"""800 rows, 1000 columns."""


@pytest.mark.parametrize(
    ("box", "moved"),
    [
        # w = 100, h = 50: 200 - 20, 300 - 10, 300 + 10, 350 + 5
        ((200, 300, 300, 350), (180, 290, 310, 355)),
        # clipped at the left and the top: 10 - 20 < 0, 5 - 10 < 0
        ((10, 5, 110, 55), (0, 0, 120, 60)),
        # w = 95, h = 47; clipped at the right and the bottom: 995 + 9.5 > 1000, 797 + 4.7 > 800
        ((900, 750, 995, 797), (881, 740.6, 1000, 800)),
        # clamped first, so that w = 100 and not 200
        ((-100, 100, 100, 200), (0, 80, 110, 210)),
    ],
)
def test_the_published_margins_by_hand(
    box: tuple[float, float, float, float], moved: tuple[float, float, float, float]
) -> None:
    assert moved_box(box, GEOSEG, WINDOW) == pytest.approx(moved)


def test_sides_move_each_by_their_own_share() -> None:
    margins = BoxMargins(left=0.5, top=-0.1, right=0.0, bottom=0.25)
    assert moved_box((200, 300, 300, 340), margins, WINDOW) == (150, 304, 300, 350)


def test_points_and_prompts_without_a_box_stay() -> None:
    points = Prompt(box_xyxy=None, points_xy=((5, 5),), point_labels=(1,))
    both = Prompt(box_xyxy=(200, 300, 300, 350), points_xy=((250, 310),), point_labels=(1,), label="a")
    first, second = moved_boxes([points, both], GEOSEG, WINDOW)
    assert first == points
    assert (second.points_xy, second.label) == (both.points_xy, "a")
    assert second.box_xyxy == pytest.approx((180, 290, 310, 355))
    assert moved_boxes([points, both], BoxMargins(), WINDOW) == (points, both)


def test_a_box_that_would_vanish_stays() -> None:
    margins = BoxMargins(left=-0.4, right=-0.4)
    assert moved_box((10, 10, 13, 20), margins, WINDOW) == (10, 10, 13, 20)
    assert moved_box((10, 10, 20, 20), margins, WINDOW) == (14, 10, 16, 20)


sides = st.floats(-0.49, 5)


@PATIENT
@given(
    st.tuples(st.floats(0, 900), st.floats(0, 700), st.floats(2, 100), st.floats(2, 100)),
    st.builds(BoxMargins, left=sides, top=sides, right=sides, bottom=sides),
)
def test_a_moved_box_is_a_box_inside_the_window(
    corner: tuple[float, float, float, float], margins: BoxMargins
) -> None:
    x, y, wide, high = corner
    x0, y0, x1, y1 = moved_box((x, y, x + wide, y + high), margins, WINDOW)
    assert 0 <= x0 < x1 <= 1000
    assert 0 <= y0 < y1 <= 800


def test_a_calibration_file_gives_back_its_margins(tmp_path: Path) -> None:
    margins = BoxMargins(left=0.11, top=0.12, right=-0.03, bottom=0.0, profile="embedded")
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps({**margins_document(margins), "prompter": "x"}))
    assert read_margins(str(path)) == margins
    assert read_margins("geoseg") == BoxMargins(left=0.2, top=0.2, right=0.1, bottom=0.1)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"box_margins": {"left": 0.1}}', '{"box_margins": {"left": "wide"}}']
)
def test_a_file_without_margins_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "boxes.json"
    path.write_text(text)
    with pytest.raises(InputError, match="calibrate_boxes"):
        read_margins(str(path))
    with pytest.raises(InputError, match=r"none\.json"):
        read_margins(str(tmp_path / "none.json"))


@pytest.mark.parametrize("wrong", [-0.5, 5.1, float("nan"), float("inf")])
def test_margins_that_no_box_survives_are_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="margins of a box"):
        BoxMargins(top=wrong)
