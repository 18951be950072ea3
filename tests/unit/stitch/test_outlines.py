from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.schema.tiling import Window
from pipeline.stitch.outlines import border_runs, measure_block, shared_edges


def test_a_block_by_hand() -> None:
    image = np.array([[1, 1, 0, 2], [0, 1, 0, 2], [3, 0, 2, 2]], dtype=np.int32)
    core = Window(row0=10, col0=20, row1=13, col1=24)
    inside = np.ones(image.shape, dtype=np.bool_)
    inside[:, 3] = False
    found = measure_block(image, core, inside)
    assert found.number.tolist() == [1, 2, 3]
    assert found.area_px.tolist() == [3, 4, 1]
    assert found.aoi_px.tolist() == [3, 1, 1]
    assert found.window.tolist() == [[10, 20, 12, 22], [10, 22, 13, 24], [12, 20, 13, 21]]
    assert [polygon.area for polygon in found.polygons] == [3, 4, 1]
    runs = border_runs(image, core)
    top = [[1, 0, 10, 20, 22], [2, 0, 10, 23, 24]]
    bottom = [[3, 0, 13, 20, 21], [2, 0, 13, 22, 24]]
    left = [[1, 1, 20, 10, 11], [3, 1, 20, 12, 13]]
    right = [[2, 1, 24, 10, 13]]
    assert runs.tolist() == top + bottom + left + right
    assert (
        measure_block(
            np.zeros((2, 2), dtype=np.int32), Window(row0=0, col0=0, row1=2, col1=2), None
        ).number.size
        == 0
    )


@given(seed=st.integers(0, 2**32 - 1), cut=st.integers(1, 7), across=st.integers(1, 7))
@settings(max_examples=40, deadline=None)
def test_shared_edges_are_equal_neighbours_over_the_cuts(seed: int, cut: int, across: int) -> None:
    image = np.random.default_rng(seed).integers(0, 4, (8, 8)).astype(np.int32)
    runs = []
    for row0, row1 in ((0, cut), (cut, 8)):
        for col0, col1 in ((0, across), (across, 8)):
            core = Window(row0=row0, col0=col0, row1=row1, col1=col1)
            runs.append(border_runs(image[row0:row1, col0:col1], core))
    table = np.concatenate(runs)
    got = shared_edges(table[:, 0], table[:, 1:], 4)
    for number in range(1, 4):
        over_row = ((image[cut - 1] == number) & (image[cut] == number)).sum()
        over_col = ((image[:, across - 1] == number) & (image[:, across] == number)).sum()
        assert got[number] == over_row + over_col


def test_an_aoi_mask_of_another_shape_is_our_own_mistake() -> None:
    with pytest.raises(AssertionError, match="AOI"):
        measure_block(
            np.ones((2, 2), dtype=np.int32),
            Window(row0=0, col0=0, row1=2, col1=2),
            np.ones((1, 2), dtype=np.bool_),
        )
