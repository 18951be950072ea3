from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt_tiles import PATIENT

from pipeline.prompt.profile import Profile, known_profiles, load_profile
from pipeline.prompt.reply.frames import to_window
from pipeline.prompt.reply.parse import ReplyItem, parse_reply

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


PROFILES = [load_profile(name) for name in known_profiles()]


def said(profile: Profile, box: list[float], points: list[list[float]]) -> str:
    """Write one object as the checkpoint of a profile would, in its frame and form."""
    settings = profile.parser
    if profile.name.startswith("internvl3"):
        return f"<ref>tank</ref><box>[{box}]</box>"
    if profile.name in ("remote-reasoner", "llava-1.5"):
        return f"<answer>{[box]}</answer>"
    item: dict[str, object] = {settings.box_keys[0]: box}
    if settings.points_form == "one_each":
        item |= dict(zip(settings.points_keys, points[: settings.n_points], strict=False))
    elif settings.points_keys:
        item[settings.points_keys[0]] = points[: settings.n_points]
    return f"<answer>{json.dumps([item])}</answer>"


@st.composite
def boxes_in_a_window(draw: st.DrawFn) -> tuple[Profile, tuple[int, int], tuple[float, float, float, float]]:
    """A profile, a read window of any shape, and a box of at least two steps of the profile's frame."""
    profile = draw(st.sampled_from(PROFILES))
    height, width = draw(st.tuples(st.integers(64, 2048), st.integers(64, 2048)))
    least = [2 * profile.frame_step / side for side in profile.frame_wh]
    share = st.floats(0, 1)
    x0, y0 = draw(share) * (1 - least[0]), draw(share) * (1 - least[1])
    x1 = x0 + least[0] + draw(share) * (1 - least[0] - x0)
    y1 = y0 + least[1] + draw(share) * (1 - least[1] - y0)
    return profile, (height, width), (x0 * width, y0 * height, x1 * width, y1 * height)


@PATIENT
@given(boxes_in_a_window())
def test_a_box_in_pixels_comes_back_within_half_a_step_of_the_frame(
    case: tuple[Profile, tuple[int, int], tuple[float, float, float, float]],
) -> None:
    """Pixels -> frame, rounded as a checkpoint writes it -> reply -> parse -> pixels."""
    profile, (height, width), box = case
    step = profile.frame_step
    scale = profile.frame_wh[0] / width, profile.frame_wh[1] / height
    written = [round(round(value * scale[n % 2] / step) * step, 2) for n, value in enumerate(box)]
    inside = [[(written[0] + written[2]) / 2, (written[1] + written[3]) / 2] for _ in range(2)]
    parsed = parse_reply(said(profile, written, inside), profile, finish_reason="stop")
    (prompt,) = to_window(parsed.items, profile.frame_wh, (height, width))
    assert prompt.box_xyxy is not None
    for n, (got, true) in enumerate(zip(prompt.box_xyxy, box, strict=True)):
        assert abs(got - true) <= 0.5 * step / scale[n % 2] * (1 + 1e-9) + 1e-9


def test_the_same_numbers_in_two_frames_are_two_places() -> None:
    """By hand: 500 of 1000 is the middle of the window, 500 px of 896 is not: 500 * 448 / 896 = 250."""
    reply = '{"bbox": [500, 500, 896, 896], "prompt": "tank"}'
    placed = []
    for name in ("geoseg", "geoseg-released"):
        profile = load_profile(name)
        items = parse_reply(reply, profile, finish_reason="stop").items
        placed += [prompt.box_xyxy for prompt in to_window(items, profile.frame_wh, (448, 448))]
    assert placed == [pytest.approx((224, 224, 401.408, 401.408)), (250, 250, 448, 448)]
