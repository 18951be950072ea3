"""Places of scenes, against polygons that shapely moves one by one."""

from __future__ import annotations

import numpy as np
import shapely
from hypothesis import given
from hypothesis import strategies as st

from pipeline.grid.scene_places import ScenePlaces

SHAPES = st.lists(st.tuples(st.booleans(), st.integers(-50, 50), st.integers(-50, 50), st.integers(1, 30)))


def places_of(drawn: list[tuple[bool, int, int, int]]) -> ScenePlaces:
    """Squares on the grid's lattice, and triangles beside it."""
    triangles = [
        shapely.Polygon([(x, y), (x + side, y), (x, y + side)]) for warped, x, y, side in drawn if warped
    ]
    bounds = [(x, y, x + side, y + side) for _, x, y, side in drawn]
    return ScenePlaces(
        bounds=np.array(bounds, dtype=np.float64).reshape(-1, 4),
        warped=np.array([warped for warped, *_ in drawn], dtype=np.bool_),
        shapes=np.array(triangles, dtype=object),
    )


@given(drawn=SHAPES, more=SHAPES, row0=st.integers(-9, 9), col0=st.integers(-9, 9), seed=st.integers(0, 9))
def test_places_are_joined_taken_and_counted_from_another_corner(
    drawn: list[tuple[bool, int, int, int]],
    more: list[tuple[bool, int, int, int]],
    row0: int,
    col0: int,
    seed: int,
) -> None:
    both = [*drawn, *more]
    order = np.random.default_rng(seed).permutation(len(both))[: max(len(both) - 1, 0)]
    found = ScenePlaces.joined([places_of(drawn), places_of(more)]).take(order).seen_from(row0, col0)
    chosen = [both[number] for number in order.tolist()]
    assert found.offsets == tuple(None if warped else (y - row0, x - col0) for warped, x, y, _ in chosen)
    for outline, (warped, x, y, side), bounds in zip(
        found.outlines, chosen, found.bounds.tolist(), strict=True
    ):
        x, y = x - col0, y - row0
        square = shapely.box(x, y, x + side, y + side)
        corner = shapely.Polygon([(x, y), (x + side, y), (x, y + side)])
        assert outline.equals(corner if warped else square)
        assert tuple(bounds) == outline.bounds
