"""Values of Arrow columns, against pyarrow's own and the JSON that they stand for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.grid.catalog.parquet_values import depth_of, is_finite, most_values, plain, values_of

number = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False), st.just(0.5))
entry = st.one_of(
    st.none(), st.fixed_dictionaries({"name": st.one_of(st.none(), st.text()), "scale": number})
)
KIND = pa.list_(pa.struct([("name", pa.string()), ("scale", pa.float64())]))


@given(rows=st.lists(st.one_of(st.none(), st.lists(entry, max_size=3)), max_size=6))
def test_nested_columns_are_decoded_as_value_by_value(rows: list[Any]) -> None:
    column = pa.array(rows, KIND)
    assert values_of(column) == [plain(value) for value in column.to_pylist()]
    assert values_of(column.slice(1)) == [plain(value) for value in column.slice(1).to_pylist()]


@given(rows=st.lists(st.lists(number, min_size=2, max_size=2), max_size=5))
def test_lists_of_numbers(rows: list[Any]) -> None:
    for kind in (pa.list_(pa.float64()), pa.list_(pa.float64(), 2), pa.large_list(pa.float64())):
        assert values_of(pa.array(rows, kind)) == rows


def test_times_are_utc_text() -> None:
    moments = [datetime(2024, 6, 1, 12, tzinfo=timezone(timedelta(hours=2))), None]
    expected = ["2024-06-01T10:00:00Z", None]
    for unit in ("s", "ms", "us", "ns"):
        assert values_of(pa.array(moments, pa.timestamp(unit, "Europe/Berlin"))) == expected
    bare = pa.array([datetime(2024, 6, 1, 10, 0, 0, 500)], pa.timestamp("us"))
    assert values_of(bare) == ["2024-06-01T10:00:00.000500Z"]
    assert plain(datetime(2024, 6, 1, 10, tzinfo=UTC)) == "2024-06-01T10:00:00Z"


def test_dictionaries_and_nulls() -> None:
    assert values_of(pa.array(["a", "b", "a"]).dictionary_encode()) == ["a", "b", "a"]
    assert values_of(pa.nulls(2)) == [None, None]
    assert plain({"a": None, "b": float("nan"), "c": [None]}) == {"c": [None]}


@pytest.mark.parametrize(
    ("rows", "depth", "values", "finite"),
    [
        ([1.0, 2.0], 0, 1, True),
        ([float("nan")], 0, 1, True),
        ([[float("nan")]], 1, 2, False),
        ([{"a": float("inf")}], 1, 2, False),
        ([[{"a": 1, "b": [1, 2]}], []], 3, 6, True),
    ],
)
def test_bounds_of_columns(rows: list[Any], depth: int, values: int, finite: bool) -> None:
    column = pa.array(rows)
    assert depth_of(column.type) == depth
    assert most_values(column) == values
    assert is_finite(column) == finite
