"""Two zones, written by hand, become one result."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import pyarrow.parquet as pq
import pytest
import shapely
from zone_results import SIDE_PX, Seen, ground_of, two_zones

from pipeline.run.zones.zone_publish import PublishedZones, publish_zones
from pipeline.write.run_dir import RunDir
from pipeline.write.zoned.zoned_json import ZonedInfo


def published(root: Path, *zones: list[Seen], min_area_m2: float = 0.0, **changes: Any) -> PublishedZones:
    results = two_zones(root, *zones, **changes)
    info = ZonedInfo(
        run_id="whole",
        fingerprint="f",
        status="running",
        parameters={},
        queries=("roofs",),
        crs="OGC:CRS84",
        zones=(),
    )
    return publish_zones(RunDir(root), results, min_area_m2=min_area_m2, info=info)


def folder_of(root: Path) -> Path:
    """instances/ of the one snapshot."""
    (snapshot,) = (root / "snapshots").iterdir()
    return snapshot / "instances"


def instances(root: Path) -> gpd.GeoDataFrame:
    return gpd.read_parquet(folder_of(root)).sort_values("instance_id")


CROSSING = shapely.box(-20, 0, 15, 10)


def test_objects_of_both_sides_and_one_across(tmp_path: Path) -> None:
    west = [Seen(1, shapely.box(-150, 0, -140, 8)), Seen(2, CROSSING), Seen(3, shapely.box(25, 30, 35, 40))]
    east = [Seen(1, CROSSING), Seen(9, shapely.box(25, 30, 35, 40)), Seen(20, shapely.box(100, 0, 110, 10))]
    found = published(tmp_path, west, east)
    frame = instances(tmp_path)
    assert found.n_instances == (4,)
    assert frame["instance_id"].tolist() == [1, 2, 3, SIDE_PX**2 + 20]
    assert [list(zones) for zones in frame["zones"]] == [
        ["EPSG_32630"],
        ["EPSG_32630", "EPSG_32631"],
        ["EPSG_32631", "EPSG_32630"],  # all of it lies on the eastern zone's ground
        ["EPSG_32631"],
    ]
    assert frame["area_m2"].tolist() == [80.0, *(pytest.approx(a, rel=1e-3) for a in (350, 100, 100))]
    assert not (tmp_path / "merge.tmp").exists()
    assert found.qa["roofs"]["joined"] == 2
    assert found.run_dir.instances.local() == folder_of(tmp_path)
    assert (tmp_path / "plan.parquet").is_file()
    assert found.run_dir.coverage.is_file()


def test_a_name_follows_from_the_zones_and_the_smallest_area(tmp_path: Path) -> None:
    first = published(tmp_path / "a", [], []).run_dir.results.name
    assert published(tmp_path / "b", [], []).run_dir.results.name == first
    assert published(tmp_path / "c", [], [], min_area_m2=5.0).run_dir.results.name != first
    results = [
        replace(each, run_dir=each.run_dir.in_snapshot(f"s{n}"))
        for n, each in enumerate(two_zones(tmp_path / "d", [], []))
    ]
    for each in results:
        shutil.copytree(tmp_path / "d" / "zones" / each.zone.name, each.run_dir.results.local())
    info = ZonedInfo(
        run_id="whole",
        fingerprint="f",
        status="running",
        parameters={},
        queries=("roofs",),
        crs="OGC:CRS84",
        zones=(),
    )
    other = publish_zones(RunDir(tmp_path / "d"), results, min_area_m2=0.0, info=info)
    assert other.run_dir.results.name != first


def test_an_object_beyond_the_seam_that_its_owner_does_not_have_is_the_owner_s_word(tmp_path: Path) -> None:
    """The owner looked there and found nothing. Where its tile failed, the other zone's object stays."""
    ghost = [Seen(5, shapely.box(-30, 60, -20, 70))]
    assert published(tmp_path / "a", [], ghost).n_instances == (0,)
    assert published(tmp_path / "b", [], ghost, failed=[(0, 2)]).n_instances == (1,)
    assert pq.read_table(folder_of(tmp_path / "a"), partitioning=None).num_rows == 0


def test_small_objects_go_once_they_are_whole(tmp_path: Path) -> None:
    west = [Seen(1, shapely.box(-150, 0, -140, 8)), Seen(2, CROSSING)]
    found = published(tmp_path, west, [Seen(1, CROSSING)], min_area_m2=300)
    assert instances(tmp_path)["instance_id"].tolist() == [2]
    assert found.qa["roofs"]["below_min_area_m2"] == 1


def test_a_giant_in_parts_is_small_only_all_together(tmp_path: Path) -> None:
    giant = [Seen(1, shapely.box(-150, y, -140, y + 8), part_no=n, n_parts=2) for n, y in enumerate((0, 20))]
    assert published(tmp_path / "kept", giant, [], min_area_m2=100).n_instances == (1,)
    assert len(instances(tmp_path / "kept")) == 2
    assert published(tmp_path / "gone", giant, [], min_area_m2=200).n_instances == (0,)


def test_a_road_is_cut_off_where_the_scene_ends_and_not_where_a_band_does(tmp_path: Path) -> None:
    road = Seen(1, shapely.box(-60, 0, 39, 4), truncated=True)
    over = Seen(1, shapely.box(-39, 0, 60, 4), truncated=True)
    published(tmp_path / "whole", [road], [over])
    assert instances(tmp_path / "whole")["truncated"].tolist() == [False]
    down = shapely.box(-59, -100, -57, 4)
    published(tmp_path / "cut", [Seen(1, road.shape.union(down), truncated=True)], [over])
    assert instances(tmp_path / "cut")["truncated"].tolist() == [True]


def test_ground_and_tiles_are_counted(tmp_path: Path) -> None:
    found = published(tmp_path, [], [], failed=[(0, 0)])
    ledger = found.conservation
    assert (ledger.planned, ledger.found, ledger.failed) == (32, 31, 1)
    assert ledger.reasons == {"failed/malformed": 1, "found": 31}
    assert ledger.searched is not None
    assert ledger.searched.planned_km2 == pytest.approx(
        0.064, rel=0.01
    )  # 2 x 0.04, less 80 x 200 m twice seen
    assert ledger.searched.searched_km2 == (pytest.approx(0.0615, rel=0.01),)
    assert ground_of(-1, -1, 1, 1).is_valid
