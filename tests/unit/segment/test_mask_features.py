"""Features of masks, against values made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.schema.tile_answers import MaskCrop
from pipeline.segment.mask_features import PLAIN, describe_masks, plain_features, pooled


def mask_of(rows: list[str], row0: int = 0, col0: int = 0) -> MaskCrop:
    mask = np.array([[letter == "#" for letter in row] for row in rows])
    return MaskCrop(row0=row0, col0=col0, mask=mask, score=1.0, prompt_index=0)


def test_a_cell_counts_by_its_pixels() -> None:
    """Cells of 4 px: 6 pixels in the first, 2 in its right neighbour. A mask within a cell has its value."""
    cells = np.array([[[1.0, 5.0], [9.0, 13.0]], [[0.0, 8.0], [0.0, 0.0]]], dtype=np.float32)
    wide = mask_of(["####", "####"], row0=1, col0=1)
    small = mask_of(["#"], row0=7, col0=3)
    assert pooled([wide, small], cells, 8).tolist() == [[(6 * 1 + 2 * 5) / 8, 2 * 8 / 8], [9.0, 0.0]]


def test_the_square_may_be_larger_than_the_tile() -> None:
    """A tile of 6 px in a square of 8: cells are those of the square."""
    cells = np.arange(4, dtype=np.float32).reshape(1, 2, 2)
    assert pooled([mask_of(["##"], row0=5, col0=3)], cells, 8).tolist() == [[(2 + 3) / 2]]


def test_plain_features_by_hand() -> None:
    """A bar of 1 x 4 pixels: along it positions vary by 5/4, across by nothing but a pixel's own 1/12."""
    rgb = np.zeros((3, 6, 3), dtype=np.uint8)
    rgb[1, 1:5] = [[10, 0, 7], [30, 0, 7], [10, 0, 7], [30, 0, 7]]
    found = dict(zip(PLAIN, plain_features(mask_of(["####"], row0=1, col0=1), rgb).tolist(), strict=True))
    assert found == pytest.approx(
        {
            "mean_red": 20.0,
            "mean_green": 0.0,
            "mean_blue": 7.0,
            "spread_red": 10.0,
            "spread_green": 0.0,
            "spread_blue": 0.0,
            "log_area_px": np.log(4),
            "log_elongation": np.log((5 / 4 + 1 / 12) / (1 / 12)) / 2,
            "share_of_box": 1.0,
            "share_of_hull": 1.0,
        }
    )


def test_corners_and_hollows_show() -> None:
    """An L of 3 pixels fills 3/4 of its box, and 3 of the 3.5 px of its hull."""
    bent = plain_features(mask_of(["#.", "##"]), np.zeros((2, 2, 3), dtype=np.uint8))
    assert bent[PLAIN.index("share_of_box")] == pytest.approx(0.75)
    assert bent[PLAIN.index("share_of_hull")] == pytest.approx(3 / 3.5)


def test_pooled_features_come_first() -> None:
    rgb = np.zeros((8, 8, 3), dtype=np.uint8)
    cells = np.ones((5, 2, 2), dtype=np.float32)
    assert (
        describe_masks([mask_of(["#"])], rgb=rgb, feature_map=cells, square_px=8)[0, :5].tolist() == [1] * 5
    )
    assert describe_masks([], rgb=rgb, feature_map=cells, square_px=8).shape == (0, 5 + len(PLAIN))
