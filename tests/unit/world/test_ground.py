"""Ground, textures and trees: the same in every window, and trees on free ground alone."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.world.ground import F32, paint_ground, paint_trees, textures
from pipeline.world.style import (
    BARE,
    FOREST,
    GROUND,
    NUMBERS,
    PALETTE_ROWS,
    PATHS,
    TEXTURE,
    TREE_LEVEL,
    TREE_SIZE,
    derive_style,
)

SEED = np.uint64(17)
WARP = 9.0
SHAPE = (90, 120)
ROW0 = -40
COL0 = 1000
CUT = (slice(20, 61), slice(33, 103))
"""Rows and columns of a smaller window inside."""
INNER = (ROW0 + 20, COL0 + 33, 1.0)


def both_textures() -> tuple[tuple[F32, F32], tuple[F32, F32]]:
    numbers = derive_style(17).numbers
    whole = textures((ROW0, COL0, 1.0), SEED, numbers, SHAPE, WARP)
    return whole, textures(INNER, SEED, numbers, (41, 70), WARP)


def test_textures_are_the_same_in_every_window() -> None:
    (tex, warp), (inner_tex, inner_warp) = both_textures()
    np.testing.assert_array_equal(tex[:, *CUT], inner_tex)
    np.testing.assert_array_equal(warp[:, *CUT], inner_warp)


def test_textures_lie_about_zero_and_a_shore_moves_by_the_warp_at_most() -> None:
    numbers = np.zeros(NUMBERS)
    numbers[TEXTURE] = 1.0
    tex, warp = textures((0, 0, 1.0), SEED, numbers, (400, 400), WARP)
    assert np.abs(tex).max() <= 0.5
    assert np.abs(tex[0].mean()) < 0.1
    assert np.abs(warp).max() <= WARP
    assert warp.min() < -0.5 * WARP
    assert warp.max() > 0.5 * WARP


def test_the_ground_is_the_same_in_every_window() -> None:
    style = derive_style(17)
    numbers = style.numbers.copy()
    numbers[PATHS] = 0.0  # the last row and column of a canvas have no slope, which tracks need
    (tex, _), (inner_tex, _) = both_textures()
    whole = paint_ground((ROW0, COL0, 1.0), SEED, numbers, style.palette, tex)
    inner = paint_ground(INNER, SEED, numbers, style.palette, inner_tex)
    np.testing.assert_array_equal(whole[CUT], inner)


def test_flat_ground_has_the_colours_of_its_palette() -> None:
    """Without texture and contrast, of tones that are all alike, the ground is that one colour."""
    numbers = np.zeros(NUMBERS)
    numbers[BARE] = 2.0  # noise never gets there: no bare soil
    palette = np.zeros((PALETTE_ROWS, 3))
    palette[GROUND : GROUND + 6] = (90.0, 120.0, 60.0)
    rgb = paint_ground((0, 0, 1.0), SEED, numbers, palette, np.zeros((3, 20, 30), np.float32))
    np.testing.assert_allclose(rgb, np.broadcast_to((90.0, 120.0, 60.0), (20, 30, 3)), rtol=1e-6)


def planted(*, level: float, taken: np.ndarray) -> tuple[F32, F32]:
    """Trees of one density on a black canvas: colours and heights."""
    numbers = np.zeros(NUMBERS)
    numbers[TREE_LEVEL] = level
    numbers[FOREST] = 2.0  # no woods
    numbers[TREE_SIZE] = 1.0
    rgb = np.zeros((*taken.shape, 3), np.float32)
    height = np.zeros(taken.shape, np.float32)
    tex = np.zeros((3, *taken.shape), np.float32)
    palette = np.full((PALETTE_ROWS, 3), 50.0)
    paint_trees((0, 0, 1.0), SEED, numbers, palette, tex, rgb, height, taken)
    return rgb, height


def test_no_tree_without_density() -> None:
    rgb, height = planted(level=0.0, taken=np.zeros((100, 100), np.uint8))
    assert not rgb.any()
    assert not height.any()


@pytest.mark.parametrize("columns", [0, 40])
def test_trees_stand_on_free_ground_alone(columns: int) -> None:
    taken = np.zeros((100, 100), np.uint8)
    taken[:, :columns] = 1
    rgb, height = planted(level=0.9, taken=taken)
    assert not height[:, :columns].any()
    free = height[:, columns:] > 0
    assert free.mean() > 0.2
    assert (rgb[:, columns:][free] > 0).all()
    assert not rgb[:, columns:][~free].any()
