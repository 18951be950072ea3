"""Instances; the golden file is made by `python tests/golden/write/regenerate.py`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import geopandas
import numpy as np
import object_table
import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio.features
import shapely
import xarray as xr
from geo_rules import checked_geo
from object_table import ObjectTable, write_objects
from record_world import META, grid_of, id_raster, lattice_of, table_of, write_rasters

from pipeline.write.geo_parquet import ROW_GROUP_ROWS
from pipeline.write.ground_area import geodesic_area_m2
from pipeline.write.instances import SCHEMA, part_file, part_files
from pipeline.write.run_dir import RunDir

GOLDEN = Path(__file__).parents[2] / "golden" / "write"
RASTERS = [id_raster(seed=0), id_raster(seed=1)]
TABLE = table_of(RASTERS)


@pytest.mark.parametrize(
    "transform",
    [
        (0.5, 0.0, 450000.0, 0.0, -0.5, 36000.0),
        (0.3, 0.1, 450000.0, 0.1, -0.3, 36000.0),
        (2.0, 0.0, 0.0, 0.0, 2.0, 0.0),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_raster_and_vector_agree_to_the_pixel(
    tmp_path: Path, transform: tuple[float, ...], seed: int
) -> None:
    grid = grid_of(transform=transform)
    rasters = [id_raster(seed=seed), id_raster(seed=seed + 100)]
    table = table_of(rasters)
    run_dir = RunDir(tmp_path)
    write_objects(run_dir, table, grid=grid, meta=META)
    store = write_rasters(run_dir.masks, lattice_of(grid), rasters, table)
    ids = xr.open_zarr(store.path.local(), consolidated=False)["instance_id"].values
    rows = geopandas.read_parquet(run_dir.instances.local())
    assert len(rows) == len(table)
    for query in range(2):
        here = rows[rows["query_index"] == query]
        burnt = rasterio.features.rasterize(
            zip(here.geometry, here["instance_id"].astype(int), strict=True),
            out_shape=(40, 50),
            transform=rasterio.Affine(*transform),
            dtype="int64",
        )
        np.testing.assert_array_equal(burnt.astype(np.uint64), ids[query])
        for row in here.itertuples():
            assert row.area_px == (ids[query] == row.instance_id).sum()
            assert row.geometry.area == pytest.approx(
                row.area_px * abs(transform[0] * transform[4] - transform[1] * transform[3])
            )
    assert rows.geometry.is_valid.all()


def test_columns_hold_what_was_given(tmp_path: Path) -> None:
    write_objects(RunDir(tmp_path), TABLE, grid=grid_of(), meta=META)
    rows = pq.read_table(tmp_path / "instances").to_pylist()
    by_key = {(row["query_index"], row["instance_id"]): row for row in rows}
    assert len(by_key) == len(TABLE)
    areas = geodesic_area_m2(TABLE.polygons, grid_of())
    for i in range(len(TABLE)):
        row = by_key[int(TABLE.query_index[i]), int(TABLE.instance_id[i])]
        assert row["query"] == META.queries[int(TABLE.query_index[i])]
        assert row["score"] == TABLE.score[i]
        assert row["area_px"] == TABLE.area_px[i]
        assert row["area_m2"] == areas[i] == pytest.approx(TABLE.area_px[i] * 0.25, rel=2e-3)
        assert row["box_px"] == (None if np.isnan(TABLE.box_px[i, 0]) else TABLE.box_px[i].tolist())
        assert [(p["x"], p["y"], p["label"]) for p in row["points"]] == list(TABLE.points[i])
        assert row["tile_ids"] == list(TABLE.tile_ids[i])
        assert row["n_tiles"] == len(TABLE.tile_ids[i])
        assert (row["truncated"], row["one_sided"]) == (TABLE.truncated[i], TABLE.one_sided[i])
        assert (row["prompter_id"], row["segmenter_id"], row["run_id"]) == ("p@1", "s@2", "run-1")
        assert row["scene_ids"] == ["west"]
        assert (row["datetime"] is None) == (TABLE.datetime[i] is None)
        if row["datetime"] is not None:
            assert row["datetime"].isoformat() == "2024-05-06T07:08:09+00:00"
        assert row["rationale"] == "<b>because</b>"
    assert not any(
        isinstance(f.type, pa.BaseExtensionType)
        for f in pq.read_schema(tmp_path / "instances" / "part-00000.parquet")
    )


def test_the_file_keeps_the_rules_and_repeats_to_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "instances" / "part-00000.parquet"
    write_objects(RunDir(tmp_path), TABLE, grid=grid_of(), meta=META)
    first = path.read_bytes()
    column = checked_geo(path)
    assert column["crs"]["id"] == {"authority": "EPSG", "code": 32636}
    shuffled = TABLE.take(np.random.default_rng(0).permutation(len(TABLE)))
    write_objects(RunDir(tmp_path), shuffled, grid=grid_of(), meta=META)
    assert path.read_bytes() == first


def test_geopandas_reads_the_directory_by_bbox_filter_and_column(tmp_path: Path) -> None:
    write_objects(RunDir(tmp_path), TABLE, grid=grid_of(), meta=META)
    everything = geopandas.read_parquet(tmp_path / "instances")
    box = (450000.0, 35990.0, 450008.0, 36000.0)
    some = geopandas.read_parquet(
        tmp_path / "instances", bbox=box, filters=[("score", ">", 0.3)], columns=["instance_id", "geometry"]
    )
    want = everything[
        everything.intersects(shapely.box(*box)) | everything.envelope.intersects(shapely.box(*box))
    ]
    want = want[want["score"] > 0.3]
    assert 0 < len(some) < len(everything)
    assert set(some["instance_id"]) == set(want["instance_id"])
    assert len(geopandas.read_parquet(tmp_path / "instances", bbox=(0.0, 0.0, 1.0, 1.0))) == 0


def test_nothing_found_is_a_valid_empty_dataset(tmp_path: Path) -> None:
    write_objects(
        RunDir(tmp_path), table_of([np.zeros((40, 50), dtype=np.uint64)]), grid=grid_of(), meta=META
    )
    column = checked_geo(tmp_path / "instances" / "part-00000.parquet")
    assert column["geometry_types"] == []
    rows = geopandas.read_parquet(tmp_path / "instances")
    assert len(rows) == 0
    assert rows.crs.to_epsg() == 32636
    assert set(SCHEMA.names) <= set(rows.columns)
    assert (
        len(geopandas.read_parquet(tmp_path / "instances", bbox=(450000.0, 35000.0, 450010.0, 36000.0))) == 0
    )


def squares(n: int) -> ObjectTable:
    side = int(np.ceil(np.sqrt(n)))
    rng = np.random.default_rng(0)
    cells = rng.permutation(side * side)[:n]
    r, c = np.divmod(cells, side)
    return ObjectTable(
        instance_id=cells.astype(np.uint64) + 1,
        query_index=np.zeros(n, dtype=np.int32),
        label=[""] * n,
        score=np.full(n, 0.5, dtype=np.float32),
        area_px=np.ones(n, dtype=np.int64),
        polygons=shapely.box(c, r, c + 1, r + 1),
        rationale=[""] * n,
        box_px=np.full((n, 4), np.nan),
        points=[()] * n,
        tile_ids=[["r00000c00000"]] * n,
        truncated=np.zeros(n, dtype=np.bool_),
        one_sided=np.zeros(n, dtype=np.bool_),
        scene_ids=[()] * n,
        datetime=[None] * n,
    )


def test_many_rows_lie_close_to_their_neighbours_in_prunable_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n = ROW_GROUP_ROWS * 2 + 100
    monkeypatch.setattr(
        object_table, "geodesic_area_m2", lambda polygons, _: np.ones(len(polygons))
    )  # 65k rings are not what is tested
    write_objects(
        RunDir(tmp_path), squares(n), grid=grid_of(1000, 1000), meta=META, part_rows=ROW_GROUP_ROWS * 2
    )
    parts = sorted((tmp_path / "instances").iterdir())
    assert [p.name for p in parts] == ["part-00000.parquet", "part-00001.parquet"]
    assert [pq.ParquetFile(p).metadata.num_row_groups for p in parts] == [2, 1]
    boxes = pq.read_table(parts[0])["bbox"].combine_chunks()
    x, y = (boxes.field(i).to_numpy() for i in (0, 1))
    step = np.hypot(np.diff(x), np.diff(y))
    assert np.median(step) <= 0.5  # neighbours in the file are neighbours on the ground (pixels are 0.5 m)
    assert len(geopandas.read_parquet(tmp_path / "instances")) == n
    assert [path.local() for path in part_files(RunDir(tmp_path))] == parts


def test_parts_are_numbered_from_zero_and_end_at_the_first_gap(tmp_path: Path) -> None:
    """Their names are known without a listing; what else lies there is no part."""
    run_dir = RunDir(tmp_path)
    assert part_files(run_dir) == []
    for name in ("part-00000.parquet", "part-00001.parquet", "part-00003.parquet", "notes.parquet"):
        (run_dir.instances / name).write_bytes(b"")
    assert part_files(run_dir) == [part_file(run_dir, 0), part_file(run_dir, 1)]
    assert part_file(run_dir, 1).local() == tmp_path / "instances" / "part-00001.parquet"
    snapshot = run_dir.in_snapshot("abc")
    assert part_files(snapshot) == []
    assert (
        part_file(snapshot, 0).local() == tmp_path / "snapshots" / "abc" / "instances" / "part-00000.parquet"
    )


def test_without_crs_polygons_stay_in_pixels_and_have_no_ground_area(tmp_path: Path) -> None:
    write_objects(RunDir(tmp_path), TABLE, grid=grid_of(crs=None), meta=META)
    rows = geopandas.read_parquet(tmp_path / "instances")
    assert rows.crs is None
    assert rows["area_m2"].isna().all()
    assert pq.read_table(tmp_path / "instances")["area_m2"].null_count == len(TABLE)
    assert rows.geometry.area.sum() == TABLE.area_px.sum()


def test_the_golden_instances_are_still_readable() -> None:
    rows = geopandas.read_parquet(GOLDEN / "instances")
    assert set(zip(rows["query_index"], rows["instance_id"], strict=True)) == set(
        zip(TABLE.query_index, TABLE.instance_id, strict=True)
    )
    assert rows["area_px"].sum() == TABLE.area_px.sum()
    assert str(rows["datetime"].dtype).startswith("datetime64")


def test_dates_without_zone_count_as_utc(tmp_path: Path) -> None:
    table = replace(
        TABLE, datetime=["2024-05-06T09:08:09+02:00", "2024-05-06T07:08:09"] + [None] * (len(TABLE) - 2)
    )
    write_objects(RunDir(tmp_path), table, grid=grid_of(), meta=META)
    found = geopandas.read_parquet(tmp_path / "instances")["datetime"].dropna().unique()
    assert list(found) == [pandas.Timestamp("2024-05-06T07:08:09Z")]
