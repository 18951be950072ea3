"""From a catalogue to a plan: notes, rows of scenes.parquet, and scenes that fail."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import geopandas
import numpy as np
import pyproj
import pytest
import shapely
from item_files import LEFT, TOP, UTM, grey, item_document, projection_fields, write_items, write_pixels

from pipeline.errors import InputError
from pipeline.grid.aoi import Aoi
from pipeline.grid.lattice import same_crs
from pipeline.grid.mosaic_order import mosaic_order
from pipeline.grid.source import SourceOptions
from pipeline.grid.tiles import plan_tiles
from pipeline.run.config import AreaOptions, GridChoice, RunConfig, build_preset, merge_tables, preset_tables
from pipeline.run.plan_imagery import PlannedImagery, area_text, plan_found, read_area, search_imagery

TILES = {"px": 48, "halo_px": 8, "block_tiles": 2}


def planned(*sources: Path, **options: Any) -> PlannedImagery:
    config = replace(config_of(*sources), **options)
    return plan_found(config, search_imagery(config, None))


def config_of(*sources: Path) -> RunConfig:
    return RunConfig(
        queries=("x",),
        area=AreaOptions(whole_scene=True),
        source=SourceOptions(hrefs=tuple(map(str, sources))),
        grid=GridChoice(),
        preset_name="embedded",
        preset=build_preset(merge_tables(preset_tables("embedded"), {"tiles": TILES})),
    )


@pytest.fixture
def items(tmp_path: Path) -> list[dict[str, Any]]:
    found = []
    for number, name in enumerate("abc"):
        path = write_pixels(tmp_path / f"{name}.tif", grey(60, 60, 1), col0=50 * number)
        document = item_document(
            name,
            {"image": path},
            on_item={**projection_fields(path), "eo:cloud_cover": 30 - number},
            when=f"2024-06-0{number + 1}T00:00:00Z",
        )
        found.append(document)
    return found


def test_rows_say_what_was_taken_and_left(items: list[dict[str, Any]], tmp_path: Path) -> None:
    items[1]["assets"]["image"]["type"] = "image/jp2"
    found = planned(write_items(tmp_path / "items.json", items), mosaic=mosaic_order("oldest"))
    rows = {row.scene_id: row for row in found.rows}
    assert [scene.scene_id for scene in found.plan.scenes] == ["a", "c"]
    assert [(row.scene_id, row.order) for row in found.rows] == [("a", 0), ("c", 1), ("b", None)]
    assert "GeoTIFFs" in rows["b"].reason
    assert (rows["a"].cloud_cover, rows["a"].collection, rows["a"].reason) == (30, "drawn", "")
    assert rows["a"].footprint is not None
    assert rows["a"].footprint.area == pytest.approx(rows["b"].footprint.area, rel=0.01)
    (note,) = found.notes
    assert note.startswith("1 item that was found cannot be used; scenes.parquet says why. For example b: ")
    (search,) = found.searches
    assert search["source"] == str(tmp_path / "items.json")


def test_a_scene_that_is_not_what_its_item_says_is_told(items: list[dict[str, Any]], tmp_path: Path) -> None:
    items[0]["properties"]["proj:shape"] = [61, 60]
    found = planned(write_items(tmp_path / "items.json", items))
    assert [scene.scene_id for scene in found.plan.scenes if scene.failure] == ["a"]
    (note,) = found.notes
    assert note.startswith("1 of 3 scenes cannot be read, and every tile that needs one fails: a: ")
    assert "shape is 61 x 60 in the item, 60 x 60 in the file" in note
    assert "shape is 61 x 60" in {row.scene_id: row.reason for row in found.rows}["a"]
    for item in items[1:]:
        Path(item["assets"]["image"]["href"]).unlink()
    with pytest.raises(InputError, match="At least one of the 3 scenes"):
        planned(tmp_path / "items.json")


def test_rasters_have_rows_too(items: list[dict[str, Any]], tmp_path: Path) -> None:
    plain = write_pixels(tmp_path / "plain.tif", grey(20, 20, 1), crs=None)
    (row,) = planned(plain).rows
    assert (row.scene_id, row.order, row.footprint) == ("plain", 0, None)
    found = planned(tmp_path / "a.tif", tmp_path / "c.tif")
    assert not found.notes
    assert not found.searches
    footprints = [row.footprint for row in found.rows]
    assert footprints[0] is not None
    assert footprints[0].bounds[0] == pytest.approx(15.0, abs=1e-6)


def test_a_wrong_crs_in_an_item_makes_no_zone(items: list[dict[str, Any]], tmp_path: Path) -> None:
    """All headers are opened first; the scene that claims another CRS lies among the others, and fails."""
    items[1]["properties"] |= {"proj:code": "EPSG:25833"}
    items[2]["assets"]["image"]["href"] = str(tmp_path / "lost.tif")
    for key in ("proj:code", "proj:transform", "proj:shape"):
        del items[2]["properties"][key]
    found = search_imagery(config_of(write_items(tmp_path / "items.json", items)), None)
    failed = {scene.scene_id: scene.failure for scene in found.scenes if scene.failure}
    assert set(failed) == {"b", "c"}
    assert "CRS is EPSG:25833 in the item, EPSG:32633 in the file" in failed["b"]
    sound = next(scene for scene in found.scenes if not scene.failure)
    assert all(same_crs(scene.crs_wkt, sound.crs_wkt) for scene in found.scenes)
    plan = planned(tmp_path / "items.json").plan
    assert plan.grid.width == pytest.approx(160, abs=2), "their ground is in the plan, to fail there"
    assert plan.mode == "scene"


def test_a_scene_that_only_halos_need_is_told(items: list[dict[str, Any]], tmp_path: Path) -> None:
    """The area is an L on `low`. The others lie in the corner that it leaves; no tile sees `far`."""
    far = write_pixels(tmp_path / "far.tif", grey(10, 5, 4), row0=31, col0=70)
    items.append(item_document("far", {"image": far}, on_item=projection_fields(far)))
    low = write_pixels(tmp_path / "low.tif", grey(60, 200, 3), row0=30)
    items.append(item_document("low", {"image": low}, on_item=projection_fields(low)))
    corner = area_in_pixels(shapely.box(1, 70, 190, 89).union(shapely.box(170, 31, 190, 89)))
    config = config_of(write_items(tmp_path / "items.json", items))
    plans = mock.Mock(wraps=plan_tiles)
    with mock.patch("pipeline.run.plan_imagery.plan_tiles", plans):
        found = plan_found(config, search_imagery(config, corner))
    assert plans.call_count == 2, "by the items, and by what the headers say"
    rows = {row.scene_id: row for row in found.rows}
    taken = [scene.scene_id for scene in found.plan.scenes]
    assert found.plan.only_in_halos == tuple(name != "low" for name in taken)
    assert set(taken) == {"a", "b", "c", "low"}
    assert rows["c"].order == taken.index("c")
    assert rows["c"].reason.startswith("only in halos: ")
    assert rows["low"].reason == ""
    assert (rows["far"].order, rows["far"].reason) == (None, "it lies outside of the area of interest")
    assert len(rows) == len(found.rows), "no item has two rows"
    assert found.notes == search_imagery(config, corner).found.notes


def area_in_pixels(pixels: shapely.Polygon) -> Aoi:
    move = pyproj.Transformer.from_crs("EPSG:32633", "OGC:CRS84", always_xy=True)
    dense = shapely.segmentize(pixels, 2.0)
    return Aoi(
        geometry=shapely.transform(
            dense, lambda xy: np.column_stack(move.transform(LEFT + xy[:, 0], TOP - xy[:, 1]))
        ),
        source="drawn",
    )


def test_a_place_plans_what_its_outline_plans(tmp_path: Path) -> None:
    scene = write_pixels(tmp_path / "scene.tif", grey(200, 200, 1))
    here = shapely.box(LEFT + 20, TOP - 90, LEFT + 70, TOP - 30)
    there = shapely.box(LEFT + 120, TOP - 190, LEFT + 170, TOP - 130)
    frame = geopandas.GeoDataFrame({"name": ["Here", "There"]}, geometry=[here, there], crs=UTM)
    frame.to_file(tmp_path / "districts.gpkg")
    frame[:1].to_file(tmp_path / "here.gpkg")
    areas = (
        AreaOptions(aoi=str(tmp_path / "here.gpkg")),
        AreaOptions(place="here", gazetteer=str(tmp_path / "districts.gpkg")),
    )
    configs = [replace(config_of(scene), area=area) for area in areas]
    outlines = [read_area(config) for config in configs]
    plans = [
        plan_found(config, search_imagery(config, outline)).plan
        for config, outline in zip(configs, outlines, strict=True)
    ]
    assert area_text(outlines[0]) == area_text(outlines[1])
    assert plans[0].inside.tolist() == plans[1].inside.tolist()
    assert 0 < plans[0].n_tiles < planned(scene).plan.n_tiles
