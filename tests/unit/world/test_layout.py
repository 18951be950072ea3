"""The plan of the land: the mesh by hand, and the same objects whatever the box."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.world.classes import SCENERY
from pipeline.world.layout import (
    FARM,
    MIXED,
    TOWN,
    WILD,
    add_road,
    corner,
    mix_point,
    plan,
    splits_of,
    use_of,
)
from pipeline.world.shapes import CLS, COLUMNS, COS, CX, CY, LAYER, LAYERS, SIN, X0, X1, Y0, Y1, A, B
from pipeline.world.style import (
    ASPECT,
    JITTER,
    MESH_COS,
    MESH_SIN,
    NUMBERS,
    P_MIXED,
    PALETTE_ROWS,
    SUPER,
    T_AGRI,
    T_URBAN,
    derive_style,
)

SEED = np.uint64(11)


def mesh(**numbers: float) -> np.ndarray:
    """A style whose mesh is a straight lattice of 700 x 700."""
    st = np.zeros(NUMBERS)
    st[MESH_COS] = 1.0
    st[SUPER] = 700.0
    st[ASPECT] = 1.0
    places = {"t_urban": T_URBAN, "t_agri": T_AGRI, "p_mixed": P_MIXED, "aspect": ASPECT}
    for name, value in numbers.items():
        st[places[name]] = value
    return st


def test_corners_without_jitter_are_a_lattice() -> None:
    assert corner(SEED, mesh(), 2, -3) == (-2100.0, 1400.0)
    assert corner(SEED, mesh(aspect=0.5), 2, -3) == (-2100.0, 700.0)
    turned = mesh()
    turned[MESH_COS] = 0.0
    turned[MESH_SIN] = 1.0
    assert corner(SEED, turned, 2, -3) == (-1400.0, -2100.0)


def test_jitter_moves_a_corner_by_a_share_of_the_side_at_most() -> None:
    st = mesh()
    st[JITTER] = 0.1
    moved = np.array([corner(SEED, st, i, j) for i in range(-5, 5) for j in range(-5, 5)])
    straight = np.array([(700.0 * j, 700.0 * i) for i in range(-5, 5) for j in range(-5, 5)])
    away = np.abs(moved - straight)
    assert away.max() <= 70.0
    assert away.max() > 50.0


@pytest.mark.parametrize(
    ("numbers", "use"),
    [
        ({"t_urban": -1.0}, TOWN),
        ({"t_urban": 2.0, "t_agri": -1.0}, FARM),
        ({"t_urban": 2.0, "t_agri": 2.0, "p_mixed": 1.0}, MIXED),
        ({"t_urban": 2.0, "t_agri": 2.0, "p_mixed": 0.0}, WILD),
    ],
)
def test_thresholds_decide_the_use(numbers: dict[str, float], use: int) -> None:
    assert {use_of(SEED, mesh(**numbers), i, j) for i in range(5) for j in range(5)} == {use}


def test_bilinear_points_of_a_quad() -> None:
    quad = np.array([[0.0, 0.0], [10.0, 0.0], [12.0, 8.0], [-2.0, 6.0]])
    assert [mix_point(quad, u, v) for u, v in ((0, 0), (1, 0), (1, 1), (0, 1))] == [
        (0.0, 0.0), (10.0, 0.0), (12.0, 8.0), (-2.0, 6.0),
    ]  # fmt: skip
    assert mix_point(quad, 0.5, 0.5) == (5.0, 3.5)


def test_how_many_parcels() -> None:
    hashes = [np.uint64(h) for h in range(1, 400)]
    assert {splits_of(h, TOWN) for h in hashes} == {(2, 3), (2, 4), (3, 3), (3, 4)}
    assert {splits_of(h, WILD) for h in hashes} == {(2, 2), (2, 3), (3, 2), (3, 3)}
    farms = {splits_of(h, FARM) for h in hashes}
    assert (1, 1) in farms
    assert max(max(split) for split in farms) == 5


def test_a_road_by_hand() -> None:
    table = np.zeros((1, COLUMNS))
    assert add_road(table, 0, 0.0, 0.0, 30.0, 40.0, 5.0, True, np.zeros((PALETTE_ROWS, 3))) == 1
    o = table[0]
    assert o[CLS] == SCENERY
    assert (o[CX], o[CY], o[COS], o[SIN]) == (15.0, 20.0, 0.6, 0.8)
    assert (o[A], o[B]) == (30.0, 5.0)  # half of 50, and the half width beyond each end


def touching(table: np.ndarray, keys: np.ndarray, box: np.ndarray) -> dict[int, np.ndarray]:
    """key -> record of the labelled objects whose bounds meet the box."""
    meets = (table[:, X0] <= box[2]) & (table[:, X1] >= box[0])
    meets &= (table[:, Y0] <= box[3]) & (table[:, Y1] >= box[1])
    meets &= table[:, CLS] != SCENERY
    return dict(zip(keys[meets].tolist(), table[meets], strict=True))


@pytest.mark.parametrize("seed", [3, 7, 29])
def test_a_larger_box_has_the_same_objects_in_the_smaller_one(seed: int) -> None:
    style = derive_style(seed)
    small = np.array([200.0, -900.0, 1100.0, 100.0])
    large = small + np.array([-1300.0, -700.0, 400.0, 1700.0])
    table, keys = plan(np.uint64(seed), small, style.numbers, style.palette)
    wide, wide_keys = plan(np.uint64(seed), large, style.numbers, style.palette)
    own = touching(table, keys, small)
    same = touching(wide, wide_keys, small)
    assert own
    assert own.keys() == same.keys()
    for key, record in own.items():
        np.testing.assert_array_equal(record, same[key])


def test_records_have_a_layer_and_labelled_ones_a_key_of_their_own() -> None:
    style = derive_style(7)
    box = np.array([0.0, 0.0, 3000.0, 3000.0])
    table, keys = plan(np.uint64(7), box, style.numbers, style.palette)
    assert set(table[:, LAYER]) <= set(range(LAYERS))
    labelled = keys[table[:, CLS] != SCENERY]
    assert (labelled != 0).all()
    assert len(set(labelled.tolist())) == len(labelled)
