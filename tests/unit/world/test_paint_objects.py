"""The painter on records written by hand: which pixels, which label, who lies on top."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.world.classes import BUILDING, POOL, SCENERY, TANK
from pipeline.world.paint_objects import frac, paint_all, scale_colour, tri
from pipeline.world.shapes import (
    BLUE,
    COLUMNS,
    DISC,
    GREEN_,
    HEIGHT,
    L_FIELD,
    L_PAD,
    L_SITE,
    P2,
    PERIOD,
    RECT,
    RED,
    VARIANT,
    put,
)
from pipeline.world.style import NUMBERS, PALETTE_ROWS

ROWS = 60
COLS = 80


class Canvas:
    """Everything that the painter writes to, for a window whose top left pixel is (row0, col0)."""

    def __init__(self, rows: int = ROWS, cols: int = COLS, *, row0: int = 0, col0: int = 0) -> None:
        self.origin = (row0, col0, 1.0)
        self.rgb = np.zeros((rows, cols, 3), np.float32)
        self.owner = np.zeros((rows, cols), np.int32)
        self.height = np.zeros((rows, cols), np.float32)
        self.taken = np.zeros((rows, cols), np.uint8)

    def paint(self, table: np.ndarray) -> Canvas:
        flat = np.zeros((3, *self.owner.shape), np.float32)
        paint_all(
            table,
            self.origin,
            np.uint64(1),
            self.rgb,
            self.owner,
            self.height,
            self.taken,
            flat,
            flat[:2],
            np.zeros(NUMBERS),
            np.zeros((PALETTE_ROWS, 3)),
        )
        return self


def table_of(*objects: tuple[int, int, int, float, float, float, float]) -> np.ndarray:
    """Records of (class, shape, layer, cx, cy, a, b); height 5, colour (10, 20, 30), rows 7 and 40 apart."""
    table = np.zeros((len(objects), COLUMNS))
    for k, (cls, shape, layer, cx, cy, a, b) in enumerate(objects):
        put(table, k, cls, shape, layer, cx, cy, 1.0, 0.0, a, b)
        table[k, HEIGHT] = 5.0
        table[k, [RED, GREEN_, BLUE]] = 10.0, 20.0, 30.0
        table[k, VARIANT] = 2.0
        table[k, [PERIOD, P2]] = 7.0, 40.0
    return table


def test_a_rectangle_owns_the_pixels_whose_centres_it_holds() -> None:
    drawn = Canvas().paint(table_of((BUILDING, RECT, L_SITE, 40.0, 30.0, 10.0, 6.0)))
    expected = np.zeros((ROWS, COLS), np.int32)
    expected[24:36, 30:50] = 1
    np.testing.assert_array_equal(drawn.owner, expected)
    np.testing.assert_array_equal(drawn.taken, expected)
    np.testing.assert_array_equal(drawn.height, 5.0 * expected)
    assert not drawn.rgb[expected == 0].any()
    assert (drawn.rgb[expected == 1] > 0).all()


def test_a_disc_owns_the_pixels_whose_centres_it_holds() -> None:
    drawn = Canvas().paint(table_of((TANK, DISC, L_SITE, 40.0, 30.0, 9.0, 9.0)))
    rows, cols = np.indices((ROWS, COLS))
    inside = (cols + 0.5 - 40.0) ** 2 + (rows + 0.5 - 30.0) ** 2 <= 81.0
    np.testing.assert_array_equal(drawn.owner, inside)


def test_scenery_takes_ground_without_a_label() -> None:
    drawn = Canvas().paint(table_of((SCENERY, RECT, L_PAD, 40.0, 30.0, 10.0, 6.0)))
    assert not drawn.owner.any()
    assert drawn.taken.sum() == 20 * 12
    np.testing.assert_allclose(drawn.rgb[30, 40], (10.0, 20.0, 30.0))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_upper_layer_wins_whatever_the_order_of_the_table(order: tuple[int, int]) -> None:
    both = (
        (SCENERY, RECT, L_FIELD, 40.0, 30.0, 20.0, 20.0),
        (POOL, RECT, L_SITE, 40.0, 30.0, 10.0, 6.0),
    )
    drawn = Canvas().paint(table_of(*(both[k] for k in order)))
    label = order.index(1) + 1
    assert set(np.unique(drawn.owner)) == {0, label}
    assert (drawn.owner == label).sum() == 20 * 12


def test_within_a_layer_the_later_record_wins() -> None:
    left = (BUILDING, RECT, L_SITE, 30.0, 30.0, 10.0, 10.0)
    right = (BUILDING, RECT, L_SITE, 40.0, 30.0, 10.0, 10.0)
    drawn = Canvas().paint(table_of(left, right))
    np.testing.assert_array_equal(drawn.owner[30, 20:50], [1] * 10 + [2] * 20)


def test_a_smaller_window_is_a_cut_of_a_larger_one() -> None:
    table = table_of(
        (TANK, DISC, L_SITE, 40.0, 30.0, 9.0, 9.0), (BUILDING, RECT, L_SITE, 60.0, 20.0, 11.0, 7.0)
    )
    whole = Canvas().paint(table)
    part = Canvas(25, 37, row0=14, col0=31).paint(table)
    cut = (slice(14, 39), slice(31, 68))
    np.testing.assert_array_equal(part.owner, whole.owner[cut])
    np.testing.assert_array_equal(part.rgb, whole.rgb[cut])
    np.testing.assert_array_equal(part.height, whole.height[cut])


def test_waves_by_hand() -> None:
    assert [tri(t) for t in (0.0, 0.25, 0.5, 0.75, 1.0, -0.5)] == [1.0, 0.0, -1.0, 0.0, 1.0, -1.0]
    assert [frac(t) for t in (0.0, 1.25, -0.25)] == [0.0, 0.25, 0.75]
    record = table_of((POOL, RECT, L_SITE, 0.0, 0.0, 1.0, 1.0))[0]
    assert scale_colour(record, 0.5) == (5.0, 10.0, 15.0)
