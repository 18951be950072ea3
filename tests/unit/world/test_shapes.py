from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.world.shapes import (
    AUX,
    COLUMNS,
    DISC,
    ELL,
    L_SITE,
    P1,
    P2,
    RECT,
    X0,
    X1,
    Y0,
    Y1,
    blob_depth,
    depth,
    put,
    put_blob,
    put_quad,
)

CORNERS = ((0.0, 0.0), (10.0, 0.0), (12.0, 8.0), (-1.0, 9.0))


def record(shape: int, co: float = 1.0, si: float = 0.0) -> np.ndarray:
    table = np.empty((1, COLUMNS))
    assert put(table, 0, 2, shape, L_SITE, 100.0, 50.0, co, si, 10.0, 6.0) == 1
    return table[0]


def test_rectangle() -> None:
    o = record(RECT)
    assert depth(o, 100.0, 50.0) == 6.0
    assert depth(o, 109.0, 50.0) == 1.0
    assert depth(o, 110.0, 50.0) == 0.0
    assert depth(o, 111.0, 50.0) == -1.0
    assert (o[X0], o[Y0], o[X1], o[Y1]) == (90.0, 44.0, 110.0, 56.0)


def test_rotated_rectangle() -> None:
    o = record(RECT, 0.0, 1.0)
    assert depth(o, 100.0, 59.0) == 1.0
    assert depth(o, 107.0, 50.0) == -1.0
    assert (o[X0], o[Y0], o[X1], o[Y1]) == (94.0, 40.0, 106.0, 60.0)


def test_rounded_corner_is_cut() -> None:
    o = record(RECT)
    o[P1] = 4.0
    assert depth(o, 109.9, 55.9) < 0.0
    assert depth(o, 106.0 + 2.4, 52.0 + 3.2) == pytest.approx(0.0)
    assert depth(o, 109.9, 50.0) > 0.0


def test_disc() -> None:
    o = record(DISC)
    assert depth(o, 106.0, 58.0) == 0.0
    assert depth(o, 100.0, 61.0) == -1.0


def test_ell_misses_one_quadrant() -> None:
    o = record(ELL)
    o[P1], o[P2], o[AUX] = 1.0, -1.0, 0.0
    assert depth(o, 95.0, 47.0) > 0.0
    assert depth(o, 105.0, 53.0) > 0.0
    assert depth(o, 105.0, 47.0) < 0.0


@settings(deadline=None)  # the first call compiles
@given(st.floats(-3, 14), st.floats(-3, 12))
def test_quad_is_the_polygon(x: float, y: float) -> None:
    table = np.empty((1, COLUMNS))
    put_quad(table, 0, 4, 0, np.array(CORNERS), 0.0)
    polygon = shapely.Polygon(CORNERS)
    if polygon.boundary.distance(shapely.Point(x, y)) > 1e-9:
        assert (depth(table[0], x, y) >= 0.0) == polygon.contains(shapely.Point(x, y))


@settings(deadline=None)  # the first call compiles
@given(st.integers(0, 2**62), st.floats(0, 6.3))
def test_blob_stays_inside_its_bounds(h: int, angle: float) -> None:
    table = np.empty((1, COLUMNS))
    put_blob(table, 0, 3, 2, 5.0, -7.0, 40.0, np.uint64(h))
    o = table[0]
    reach = o[X1] - 5.0
    x = 5.0 + reach * np.cos(angle)
    y = -7.0 + reach * np.sin(angle)
    assert blob_depth(o, 5.0, -7.0) > 0.0
    assert blob_depth(o, x, y) <= 0.0


def test_full_table_is_an_error() -> None:
    with pytest.raises(ValueError, match="too many objects"):
        put(np.empty((1, COLUMNS)), 1, 2, RECT, L_SITE, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0)
