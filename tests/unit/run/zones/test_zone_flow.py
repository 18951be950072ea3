"""When scenes are divided into zones, and what each zone is told."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import pytest
import shapely
from job_files import load_job
from zone_worlds import Frame, draw_world, local_to_lonlat

from pipeline.errors import InputError
from pipeline.geo.globe import to_lonlat
from pipeline.grid.aoi import Aoi
from pipeline.grid.scene_list import SceneList
from pipeline.run.prepare import RunRequest, find_imagery
from pipeline.run.zones.zone_flow import divided, plan_zones, start_zoned, zone_config, zones_text
from pipeline.schema.imagery import Scene

FRAMES = (Frame("EPSG:26917", -78.0006, 36.62, 100, 100), Frame("EPSG:26918", -77.9994, 36.62, 100, 100))


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    world = draw_world(
        tmp_path_factory.mktemp("world"), FRAMES, local_to_lonlat([shapely.box(0, 0, 9, 9)], -78, 36.62)
    )
    return [str(word) for word in world.words(Path("/tmp/never"), "--whole-scene", "--tile", 64, "--halo", 8)]


def request_of(words: list[str], *more: str) -> RunRequest:
    job = load_job("segment_region")
    args: argparse.Namespace = job.parser().parse_args([*words, *more])
    request: RunRequest = job.request_of(args)
    return request


def test_scenes_of_two_zones_are_divided_unless_a_crs_is_given(words: list[str]) -> None:
    request = request_of(words)
    zones = divided(request.config, find_imagery(request), say=print)
    assert [zone.name for zone in zones] == ["EPSG_26917", "EPSG_26918"]
    warped = request_of(words, "--crs", "EPSG:26917")
    assert divided(warped.config, find_imagery(warped), say=print) == ()
    one = request_of(words[2:])
    assert divided(one.config, find_imagery(one), say=print) == ()


def test_scenes_that_have_no_place_on_earth_are_left_to_the_plan(words: list[str]) -> None:
    request = request_of(words)
    found = find_imagery(request)
    nameless = replace(found.scenes[0], crs_wkt=None)
    assert divided(request.config, found.of((nameless, found.scenes[1]), None), say=print) == ()
    moon = "+proj=eqc +R=1737400 +units=m"
    from pyproj import CRS

    lunar: Scene = replace(found.scenes[0], crs_wkt=CRS.from_user_input(moon).to_wkt())
    assert divided(request.config, found.of((lunar, found.scenes[1]), None), say=print) == ()


def test_a_zone_is_given_the_scenes_beside_its_area(words: list[str]) -> None:
    """A scene of the zone's CRS that misses the area lies in the corner that the area leaves."""
    request = request_of(words)
    found = find_imagery(request)
    first = found.scenes[0]
    a, _, left, _, e, top = first.transform
    place = (a, 0.0, left + 50 * a, 0.0, e, top + 50 * e)
    beside = replace(first, scene_id="beside", transform=place, width=30, height=30)
    corner = shapely.box(left, top + 99 * e, left + 20 * a, top).union(
        shapely.box(left, top + 20 * e, left + 99 * a, top)
    )
    area = Aoi(geometry=to_lonlat(corner.segmentize(1), str(first.crs_wkt)), source="drawn")
    found = replace(found, aoi=area, found=replace(found.found, scenes=SceneList.of((beside, *found.scenes))))
    zones = divided(request.config, found, say=print)
    planned = plan_zones(request, found, zones)
    plan = next(plan.plan for zone, plan in zip(zones, planned.plans, strict=True) if "26917" in zone.name)
    assert [scene.scene_id for scene in plan.scenes] == ["beside", first.scene_id]
    assert plan.only_in_halos == (True, False)


def test_every_zone_is_planned_with_its_own_labels_and_below_the_whole(words: list[str]) -> None:
    request = request_of(words, "--min-area-m2", "7")
    zones = divided(request.config, find_imagery(request), say=print)
    planned = plan_zones(request, find_imagery(request), zones)
    assert [Path(plan.request.out).relative_to("/tmp/never").as_posix() for plan in planned.plans] == [
        "zones/EPSG_26917",
        "zones/EPSG_26918",
    ]
    for zone, plan in zip(zones, planned.plans, strict=True):
        assert plan.request.config.prompter.model.endswith(f"labels_{zone.name}.tif")
        assert plan.request.config.min_area_m2 == 0.0
    assert planned.parameters["min_area_m2"] == 7.0
    assert planned.parameters["zones"] == {
        zone.name: plan.fingerprint for zone, plan in zip(zones, planned.plans, strict=True)
    }
    entries = start_zoned(planned).zones
    first = planned.plans[0].plan.grid
    assert [entry.id_offset for entry in entries] == [0, first.width * first.height]
    assert "EPSG_26918  1 scenes" in zones_text(planned)


def test_one_label_raster_cannot_serve_two_zones(words: list[str]) -> None:
    labels = next(word for word in words if word.startswith("oracle:"))
    request = request_of(
        [word.replace("_{zone}", "_EPSG_26917") if word == labels else word for word in words]
    )
    zones = divided(request.config, find_imagery(request), say=print)
    with pytest.raises(InputError, match=r"labels_\{zone\}.*labels_EPSG_26917.tif, labels_EPSG_26918.tif\)"):
        plan_zones(request, find_imagery(request), zones)
    assert zone_config(request.config, "x") == request.config
