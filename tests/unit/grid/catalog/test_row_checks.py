"""Rows that columns can vouch for, by one hand-made case of each kind."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import shapely

from pipeline.grid.catalog.row_checks import are_plain_footprints, is_regular

COLUMNS = {
    "id": pa.array(["a"]),
    "geometry": pa.array([b"x"]),
    "datetime": pa.array([0], pa.timestamp("us", "UTC")),
    "gsd": pa.array([0.5]),
    "assets": pa.array([{"image": {"href": "a.tif"}}]),
}


@pytest.mark.parametrize(
    ("changed", "regular"),
    [
        ({}, True),
        ({"id": pa.array([1])}, False),
        ({"collection": pa.array([1])}, False),
        ({"collection": pa.array(["c"]).dictionary_encode()}, True),
        ({"geometry": pa.array(["x"])}, False),
        ({"datetime": pa.array([1.5])}, False),
        ({"gsd": pa.array([float("inf")])}, False),
        ({"assets": pa.array([{"image": {"title": "no href"}}])}, False),
        ({"assets": pa.array([[1]])}, False),
    ],
)
def test_columns_must_have_the_types_of_items(changed: dict[str, pa.Array], regular: bool) -> None:
    assert is_regular(pa.RecordBatch.from_pydict(COLUMNS | changed)) is regular


def test_footprints_that_need_care_are_not_plain() -> None:
    shapes = {
        shapely.box(1, 2, 3, 4): True,
        shapely.MultiPolygon([shapely.box(1, 2, 3, 4), shapely.box(5, 2, 6, 4)]): True,
        shapely.Point(1, 2): False,
        shapely.Polygon(): False,
        shapely.box(170, 2, 190, 4): False,
        shapely.box(-170, 2, 170, 4): False,
        shapely.box(1, 80, 3, 91): False,
        shapely.Polygon([(0, 0), (2, 2), (2, 0), (0, 2)]): False,
    }
    found = are_plain_footprints(np.array([*shapes, None], dtype=object))
    assert found.tolist() == [*shapes.values(), False]
