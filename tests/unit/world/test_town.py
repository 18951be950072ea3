"""Blocks of town on one parcel: only houses, pools and scenery, all of it inside."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import shapely

from pipeline.world.classes import BUILDING, POOL, SCENERY
from pipeline.world.shapes import CLS, COLUMNS, COS, CX, CY, L_FIELD, SIN, A, B, put_quad
from pipeline.world.style import DENSE, HOUSE_SIZE, NUMBERS, PALETTE_ROWS, POOLS, ROOF
from pipeline.world.town import (
    add_block,
    add_cars,
    add_flats,
    add_lone_house,
    add_resort,
    add_row_houses,
    add_shed,
    add_villas,
    roof_of,
)

SIDE = 300.0
SQUARE = np.array([[0.0, 0.0], [SIDE, 0.0], [SIDE, SIDE], [0.0, SIDE]])
PALETTE = np.repeat(np.arange(PALETTE_ROWS, dtype=np.float64)[:, None], 3, axis=1)
"""Row k is the colour (k, k, k), so that a colour tells its row."""
FRAME = np.array([SIDE / 2, SIDE / 2, 1.0, 0.0, SIDE / 2 - 12.0, SIDE / 2 - 12.0])
"""Centre, axis and half lengths of the block inside its streets."""
HASHES = [np.uint64(0x9E3779B97F4A7C15 * k % 2**64) for k in range(1, 50)]

Add = Callable[[np.ndarray, np.ndarray, np.uint64, np.ndarray], int]


def style(*, dense: float = 0.5) -> np.ndarray:
    numbers = np.zeros(NUMBERS)
    numbers[HOUSE_SIZE] = 1.0
    numbers[POOLS] = 0.5
    numbers[DENSE] = dense
    return numbers


def made(add: Add, h: np.uint64) -> np.ndarray:
    table = np.zeros((900, COLUMNS))
    keys = np.zeros(900, np.uint64)
    ground = np.zeros((1, COLUMNS))
    put_quad(ground, 0, SCENERY, L_FIELD, SQUARE, 0.0)
    n = add(table, keys, h, ground[0])
    return table[:n]


def outline(o: np.ndarray) -> shapely.Polygon:
    along = o[A] * np.array([o[COS], o[SIN]])
    across = o[B] * np.array([-o[SIN], o[COS]])
    centre = np.array([o[CX], o[CY]])
    corners = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    return shapely.Polygon([centre + s * along + t * across for s, t in corners])


def rows(t: np.ndarray, keys: np.ndarray, h: np.uint64, parcel: np.ndarray) -> int:
    return add_row_houses(t, keys, 0, h, 0, parcel, FRAME, PALETTE)


def villas(t: np.ndarray, keys: np.ndarray, h: np.uint64, parcel: np.ndarray) -> int:
    return add_villas(t, keys, 0, h, 0, parcel, FRAME, style(), PALETTE)


def flats(t: np.ndarray, keys: np.ndarray, h: np.uint64, parcel: np.ndarray) -> int:
    return add_flats(t, keys, 0, h, 0, parcel, FRAME, PALETTE)


def farm(t: np.ndarray, keys: np.ndarray, h: np.uint64, parcel: np.ndarray) -> int:
    return add_lone_house(t, keys, 0, h, 0, parcel, PALETTE)


def resort(t: np.ndarray, keys: np.ndarray, h: np.uint64, parcel: np.ndarray) -> int:
    return add_resort(t, keys, 0, h, 0, parcel, PALETTE)


def shed(t: np.ndarray, keys: np.ndarray, h: np.uint64, parcel: np.ndarray) -> int:
    return add_shed(t, keys, 0, h, 0, parcel, SIDE / 2, PALETTE)


@pytest.mark.parametrize(
    ("add", "classes"),
    [
        (rows, {BUILDING}),
        (villas, {BUILDING, POOL}),
        (flats, {BUILDING, SCENERY}),
        (farm, {BUILDING}),
        (resort, {BUILDING, POOL}),
        (shed, {BUILDING, SCENERY}),
    ],
)
def test_each_kind_of_block_has_its_classes_and_stays_in_its_parcel(add: Add, classes: set[int]) -> None:
    found = set()
    inside = shapely.box(0, 0, SIDE, SIDE)
    for h in HASHES:
        for o in made(add, h):
            found.add(int(o[CLS]))
            assert o[CLS] == SCENERY or inside.contains(outline(o))
    assert found == classes


def test_houses_of_a_row_touch_and_do_not_overlap() -> None:
    shared = 0
    for h in HASHES[:10]:
        houses = [outline(o) for o in made(rows, h)]
        for k, one in enumerate(houses):
            for other in houses[k + 1 :]:
                assert one.intersection(other).area < 1e-6
                shared += one.distance(other) < 1e-6
    assert shared > 20


def test_cars_are_scenery_on_their_lot() -> None:
    table = np.zeros((900, COLUMNS))
    n = add_cars(table, 0, np.uint64(9), 100.0, 200.0, 1.0, 0.0, 40.0, 30.0, PALETTE)
    lot = outline(table[0])
    assert lot.bounds == (60.0, 170.0, 140.0, 230.0)
    assert n > 5
    assert set(table[:n, CLS]) == {SCENERY}
    assert all(lot.contains(shapely.Point(o[CX], o[CY])) for o in table[1:n])


def test_roofs_are_common_colours_or_those_of_their_kind() -> None:
    def chosen(flat: bool) -> set[int]:
        return {int(roof_of(h, k, PALETTE, flat)[0]) - ROOF for h in HASHES for k in range(20)}

    assert chosen(True) == {0, 1, 2, 3, 4}
    assert chosen(False) == {0, 1, 5, 6, 7}


def test_denser_worlds_have_fewer_villas() -> None:
    """Only villas have pools; a tenth of all blocks is empty."""

    def share(dense: float) -> float:
        def block(t: np.ndarray, keys: np.ndarray, h: np.uint64, parcel: np.ndarray) -> int:
            return add_block(t, keys, 0, h, 0, parcel, FRAME, style(dense=dense), PALETTE)

        blocks = [made(block, h) for h in HASHES]
        assert any(len(records) == 0 for records in blocks)
        return sum(POOL in records[:, CLS] for records in blocks) / len(blocks)

    assert share(0.0) > share(1.0)
