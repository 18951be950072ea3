"""Canvases of 2 x 4 pixels; the expected pixels are written down."""

from __future__ import annotations

import numpy as np

from pipeline.load.canvas import Canvas, OwnPixels
from pipeline.schema.tiling import Window

WHOLE = Window(row0=10, col0=20, row1=12, col1=24)
RIGHT = Window(row0=10, col0=22, row1=12, col1=24)


def pixels(grey: int, valid: list[list[int]], hidden: list[list[int]] | None = None) -> OwnPixels:
    """One scene's pixels of a grey, black where invalid."""
    shown = np.array(valid, dtype=bool)
    rgb = np.where(shown[..., None], grey, 0).astype(np.uint8).repeat(3, axis=-1)
    return OwnPixels(rgb=rgb, valid=shown, hidden=None if hidden is None else np.array(hidden, dtype=bool))


def test_a_canvas_that_nobody_fills_is_black_and_invalid() -> None:
    canvas = Canvas(WHOLE)
    assert not canvas.is_full(RIGHT)
    assert canvas.rgb.shape == (2, 4, 3)
    assert not canvas.rgb.any()
    assert not canvas.valid.any()
    assert canvas.hidden() is None
    assert canvas.scenes().numbers == ()


def test_the_first_scene_over_the_whole_window_is_not_copied() -> None:
    own = pixels(7, [[1, 1, 1, 1], [1, 1, 1, 1]])
    canvas = Canvas(WHOLE)
    canvas.fill(WHOLE, own, number=3)
    assert canvas.rgb is own.rgb
    assert canvas.valid is own.valid
    assert canvas.is_full(WHOLE)
    assert canvas.scenes().numbers == (3,)
    assert canvas.scenes().image is None


def test_the_first_valid_pixel_wins_and_the_winner_is_known() -> None:
    canvas = Canvas(WHOLE)
    canvas.fill(WHOLE, pixels(50, [[1, 1, 0, 0], [1, 0, 0, 0]]), number=0)
    canvas.fill(RIGHT, pixels(90, [[1, 0], [1, 1]]), number=2)
    assert canvas.rgb[..., 0].tolist() == [[50, 50, 90, 0], [50, 0, 90, 90]]
    assert canvas.valid.tolist() == [[True, True, True, False], [True, False, True, True]]
    assert canvas.scenes().numbers == (0, 2)
    assert canvas.scenes().image.tolist() == [[1, 1, 2, 0], [1, 0, 2, 2]]


def test_a_scene_over_a_part_comes_first() -> None:
    canvas = Canvas(WHOLE)
    canvas.fill(RIGHT, pixels(90, [[1, 1], [1, 0]]), number=0)
    assert not canvas.is_full(RIGHT)
    canvas.fill(WHOLE, pixels(50, [[1, 1, 1, 1], [1, 1, 1, 1]]), number=1)
    assert canvas.rgb[..., 2].tolist() == [[50, 50, 90, 90], [50, 50, 90, 50]]
    assert canvas.scenes().image.tolist() == [[2, 2, 1, 1], [2, 2, 1, 2]]


def test_a_first_scene_without_a_valid_pixel_is_no_winner() -> None:
    canvas = Canvas(WHOLE)
    canvas.fill(WHOLE, pixels(1, [[0, 0, 0, 0], [0, 0, 0, 0]]), number=0)
    canvas.fill(WHOLE, pixels(9, [[1, 1, 1, 1], [1, 1, 1, 1]]), number=1)
    assert canvas.scenes().numbers == (1,)
    assert (canvas.rgb == 9).all()


def test_hidden_is_what_no_scene_shows() -> None:
    canvas = Canvas(WHOLE)
    canvas.fill(WHOLE, pixels(50, [[0, 0, 1, 1], [1, 1, 1, 1]], [[1, 1, 0, 0], [0, 0, 0, 0]]), number=0)
    canvas.fill(WHOLE, pixels(60, [[1, 0, 1, 1], [1, 1, 1, 1]]), number=1)
    assert canvas.hidden().tolist() == [[False, True, False, False], [False] * 4]
