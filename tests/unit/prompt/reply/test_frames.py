from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt_tiles import PATIENT

from pipeline.prompt.reply.frames import to_window
from pipeline.prompt.reply.parse import ReplyItem

FRAMES = st.sampled_from([(840.0, 840.0), (252.0, 252.0), (1000.0, 1000.0), (896.0, 448.0)])
WINDOWS = st.tuples(st.integers(1, 4096), st.integers(1, 4096))


@st.composite
def items_in(draw: st.DrawFn) -> tuple[ReplyItem, tuple[float, float], tuple[int, int]]:
    frame = draw(FRAMES)
    x = sorted(draw(st.lists(st.floats(0, frame[0]), min_size=2, max_size=2, unique_by=round)))
    y = sorted(draw(st.lists(st.floats(0, frame[1]), min_size=2, max_size=2, unique_by=round)))
    points = draw(st.lists(st.tuples(st.floats(x[0], x[1]), st.floats(y[0], y[1])), max_size=2))
    return (
        ReplyItem(box_xyxy=(x[0], y[0], x[1], y[1]), points_xy=tuple(points), label="tank"),
        frame,
        draw(WINDOWS),
    )


def test_by_hand() -> None:
    # 840 px seen, window of 1024 columns and 512 rows: x * 1024 / 840, y * 512 / 840
    item = ReplyItem(box_xyxy=(0, 0, 840, 420), points_xy=((420, 210), (105, 84)), label="tank")
    (prompt,) = to_window([item], (840.0, 840.0), (512, 1024))
    assert prompt.box_xyxy == (0, 0, 1024, 256)
    assert prompt.points_xy == ((512, 128), (128, pytest.approx(51.2)))
    assert prompt.point_labels == (1, 1)
    assert prompt.label == "tank"


def test_thousandths_by_hand() -> None:
    (prompt,) = to_window([ReplyItem(box_xyxy=(100, 200, 500, 1000))], (1000.0, 1000.0), (300, 640))
    assert prompt.box_xyxy == (64, 60, 320, 300)


def test_points_beside_the_object_get_label_0() -> None:
    item = ReplyItem(
        box_xyxy=(10, 20, 50, 100), points_xy=((20.0, 40.0),), negative_xy=((100.0, 8.0), (4.0, 0.0))
    )
    (prompt,) = to_window([item], (200.0, 200.0), (100, 400))
    assert prompt.points_xy == ((40, 20), (200, 4), (8, 0))
    assert prompt.point_labels == (1, 0, 0)
    assert prompt.box_xyxy == (20, 10, 100, 50)


def test_what_lies_outside_the_frame_lies_outside_the_window() -> None:
    item = ReplyItem(box_xyxy=(420, 1680, -84, 0), points_xy=((-840, 42),))
    (prompt,) = to_window([item], (840.0, 840.0), (100, 1000))
    assert prompt.box_xyxy == (500, 200, -100, 0)
    assert prompt.points_xy == ((-1000, 5),)


def test_points_only() -> None:
    (prompt,) = to_window([ReplyItem(box_xyxy=None, points_xy=((84.0, 42.0),))], (840.0, 840.0), (1000, 1000))
    assert prompt.box_xyxy is None
    assert prompt.points_xy == ((100.0, 50.0),)


@PATIENT
@given(items_in())
def test_the_same_share_of_the_window(case: tuple[ReplyItem, tuple[float, float], tuple[int, int]]) -> None:
    item, frame, window_hw = case
    (prompt,) = to_window([item], frame, window_hw)
    height, width = window_hw
    assert prompt.box_xyxy is not None
    x0, y0, x1, y1 = prompt.box_xyxy
    assert 0 <= x0 < x1 <= width
    assert 0 <= y0 < y1 <= height
    assert all(0 <= x <= width and 0 <= y <= height for x, y in prompt.points_xy)
    assert item.box_xyxy is not None
    placed = ((x0, y0), (x1, y1), *prompt.points_xy)
    asked = (item.box_xyxy[:2], item.box_xyxy[2:], *item.points_xy)
    for (x, y), (u, v) in zip(placed, asked, strict=True):
        assert x / width == pytest.approx(u / frame[0], rel=1e-9, abs=1e-9)
        assert y / height == pytest.approx(v / frame[1], rel=1e-9, abs=1e-9)
    assert prompt.label == item.label


@PATIENT
@given(items_in(), st.floats(0.01, 100))
def test_size_of_the_frame_alone_does_not_matter(
    case: tuple[ReplyItem, tuple[float, float], tuple[int, int]], scale: float
) -> None:
    """The same fractions of the image give the same place, whatever unit a checkpoint counts in."""
    item, frame, window_hw = case
    assert item.box_xyxy is not None
    scaled = ReplyItem(box_xyxy=tuple(v * scale for v in item.box_xyxy))  # type: ignore[arg-type]
    (one,) = to_window([item], frame, window_hw)
    (two,) = to_window([scaled], (frame[0] * scale, frame[1] * scale), window_hw)
    assert two.box_xyxy == pytest.approx(one.box_xyxy, rel=1e-9, abs=1e-9)
