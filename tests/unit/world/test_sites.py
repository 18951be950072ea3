"""Sites on one parcel: how many objects, of which class, and all of them inside."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import shapely

from pipeline.world.classes import BUILDING, GREENHOUSE, LAKE, POOL, SCENERY, SOLAR, TANK
from pipeline.world.shapes import (
    CLS,
    COLUMNS,
    COS,
    CX,
    CY,
    ELL,
    L_FIELD,
    L_SITE,
    RECT,
    SHAPE,
    SIN,
    A,
    B,
    put,
    put_quad,
)
from pipeline.world.sites import (
    add_greenhouses,
    add_pond,
    add_solar,
    add_tanks,
    keep,
    put_house,
    put_pool,
)
from pipeline.world.style import PALETTE_ROWS

SIDE = 400.0
SQUARE = np.array([[0.0, 0.0], [SIDE, 0.0], [SIDE, SIDE], [0.0, SIDE]])
PALETTE = np.full((PALETTE_ROWS, 3), 100.0)
HASHES = [np.uint64(0x9E3779B97F4A7C15 * k % 2**64) for k in range(1, 60)]


def parcel() -> np.ndarray:
    table = np.zeros((1, COLUMNS))
    put_quad(table, 0, SCENERY, L_FIELD, SQUARE, 0.0)
    return table[0]


def made(add: Callable[..., int], h: np.uint64) -> np.ndarray:
    """The records that a generator adds to a parcel of 400 x 400 with nothing near it."""
    table = np.zeros((60, COLUMNS))
    keys = np.zeros(60, np.uint64)
    n = add(table, keys, 0, h, 0, parcel(), SIDE / 2, PALETTE)
    assert (keys[:n] != 0).all()
    return table[:n]


def corners(o: np.ndarray) -> list[tuple[float, float]]:
    along = o[A] * np.array([o[COS], o[SIN]])
    across = o[B] * np.array([-o[SIN], o[COS]])
    centre = np.array([o[CX], o[CY]])
    return [tuple(centre + s * along + t * across) for s, t in ((-1, -1), (1, -1), (1, 1), (-1, 1))]


@pytest.mark.parametrize(
    ("add", "code", "most"),
    [(add_tanks, TANK, 8), (add_greenhouses, GREENHOUSE, 6), (add_solar, SOLAR, 2), (add_pond, LAKE, 1)],
)
def test_a_site_has_its_class_and_stays_inside_its_parcel(
    add: Callable[..., int], code: int, most: int
) -> None:
    counts = set()
    for h in HASHES:
        records = made(add, h)
        labelled = records[records[:, CLS] == code]
        assert set(records[:, CLS]) <= {code, SCENERY}
        counts.add(len(labelled))
        for o in labelled:
            assert all(0.0 <= value <= SIDE for corner in corners(o) for value in corner)
    assert max(counts) == most
    assert counts <= set(range(most + 1))


def test_solar_fields_of_one_parcel_do_not_overlap() -> None:
    pairs = [made(add_solar, h) for h in HASHES]
    pairs = [records for records in pairs if len(records) == 2]
    assert len(pairs) > 3
    for records in pairs:
        first, second = (shapely.Polygon(corners(o)) for o in records)
        assert first.intersection(second).area < 1e-6


def test_keep_takes_back_what_leaves_the_parcel() -> None:
    table = np.zeros((1, COLUMNS))
    keys = np.zeros(1, np.uint64)

    def kept(cx: float, margin: float) -> bool:
        put(table, 0, BUILDING, RECT, L_SITE, cx, 200.0, 1.0, 0.0, 20.0, 10.0)
        return keep(table, keys, 1, np.uint64(5), 0, parcel(), margin) == 1

    assert kept(200.0, 4.0)
    assert kept(25.0, 4.0)  # its left side is 5 units inside
    assert not kept(25.0, 6.0)
    assert not kept(15.0, 0.0)


def test_keep_takes_back_what_comes_near_a_runway() -> None:
    table = np.zeros((2, COLUMNS))
    keys = np.zeros(2, np.uint64)
    put(table, 0, SCENERY, RECT, L_SITE, 200.0, 200.0, 1.0, 0.0, 150.0, 20.0)  # stands for the runway
    for cy, n in ((200.0, 1), (300.0, 2)):
        put(table, 1, BUILDING, RECT, L_SITE, 200.0, cy, 1.0, 0.0, 20.0, 10.0)
        assert keep(table, keys, 2, np.uint64(5), 1, parcel(), 0.0) == n


def test_houses_are_rectangles_and_some_large_ones_have_a_wing() -> None:
    table = np.zeros((1, COLUMNS))

    def shapes(half: float) -> set[float]:
        found = set()
        for h in HASHES:
            assert put_house(table, 0, h, 0.0, 0.0, 1.0, 0.0, half, half, PALETTE[0]) == 1
            assert (table[0, CLS], table[0, A], table[0, B]) == (BUILDING, half, half)
            found.add(float(table[0, SHAPE]))
        return found

    assert shapes(12.0) == {RECT}
    assert shapes(20.0) == {RECT, ELL}


def test_pools_are_small() -> None:
    table = np.zeros((1, COLUMNS))
    for h in HASHES:
        assert put_pool(table, 0, h, 0.0, 0.0, 1.0, 0.0) == 1
        assert table[0, CLS] == POOL
        assert 7.0 <= table[0, B] <= 11.0
        assert 7.5 <= table[0, A] <= 14.0
