"""Pieces cut along any grid fuse to the bytes of the uncut polygon; pieces that do not fuse are noticed."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.stitch.dissolve import canonical, dissolve
from pipeline.stitch.trace import polygonise


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.floats(0.3, 0.95))
@settings(max_examples=30, deadline=None)
def test_pieces_fuse_to_the_whole(seed: int, side: int, density: float) -> None:
    image = (np.random.default_rng(seed).random((20, 23)) < density).astype(np.int64)
    image[0, 0] = 1
    pieces = []
    shared = 0
    for row in range(0, 20, side):
        for col in range(0, 23, side):
            _, shapes, _ = polygonise(image[row : row + side, col : col + side], (row, col))
            pieces += list(shapes)
    for line in range(side, 20, side):
        shared += int((image[line - 1] & image[line]).sum())
    for line in range(side, 23, side):
        shared += int((image[:, line - 1] & image[:, line]).sum())
    _, (whole,), areas = polygonise(image, (0, 0))
    merged = dissolve(pieces, area_px=int(areas[0]), shared_px=shared)
    assert shapely.to_wkb(merged) == shapely.to_wkb(whole)


def test_wrong_expectations_are_noticed() -> None:
    halves = [shapely.box(0, 0, 2, 3), shapely.box(2, 0, 4, 3)]
    assert dissolve(halves, area_px=12, shared_px=3).equals(shapely.box(0, 0, 4, 3))
    with pytest.raises(AssertionError, match="area"):
        dissolve(halves, area_px=11, shared_px=3)
    apart = [shapely.box(0, 0, 2, 3), shapely.box(3, 0, 5, 3)]
    with pytest.raises(AssertionError, match="did not fuse"):
        dissolve(apart, area_px=12, shared_px=3)


def test_canonical_has_no_vertex_on_a_straight_side() -> None:
    square = shapely.Polygon([(1, 0), (2, 0), (2, 2), (0, 2), (0, 1), (0, 0)])
    assert shapely.to_wkb(canonical(square)) == shapely.to_wkb(canonical(shapely.box(0, 0, 2, 2)))
    assert shapely.get_num_coordinates(canonical(square)) == 5
