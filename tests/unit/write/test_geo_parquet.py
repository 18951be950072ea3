from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from geo_rules import checked_geo
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from record_world import grid_of

from pipeline.write.geo_parquet import ROW_GROUP_ROWS, with_geometry, write_geo_parquet

SCHEMA = pa.schema([("n", pa.int32())])


def slab(start: int, n: int) -> pa.Table:
    x = np.arange(start, start + n, dtype=np.float64)
    return with_geometry(
        pa.table({"n": pa.array(np.arange(start, start + n), pa.int32())}), shapely.box(x, 0, x + 1, 1)
    )


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, ROW_GROUP_ROWS + 5), max_size=4))
def test_rows_keep_their_order_in_groups_of_bounded_size(tmp_path: Path, sizes: list[int]) -> None:
    starts = np.cumsum([0, *sizes])
    path = tmp_path / "a.parquet"
    n = write_geo_parquet(
        path, (slab(int(s), k) for s, k in zip(starts, sizes, strict=False)), schema=SCHEMA, grid=grid_of()
    )
    assert n == sum(sizes)
    assert pq.read_table(path)["n"].to_pylist() == list(range(n))
    groups = pq.ParquetFile(path).metadata
    assert [groups.row_group(i).num_rows for i in range(groups.num_row_groups)][:-1] == [ROW_GROUP_ROWS] * (
        groups.num_row_groups - 1
    )


def test_rules_hold_for_polygons_mixtures_and_nothing(tmp_path: Path) -> None:
    two = np.array(
        [shapely.box(0, 0, 1, 1), shapely.MultiPolygon([shapely.box(0, 0, 1, 1), shapely.box(5, 5, 6, 9)])],
        dtype=object,
    )
    mixed = with_geometry(pa.table({"n": pa.array([1, 2], pa.int32())}), two)
    for tables, types in (
        ([slab(0, 3)], ["Polygon"]),
        ([slab(0, 3), mixed], ["MultiPolygon", "Polygon"]),
        ([], []),
    ):
        write_geo_parquet(tmp_path / "a.parquet", tables, schema=SCHEMA, grid=grid_of())
        assert checked_geo(tmp_path / "a.parquet")["geometry_types"] == types
        assert geopandas.read_parquet(tmp_path / "a.parquet").crs.to_epsg() == 32636


def test_without_crs_the_entry_is_null_not_absent(tmp_path: Path) -> None:
    write_geo_parquet(tmp_path / "a.parquet", [slab(0, 1)], schema=SCHEMA, grid=grid_of(crs=None))
    column = checked_geo(tmp_path / "a.parquet")
    assert column["crs"] is None
    assert "crs" in column  # absent would mean OGC:CRS84
    assert geopandas.read_parquet(tmp_path / "a.parquet").crs is None


def test_a_failed_stream_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_geo_parquet(path, [slab(0, 1)], schema=SCHEMA, grid=grid_of())
    before = path.read_bytes()

    def broken() -> object:
        yield slab(0, 3)
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        write_geo_parquet(path, broken(), schema=SCHEMA, grid=grid_of())  # type: ignore[arg-type]
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.parquet"]
