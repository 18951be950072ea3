"""Runways and lakes by themselves: one lattice cell each, and what keeps clear of them."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.world.classes import LAKE, RUNWAY, SCENERY
from pipeline.world.shapes import (
    BLOB,
    CLS,
    COLUMNS,
    COS,
    CX,
    CY,
    DISC,
    L_FIELD,
    L_SITE,
    L_WATER,
    RECT,
    SHAPE,
    SIN,
    WARP,
    X0,
    X1,
    Y0,
    Y1,
    A,
    B,
    blob_depth,
    put,
    put_blob,
    put_quad,
)
from pipeline.world.style import NUMBERS, P_LAKE, P_RUNWAY, PALETTE_ROWS
from pipeline.world.water import (
    LAKE_CELL,
    RUNWAY_CELL,
    SHORE,
    STRIP,
    add_lakes,
    add_runways,
    blocked,
    field_is_free,
    is_free,
)

SEED = np.uint64(7)
PALETTE = np.full((PALETTE_ROWS, 3), 100.0)
INSIDE_3X3_CELLS = np.array([1.0, 1.0, 2 * 2500.0 + 1.0, 2 * 2500.0 + 1.0])


def style(*, runways: float, lakes: float) -> np.ndarray:
    numbers = np.zeros(NUMBERS)
    numbers[P_RUNWAY] = runways
    numbers[P_LAKE] = lakes
    return numbers


def drawn(box: np.ndarray, *, runways: float, lakes: float) -> tuple[np.ndarray, np.ndarray]:
    """Records and keys."""
    table = np.zeros((400, COLUMNS))
    keys = np.zeros(400, np.uint64)
    numbers = style(runways=runways, lakes=lakes)
    n = add_runways(table, keys, 0, SEED, box, numbers, PALETTE)
    n = add_lakes(table, keys, n, SEED, box, numbers, PALETTE)
    return table[:n], keys[:n]


def test_nothing_where_nothing_is_wanted() -> None:
    assert len(drawn(INSIDE_3X3_CELLS, runways=0.0, lakes=0.0)[0]) == 0


def test_a_runway_and_its_strip_in_every_cell_and_inside_it() -> None:
    table, _ = drawn(INSIDE_3X3_CELLS, runways=1.0, lakes=0.0)
    runways = table[table[:, CLS] == RUNWAY]
    strips = table[table[:, CLS] == SCENERY]
    assert len(runways) == len(strips) == 9
    cells = {(int(o[CX] // RUNWAY_CELL), int(o[CY] // RUNWAY_CELL)) for o in runways}
    assert cells == {(i, j) for i in range(3) for j in range(3)}
    for o in (*runways, *strips):
        for low, high, centre in ((X0, X1, CX), (Y0, Y1, CY)):
            start = RUNWAY_CELL * (o[centre] // RUNWAY_CELL)
            assert start <= o[low] < o[high] <= start + RUNWAY_CELL
    np.testing.assert_allclose(strips[:, A] - runways[:, A], 1.5 * STRIP)
    np.testing.assert_allclose(strips[:, B] - runways[:, B], STRIP)


def test_a_lake_in_every_cell_and_inside_it() -> None:
    table, _ = drawn(INSIDE_3X3_CELLS, runways=0.0, lakes=1.0)
    assert set(table[:, CLS]) == {LAKE}
    assert len(table) == 9  # a box of 5000 world units meets three cells of 1750 a side
    for o in table:
        for low, high, centre in ((X0, X1, CX), (Y0, Y1, CY)):
            start = LAKE_CELL * (o[centre] // LAKE_CELL)
            assert start <= o[low] < o[high] <= start + LAKE_CELL


def test_lakes_keep_clear_of_runways() -> None:
    table, _ = drawn(np.array([-1e4, -1e4, 1e4, 1e4]), runways=1.0, lakes=1.0)
    lakes = table[table[:, SHAPE] == BLOB]
    runways = table[table[:, CLS] == RUNWAY]
    assert 10 < len(lakes) < 12 * 12  # some candidates gave way
    for o in runways:
        along = np.linspace(-o[A], o[A], 50)
        for x, y in zip(o[CX] + along * o[COS], o[CY] + along * o[SIN], strict=True):
            assert max(blob_depth(lake, x, y) for lake in lakes) < -o[B]


def test_a_larger_box_has_the_same_objects() -> None:
    small, small_keys = drawn(np.array([0.0, 0.0, 3000.0, 3000.0]), runways=0.7, lakes=0.0)
    large, large_keys = drawn(np.array([-9000.0, -9000.0, 9000.0, 9000.0]), runways=0.7, lakes=0.0)
    places = [large_keys.tolist().index(key) for key in small_keys]
    np.testing.assert_array_equal(large[places], small)


def rectangle() -> np.ndarray:
    """Half sizes 20 and 5 around (100, 50)."""
    table = np.zeros((1, COLUMNS))
    put(table, 0, RUNWAY, RECT, L_SITE, 100.0, 50.0, 1.0, 0.0, 20.0, 5.0)
    return table


@pytest.mark.parametrize(
    ("x", "y", "margin", "hit"),
    [
        (100.0, 50.0, 0.0, True),
        (119.0, 54.0, 0.0, True),
        (100.0, 57.0, 0.0, False),
        (100.0, 57.0, 3.0, True),
        (123.0, 50.0, 2.0, False),
        (123.0, 50.0, 4.0, True),
    ],
)
def test_a_point_on_or_near_a_rectangle_is_blocked(x: float, y: float, margin: float, hit: bool) -> None:
    assert blocked(rectangle(), 1, x, y, margin) == hit
    assert not blocked(rectangle(), 0, x, y, margin), "only the first n_big records count"


def test_a_point_near_a_lake_is_blocked_up_to_its_shore() -> None:
    table = np.zeros((1, COLUMNS))
    put_blob(table, 0, LAKE, L_WATER, 0.0, 0.0, 100.0, np.uint64(5))
    edge = 100.0 + blob_depth(table[0], 100.0, 0.0)  # where the outline crosses the x axis
    assert blocked(table, 1, edge + WARP + SHORE - 1.0, 0.0, 0.0)
    assert not blocked(table, 1, edge + WARP + SHORE + 1.0, 0.0, 0.0)
    assert blocked(table, 1, edge + WARP + SHORE + 1.0, 0.0, 2.0)


def test_a_record_is_free_when_all_of_it_keeps_clear() -> None:
    big = rectangle()
    small = np.zeros((1, COLUMNS))
    put(small, 0, SCENERY, RECT, L_SITE, 100.0, 90.0, 1.0, 0.0, 8.0, 8.0)  # 27 units above the rectangle
    assert is_free(big, 1, small[0])
    put(small, 0, SCENERY, RECT, L_SITE, 100.0, 65.0, 1.0, 0.0, 8.0, 8.0)  # 2 units above it
    assert not is_free(big, 1, small[0])


def field(x0: float, y0: float) -> tuple[np.ndarray, np.ndarray]:
    quad = np.array([[x0, y0], [x0 + 60, y0], [x0 + 60, y0 + 60], [x0, y0 + 60]])
    table = np.zeros((1, COLUMNS))
    put_quad(table, 0, SCENERY, L_FIELD, quad, 0.0)
    return table[0], quad


def test_a_field_gives_way_to_a_runway_that_crosses_it() -> None:
    assert not field_is_free(rectangle(), 1, *field(70.0, 20.0))
    assert field_is_free(rectangle(), 1, *field(70.0, 70.0))
    assert field_is_free(rectangle(), 1, *field(500.0, 500.0))


def test_a_round_field_gives_way_to_a_lake() -> None:
    table = np.zeros((1, COLUMNS))
    put_blob(table, 0, LAKE, L_WATER, 0.0, 0.0, 100.0, np.uint64(5))
    disc = np.zeros((1, COLUMNS))
    put(disc, 0, SCENERY, DISC, L_FIELD, 30.0, 30.0, 1.0, 0.0, 30.0, 30.0)
    quad = np.array([[0.0, 0.0], [60.0, 0.0], [60.0, 60.0], [0.0, 60.0]])
    assert not field_is_free(table, 1, disc[0], quad)
