from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pyarrow.parquet as pq
import pytest
from pyproj import Geod
from shapely import box
from zone_results import two_zones

from pipeline.write.georeference import to_pixels
from pipeline.write.ground_area import geodesic_area_m2
from pipeline.write.scene_table import SceneRow
from pipeline.write.zoned.zoned_tables import (
    LONLAT_GRID,
    CoreShares,
    OwnedLedger,
    write_zoned_coverage,
    write_zoned_plan,
    write_zoned_scenes,
)


def test_plans_of_all_zones_lie_in_one_crs(tmp_path: Path) -> None:
    results = two_zones(tmp_path, [], [])
    n_rows = write_zoned_plan(tmp_path / "plan.parquet", [(each.zone.name, each.run_dir) for each in results])
    plan = gpd.read_parquet(tmp_path / "plan.parquet")
    assert n_rows == len(plan) == 32
    assert plan.crs == "OGC:CRS84"
    assert plan.columns[0] == "zone"
    for each in results:
        own = gpd.read_parquet(each.run_dir.plan).to_crs("OGC:CRS84")
        mine = plan[plan["zone"] == each.zone.name]
        assert mine["tile_id"].tolist() == own["tile_id"].tolist()
        assert np.abs(mine.geometry.bounds.to_numpy() - own.geometry.bounds.to_numpy()).max() < 1e-8


def test_scenes_name_the_zone_that_looks_at_them(tmp_path: Path) -> None:
    path = tmp_path / "scenes.parquet"
    rows = [
        (
            "EPSG_32630",
            SceneRow(scene_id="a", order=0, href="https://h/a.tif?sig=SECRET", footprint=box(0, 0, 1, 1)),
        ),
        (None, SceneRow(scene_id="b", reason="is of another CRS")),
    ]
    assert write_zoned_scenes(path, rows) == 2
    scenes = gpd.read_parquet(path)
    assert scenes.crs == "OGC:CRS84"
    assert scenes.geometry[0].equals(box(0, 0, 1, 1))
    read = pq.read_table(path, columns=["zone", "scene_id", "taken", "reason", "href"]).to_pylist()
    assert read == [
        {"zone": "EPSG_32630", "scene_id": "a", "taken": True, "reason": "", "href": "https://h/a.tif"},
        {"zone": None, "scene_id": "b", "taken": False, "reason": "is of another CRS", "href": None},
    ]
    assert write_zoned_scenes(path, []) == 0


def test_shares_of_cores_are_what_counts(tmp_path: Path) -> None:
    """Of the western zone half a core counts, of the plan nothing of another; all else counts whole."""
    results = two_zones(tmp_path, [], [])
    none = np.zeros(0, dtype=np.int64)
    half = CoreShares(tile_row=np.array([3, 1]), tile_col=np.array([0, 2]), share=np.array([1.0, 0.5]))
    gone = CoreShares(tile_row=np.array([0]), tile_col=np.array([3]), share=np.array([0.0]))
    whole = CoreShares(tile_row=none, tile_col=none, share=np.zeros(0))
    ledgers = [
        OwnedLedger(
            zone=each.zone.name,
            run_dir=each.run_dir,
            crs_wkt=each.zone.crs_wkt,
            planned=planned,
            searched=(searched,),
        )
        for each, planned, searched in zip(results, (gone, whole), (half, whole), strict=True)
    ]
    km2 = write_zoned_coverage(tmp_path / "coverage.parquet", ledgers)
    ledger = gpd.read_parquet(tmp_path / "coverage.parquet")
    assert km2.searched == (pytest.approx(ledger["searched_km2"].sum()),)
    west = ledger["zone"] == results[0].zone.name
    cut = west & (ledger["tile_row"] == 1) & (ledger["tile_col"] == 2)
    missing = west & (ledger["tile_row"] == 0) & (ledger["tile_col"] == 3)
    assert ledger["searched_km2"][cut].item() == pytest.approx(ledger["km2"][cut].item() / 2)
    assert ledger["searched_km2"][~cut].tolist() == pytest.approx(ledger["km2"][~cut].tolist())
    assert km2.planned == pytest.approx(ledger["km2"][~missing].sum())


def test_the_globe_as_a_grid_measures_as_pyproj_does() -> None:
    shape = box(10.0, 59.9, 10.01, 60.0).segmentize(1e-4)
    expected = abs(Geod(ellps="WGS84").geometry_area_perimeter(shape)[0])
    (measured,) = geodesic_area_m2(to_pixels([shape], LONLAT_GRID), LONLAT_GRID)
    assert measured == pytest.approx(expected, rel=1e-8)
