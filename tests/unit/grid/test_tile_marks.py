"""Tiles that meet shapes, against a test of every core with every shape."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.grid import tile_marks
from pipeline.grid.tile_marks import SLIVER_PX, cores_meeting, cores_under
from pipeline.schema.tiling import RunGrid, TileLattice


def lattice(width: int, height: int) -> TileLattice:
    grid = RunGrid(crs_wkt=None, transform=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), width=width, height=height)
    return TileLattice(grid=grid, tile_px=8, halo_px=1, block_tiles=2)


def one_by_one(shapes: list[shapely.Geometry], own: TileLattice) -> np.ndarray:
    found = np.zeros((own.n_tile_rows, own.n_tile_cols), dtype=bool)
    for row, col in np.ndindex(*found.shape):
        core = own.tile(row, col).core
        less = shapely.box(core.col0, core.row0, core.col1, core.row1).buffer(-SLIVER_PX, join_style="mitre")
        found[row, col] = any(shape.intersects(less) for shape in shapes)
    return found


def shape(x: float, y: float, width: float, height: float, turn: float) -> shapely.Geometry:
    box = shapely.box(x, y, x + width, y + height)
    return shapely.affinity.rotate(box, turn) if turn else box


place = st.one_of(st.integers(-12, 60).map(float), st.floats(-12, 60))
side = st.one_of(st.integers(1, 60).map(float), st.floats(0.5, 60))
turned = st.sampled_from([0.0, 0.0, 30.0])
shapes = st.lists(st.builds(shape, place, place, side, side, turned), min_size=1, max_size=6)


@given(drawn=shapes, width=st.integers(3, 50), height=st.integers(3, 50), few=st.sampled_from([2, 64]))
@settings(deadline=None)
def test_every_core_is_told_as_if_it_were_alone(
    drawn: list[shapely.Geometry], width: int, height: int, few: int
) -> None:
    own = lattice(width, height)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tile_marks, "_FEW_TILES", few)
        assert cores_meeting(drawn, own).tolist() == one_by_one(drawn, own).tolist()
    boxes = [shape.envelope for shape in drawn]
    assert cores_under(shapely.bounds(boxes), own).tolist() == one_by_one(boxes, own).tolist()


def test_an_edge_on_the_edge_of_a_core_does_not_meet_it() -> None:
    own = lattice(18, 6)
    assert cores_meeting([shapely.box(6, 0, 12, 6)], own).tolist() == [[False, True, False]]
    assert cores_meeting([shapely.box(6, 0, 12 + 1e-4, 6)], own).tolist() == [[False, True, False]]
    assert cores_meeting([shapely.box(6, 0, 12.01, 6)], own).tolist() == [[False, True, True]]


def test_nothing_meets_nothing() -> None:
    own = lattice(18, 6)
    assert not cores_meeting([shapely.Polygon()], own).any()
    assert math.isnan(shapely.Polygon().bounds[0])
