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


def test_ground_that_two_zones_saw_counts_for_its_owner(tmp_path: Path) -> None:
    """The zones overlap by 80 m of 200; each owns its own side."""
    results = two_zones(tmp_path, [], [])
    ledgers = [
        OwnedLedger(
            zone=each.zone.name, run_dir=each.run_dir, owned=each.zone.owned, crs_wkt=each.zone.crs_wkt
        )
        for each in results
    ]
    km2 = write_zoned_coverage(tmp_path / "coverage.parquet", ledgers, n_queries=1)
    ledger = gpd.read_parquet(tmp_path / "coverage.parquet")
    assert km2.searched == (pytest.approx(ledger["searched_km2"].sum()),)
    assert km2.planned == pytest.approx(km2.searched[0])
    owned = sum(abs(Geod(ellps="WGS84").geometry_area_perimeter(each.zone.owned)[0]) for each in results)
    assert km2.planned * 1e6 == pytest.approx(owned, rel=2e-3)  # the test's cores have 2500 m2 of the map
    assert ledger["km2"].sum() == pytest.approx(0.08)  # cores stay what they are
    assert ((ledger["searched_km2"] > 0) & (ledger["searched_km2"] < ledger["km2"] * 0.99)).sum() >= 4


def test_the_globe_as_a_grid_measures_as_pyproj_does() -> None:
    shape = box(10.0, 59.9, 10.01, 60.0).segmentize(1e-4)
    expected = abs(Geod(ellps="WGS84").geometry_area_perimeter(shape)[0])
    (measured,) = geodesic_area_m2(to_pixels([shape], LONLAT_GRID), LONLAT_GRID)
    assert measured == pytest.approx(expected, rel=1e-8)
