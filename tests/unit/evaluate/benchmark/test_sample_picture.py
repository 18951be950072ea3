"""What is drawn where."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from pipeline.evaluate.benchmark.sample_picture import COLOURS, draw_sample
from pipeline.schema.tile_answers import Prompt


def drawn(
    true: np.ndarray, predicted: np.ndarray, prompts: tuple[Prompt, ...] = (), side: int = 200
) -> np.ndarray:
    rgb = np.full((*true.shape, 3), 128, np.uint8)
    data = draw_sample(rgb, true, predicted, prompts, side_px=side)
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(float)


def nearest_colour(pixel: np.ndarray) -> str:
    colours = {
        **{name: 0.62 * 128 + 0.38 * np.array(colour) for name, colour in COLOURS.items()},
        "ground": np.full(3, 128.0),
    }
    return min(colours, key=lambda name: float(np.abs(colours[name] - pixel).sum()))


def test_agreement_lack_and_excess_have_their_colours() -> None:
    true = np.zeros((40, 40), bool)
    predicted = np.zeros((40, 40), bool)
    true[5:35, 5:25] = True
    predicted[5:35, 15:35] = True
    picture = drawn(true, predicted)
    at = {
        name: nearest_colour(picture[100, 5 * col])
        for name, col in (("left", 10), ("middle", 20), ("right", 30), ("outside", 2))
    }
    assert at == {"left": "missed", "middle": "hit", "right": "too much", "outside": "ground"}


def test_boxes_and_points_lie_at_their_scaled_places() -> None:
    nothing = np.zeros((40, 80), bool)
    prompt = Prompt(box_xyxy=(10.0, 10.0, 30.0, 30.0), points_xy=((60.0, 20.0),), point_labels=(1,))
    picture = drawn(nothing, nothing, (prompt,), side=160)
    assert picture.shape == (80, 160, 3)
    yellow = picture[..., 0] - picture[..., 2] > 60
    assert yellow[40, 119:122].all()  # the point
    assert yellow[20:60, 19:22].any(axis=1).all()  # the box's left side
    assert not yellow[30:50, 30:50].any()  # nothing inside the box


def test_prompts_turned_inside_out_or_outside_the_image_do_not_stop_the_page() -> None:
    nothing = np.zeros((20, 20), bool)
    prompt = Prompt(box_xyxy=(18.0, 15.0, 2.0, 3.0), points_xy=((500.0, -3.0),), point_labels=(0,))
    assert drawn(nothing, nothing, (prompt,)).shape == (200, 200, 3)
    far = Prompt(box_xyxy=(1e30, -1e30, 2.0, 3e38), points_xy=((-3e38, 1e12),), point_labels=(1,))
    assert drawn(nothing, nothing, (far,)).shape == (200, 200, 3)
