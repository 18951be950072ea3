"""Simplified outlines: valid, without overlap, of pixel corners only, and the same over windows' borders."""

from __future__ import annotations

from collections import defaultdict
from itertools import combinations

import numpy as np
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.stitch.simple_outlines import joined, simple_outlines
from pipeline.stitch.trace import polygonise


def world(seed: int, side: int = 36) -> NDArray[np.uint64]:
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=(side, side)), rng.uniform(0.3, 3.0))
    return np.digitize(field, np.quantile(field, [0.3, 0.5, 0.8])).astype(np.uint64) * np.uint64(2**41)


def over_windows(ids: NDArray[np.uint64], side: int, tolerance_px: float) -> dict[int, shapely.Geometry]:
    pieces = defaultdict(list)
    for row in range(0, ids.shape[0], side):
        for col in range(0, ids.shape[1], side):
            window = ids[row : row + side, col : col + side]
            for value, shape in zip(*simple_outlines(window, (row, col), tolerance_px), strict=True):
                pieces[int(value)].append(shape)
    return {value: joined(np.array(shapes, dtype=object)) for value, shapes in pieces.items()}


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.6, 1.0, 2.0, 4.0]), st.sampled_from([9, 12, 36]))
@settings(max_examples=40, deadline=None)
def test_nothing_overlaps_and_nothing_is_lost(seed: int, tolerance_px: float, side: int) -> None:
    ids = world(seed)
    found = over_windows(ids, side, tolerance_px)
    assert sorted(found) == np.unique(ids[ids > 0]).tolist()
    shapes = list(found.values())
    assert shapely.is_valid(shapes).all()
    assert all(shape.area > 0 for shape in shapes)
    assert all(one.intersection(other).area == 0 for one, other in combinations(shapes, 2))
    corners = shapely.get_coordinates(shapes)
    np.testing.assert_array_equal(corners, np.round(corners))
    _, exact, _ = polygonise(ids, (0, 0))
    assert len(corners) <= len(shapely.get_coordinates(exact))


@given(st.integers(0, 2**32 - 1), st.sampled_from([7, 12]))
@settings(max_examples=30, deadline=None)
def test_without_a_tolerance_windows_join_to_the_traced_outline(seed: int, side: int) -> None:
    ids = world(seed)
    values, exact, _ = polygonise(ids, (0, 0))
    found = over_windows(ids, side, 0.0)
    for value, shape in zip(values.tolist(), exact, strict=True):
        assert shapely.to_wkb(found[value]) == shapely.to_wkb(shape)


def test_the_steps_of_a_slope_become_a_line() -> None:
    """A triangle of 40 steps keeps its three corners, and ends of its first and last step."""
    ids = np.tril(np.ones((40, 40), dtype=np.uint64))
    ids = np.pad(ids, 3)
    (value,), (shape,) = simple_outlines(ids, (100, 200), 1.0)
    assert value == 1
    assert len(shapely.get_coordinates(shape)) <= 6
    assert shape.bounds == (203.0, 103.0, 243.0, 143.0)
    assert abs(shape.area - 820) <= 20


def test_neighbours_keep_their_common_edge() -> None:
    """Two halves of a square meet along a staircase: what one loses the other has."""
    ids = np.where(np.add.outer(np.arange(30), np.arange(30)) < 30, np.uint64(1), np.uint64(2))
    found = over_windows(np.pad(ids, 2), 34, 1.5)
    assert found[1].area + found[2].area == 900
    assert found[1].union(found[2]).equals(shapely.box(2, 2, 32, 32))
    assert len(shapely.get_coordinates(found[1])) == 7, "three corners, and the ends of first and last step"
