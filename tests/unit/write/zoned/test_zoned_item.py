from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pystac
from record_world import run_info
from zone_results import zoned_info

from pipeline.write.run_dir import RunDir
from pipeline.write.zoned.zoned_item import write_zoned_item

INFO = zoned_info({})


def test_an_item_of_all_zones_links_to_theirs(tmp_path: Path) -> None:
    """Over the antimeridian its box has west > east, and scenes give its times."""
    east = {"type": "Polygon", "coordinates": [[[179, 0], [180, 0], [180, 1], [179, 1], [179, 0]]]}
    west = {"type": "Polygon", "coordinates": [[[-180, 0], [-179, 0], [-179, 1], [-180, 1], [-180, 0]]]}
    scenes = run_info().scenes
    later = replace(scenes[0], scene_id="late", datetime="2024-06-01T00:00:00Z")
    path = write_zoned_item(RunDir(tmp_path), INFO, footprints=[east, west], scenes=[*scenes, later], seen="")
    item = pystac.Item.from_dict(json.loads(path.read_text()))
    assert item.bbox == [179.0, 0.0, -179.0, 1.0]
    assert item.geometry is not None
    assert item.geometry["type"] == "MultiPolygon"
    assert item.common_metadata.start_datetime is not None
    assert [link.href for link in item.get_links("item")] == [
        "./zones/EPSG_32630/item.json",
        "./zones/EPSG_32631/item.json",
    ]
    assert len(item.get_links("derived_from")) == 2
    assert item.properties["proj:code"] == "OGC:CRS84"
    assert item.assets["run"].href == "./run.json"
    assert "file:checksum" not in item.assets["run"].extra_fields, "run.json is rewritten by every start"


def test_zones_without_a_footprint_give_an_item_without_one(tmp_path: Path) -> None:
    path = write_zoned_item(RunDir(tmp_path), INFO, footprints=[], scenes=[], seen="")
    assert json.loads(path.read_text())["geometry"] is None
