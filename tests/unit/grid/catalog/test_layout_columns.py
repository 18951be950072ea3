"""Which columns decide about a layout, and which rows agree. Small columns, numbered by hand."""

from __future__ import annotations

import pyarrow as pa

from pipeline.grid.catalog.layout_columns import codes_of, deciding_columns, is_constant


def test_columns_that_differ_are_numbered() -> None:
    assert is_constant(pa.array([[{"name": "Red"}]] * 3))
    assert not is_constant(pa.array(["a", "a", "b"]))
    assert codes_of(pa.array(["a", None, "a", "b"])).tolist() == [0, 1, 0, 2]
    bands = pa.array(
        [[{"name": "Red", "mean": 1.0}], [{"name": "Red", "mean": 2.0}], [{"name": "B", "mean": 1.0}]]
    )
    assert codes_of(bands).tolist() == [0, 0, 1]


def test_of_a_transform_the_size_of_a_pixel_decides() -> None:
    transforms = pa.array([[10.0, 0.0, 1.0, 0.0, -10.0, 2.0], [10.0, 0.0, 3.0, 0.0, -10.0, 4.0]])
    columns = {"proj:transform": transforms, "gsd": pa.array([1.0, 2.0]), "title": pa.array(["a", "b"])}
    found = [column.to_pylist() for column in deciding_columns(columns)]
    assert found == [[1.0, 2.0], [10.0, 10.0], [0.0, 0.0]], "no title, and no corner of a transform"
