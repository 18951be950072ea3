"""The GeoPackage, read by geopandas, against the tables of the run."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import shapely
from object_table import ObjectTable, write_objects
from record_world import META, QUERIES, golden_run, grid_of, id_raster, table_of

from pipeline.errors import InputError
from pipeline.schema.tiling import RunGrid
from pipeline.write.export import feature_rows
from pipeline.write.export.feature_rows import InstanceRules
from pipeline.write.export.geo_package import write_geo_package
from pipeline.write.export.outline_store import OutlineStore
from pipeline.write.export.score_floor import score_floor
from pipeline.write.georeference import to_pixels
from pipeline.write.run_dir import RunDir

TABLE = table_of([id_raster(seed=0), id_raster(seed=1)])


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDir:
    golden_run(tmp_path / "run")
    return RunDir(tmp_path / "run")


def exported(
    run_dir: RunDir, path: Path, *, queries: tuple[int, ...] = (0, 1), grid: RunGrid | None = None
) -> list[float]:
    told: list[float] = []
    write_geo_package(path, run_dir, grid=grid or grid_of(), query_indexes=queries, progress=told.append)
    return told


@pytest.mark.parametrize("batch_rows", [3, 4096])
def test_both_layers_hold_every_row_with_its_shape_and_values(
    run_dir: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_rows: int
) -> None:
    """Several part files and small batches give the same rows as one of each."""
    monkeypatch.setattr(feature_rows, "BATCH_ROWS", batch_rows)
    write_objects(run_dir, TABLE, grid=grid_of(), meta=META, part_rows=5)
    told = exported(run_dir, tmp_path / "r.gpkg")
    assert pyogrio.list_layers(tmp_path / "r.gpkg").tolist() == [
        ["instances", "MultiPolygon"],
        ["coverage", "MultiPolygon"],
    ]
    for layer, source in (("instances", run_dir.instances), ("coverage", run_dir.coverage)):
        want = gpd.read_parquet(source)
        got = gpd.read_file(tmp_path / "r.gpkg", layer=layer)
        assert got.crs == want.crs
        assert got.geometry.geom_equals(want.geometry.reset_index(drop=True)).all()
        assert set(got.columns) == set(want.columns) - {"bbox"}
        for name in ("query", "query_index", "instance_id", "score", "area_m2", "truncated", "status", "km2"):
            if name in want.columns:
                np.testing.assert_array_equal(got[name], want[name].reset_index(drop=True), err_msg=name)
    objects = gpd.read_file(tmp_path / "r.gpkg", layer="instances")
    first = gpd.read_parquet(run_dir.instances).iloc[0]
    assert json.loads(objects["tile_ids"][0]) == list(first["tile_ids"])
    assert [(p["x"], p["y"]) for p in json.loads(objects["points"][0])] == [
        (p["x"], p["y"]) for p in first["points"]
    ]
    assert str(objects["datetime"].dropna().iloc[0]) == "2024-05-06 07:08:09+00:00"
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_only_the_chosen_query_is_there(run_dir: RunDir, tmp_path: Path) -> None:
    exported(run_dir, tmp_path / "r.gpkg", queries=(1,))
    for layer in ("instances", "coverage"):
        rows = gpd.read_file(tmp_path / "r.gpkg", layer=layer)
        assert set(rows["query"]) == {QUERIES[1]}
    assert len(gpd.read_file(tmp_path / "r.gpkg", layer="instances")) == int((TABLE.query_index == 1).sum())


def test_a_run_without_objects_and_without_a_crs_has_both_layers(run_dir: RunDir, tmp_path: Path) -> None:
    nothing: ObjectTable = TABLE.take(np.zeros(0, dtype=np.int64))
    grid = grid_of(crs=None)
    write_objects(run_dir, nothing, grid=grid, meta=META)
    exported(run_dir, tmp_path / "r.gpkg", grid=grid)
    rows = gpd.read_file(tmp_path / "r.gpkg", layer="instances")
    assert len(rows) == 0
    assert {"instance_id", "score", "query"} <= set(rows.columns)
    coverage = gpd.read_file(tmp_path / "r.gpkg", layer="coverage")
    assert len(coverage) == 40
    assert coverage.crs is None or not coverage.crs.is_geographic


def test_rules_choose_objects_and_their_outlines(run_dir: RunDir, tmp_path: Path) -> None:
    """One object gets another outline, others keep theirs, and those below the score are gone."""
    rows = gpd.read_parquet(run_dir.instances)
    first, *_ = rows[rows["query_index"] == 0].sort_values("score", ascending=False)["instance_id"]
    drawn = shapely.box(3, 4, 13, 8)
    with OutlineStore(tmp_path / "o.sqlite", shapely.union_all) as outlines:
        outlines.add(0, np.array([first], dtype=np.uint64), np.array([drawn], dtype=object))
        outlines.close_pieces()
        floor = score_floor(run_dir, (0, 1), 0.3)
        rules = InstanceRules(floor=floor, outlines=outlines, oriented=True, text="by hand")
        write_geo_package(
            tmp_path / "r.gpkg",
            run_dir,
            grid=grid_of(),
            query_indexes=(0, 1),
            progress=lambda _: None,
            rules=rules,
        )
    objects = gpd.read_file(tmp_path / "r.gpkg", layer="instances")
    assert sorted(objects["score"]) == sorted(rows["score"][rows["score"] >= 0.3])
    changed = objects[(objects["query_index"] == 0) & (objects["instance_id"] == first)].iloc[0]
    (pixels,) = to_pixels([changed.geometry], grid_of())
    assert pixels.equals_exact(shapely.MultiPolygon([drawn]), 1e-6, normalize=True)
    assert (changed["length_m"], changed["width_m"]) == pytest.approx((5.0, 2.0), rel=2e-3)
    assert changed["heading_deg"] == pytest.approx(90.0, abs=1.0)
    own = rows.set_index(["query_index", "instance_id"]).geometry
    others = objects.drop(index=changed.name)
    assert len(others) > 5
    for row in others.itertuples():
        assert row.geometry.equals(own[row.query_index, row.instance_id])
    boxes = gpd.read_file(tmp_path / "r.gpkg", layer="rectangles")
    assert boxes["instance_id"].tolist() == objects["instance_id"].tolist()
    assert (boxes.geometry.area > 0).all()
    assert (
        pyogrio.read_info(tmp_path / "r.gpkg", layer="instances")["layer_metadata"]["OUTLINES"] == "by hand"
    )
    assert len(gpd.read_file(tmp_path / "r.gpkg", layer="coverage")) == 40


@pytest.mark.parametrize("damage", ["no parts", "torn", "no ledger"])
def test_tables_that_are_not_whole_are_named(run_dir: RunDir, tmp_path: Path, damage: str) -> None:
    part = run_dir.instances / "part-00000.parquet"
    if damage == "torn":
        part.write_bytes(part.read_bytes()[:-9])
    else:
        (part if damage == "no parts" else run_dir.coverage).delete()
    with pytest.raises(InputError, match=r"must be whole.*restitch_region"):
        exported(run_dir, tmp_path / "r.gpkg")
