"""Rasters and catalogues side by side. The plan that items lead to is the one that their headers lead to."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from item_files import footprint_of, grey, item_document, projection_fields, write_items, write_pixels
from shapely.geometry import mapping, shape

from pipeline.errors import InputError
from pipeline.grid.aoi import Aoi
from pipeline.grid.catalog.catalog_options import CatalogOptions
from pipeline.grid.find_scenes import FoundScenes, find_scenes, settle_scenes
from pipeline.grid.mosaic_order import mosaic_order
from pipeline.grid.source import SourceOptions, open_scenes
from pipeline.grid.tiles import GridOptions, Plan, plan_tiles

GRID = GridOptions(tile_px=48, halo_px=8, block_tiles=2)


def search(*hrefs: str | Path, **options: Any) -> FoundScenes:
    order = mosaic_order(options.pop("mosaic", "first"))
    aoi = options.pop("aoi", None)
    bands = options.pop("bands", None)
    sources = SourceOptions(hrefs=tuple(map(str, hrefs)), bands=bands)
    return find_scenes(sources, CatalogOptions(**options), aoi, order=order)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Three neighbours, in the order in which a search gives items of one time: by their ids."""
    return {
        name: write_pixels(tmp_path / f"{name}.tif", grey(60, 60, value), col0=col0)
        for name, value, col0 in (("east", 3, 90), ("middle", 2, 40), ("west", 1, 0))
    }


def documents(files: dict[str, Path], **options: Any) -> list[dict[str, Any]]:
    return [
        item_document(name, {"image": path}, on_item=projection_fields(path), **options)
        for name, path in files.items()
    ]


def settled_plan(found: FoundScenes, aoi: Aoi | None = None) -> Plan:
    plan = plan_tiles(aoi, found.scenes, GRID)
    return plan_tiles(aoi, settle_scenes(found, plan.scenes), GRID)


WAYS: dict[str, Callable[[dict[str, Path]], list[dict[str, Any]]]] = {
    "on the item": documents,
    "on the asset": lambda files: [
        item_document(name, {"image": path}, on_asset=projection_fields(path)) for name, path in files.items()
    ],
    "half and half": lambda files: [
        item_document(
            name,
            {"image": path},
            on_item={"proj:epsg": 32633},
            on_asset={key: value for key, value in projection_fields(path).items() if key != "proj:code"},
        )
        for name, path in files.items()
    ],
    "nowhere": lambda files: [item_document(name, {"image": path}) for name, path in files.items()],
    "EPSG:None": lambda files: [
        item_document(name, {"image": path}, on_item=projection_fields(path) | {"proj:code": "EPSG:None"})
        for name, path in files.items()
    ],
}


@pytest.mark.parametrize("way", WAYS)
def test_items_lead_to_the_plan_of_their_headers(files: dict[str, Path], tmp_path: Path, way: str) -> None:
    area = shape(footprint_of(files["middle"])).buffer(-1e-4)
    aoi = Aoi(geometry=area, source="drawn")
    wanted = plan_tiles(aoi, open_scenes(SourceOptions(hrefs=tuple(map(str, files.values())))), GRID)
    found = search(write_items(tmp_path / "items.json", WAYS[way](files)), aoi=aoi)
    plan = settled_plan(found, aoi)
    assert plan.lattice == wanted.lattice
    assert plan.mode == wanted.mode == "scene"
    assert (plan.inside == wanted.inside).all()
    assert plan.offsets == wanted.offsets
    assert plan.scene_windows == wanted.scene_windows
    assert [s.identity for s in plan.scenes] == [s.identity for s in wanted.scenes]
    assert [(s.crs_wkt, s.transform, s.dtype, s.rgb_bands) for s in plan.scenes] == [
        (s.crs_wkt, s.transform, s.dtype, s.rgb_bands) for s in wanted.scenes
    ]


def test_recorded_items_are_planned_up_to_where_files_are_opened(data_dir: Path) -> None:
    """Of four sheets in four places the area needs one. Its file is never asked for."""
    path = data_dir / "stac" / "naip-pc.json"
    first = json.loads(path.read_text())[0]
    aoi = Aoi(geometry=shape(first["geometry"]).centroid.buffer(2e-3), source="drawn")
    found = search(path, aoi=aoi, allow_hosts=("*.blob.core.windows.net",))
    plan = plan_tiles(aoi, found.scenes, GridOptions())
    assert [scene.scene_id for scene in plan.scenes] == [first["id"]]
    assert plan.mode == "scene"
    assert plan.grid.transform[0] == first["properties"]["proj:transform"][0]
    (row, col), transform = plan.offsets[0], first["properties"]["proj:transform"]
    assert plan.grid.transform[2] + col * transform[0] == pytest.approx(transform[2])
    assert plan.grid.transform[5] + row * transform[4] == pytest.approx(transform[5])
    assert list(found.unread) == [first["id"]]


def test_only_the_headers_that_the_area_needs_are_opened(files: dict[str, Path], tmp_path: Path) -> None:
    aoi = Aoi(geometry=shape(footprint_of(files["west"])).buffer(-2e-4), source="drawn")
    entries = documents({name: files[name] for name in ("west", "east")})
    west, east = entries
    both = shape(west["geometry"]).union(shape(east["geometry"])).envelope
    east["geometry"] = mapping(both)  # an item that claims more than its file has
    found = search(write_items(tmp_path / "items.json", entries), aoi=aoi)
    files["east"].unlink()
    plan = settled_plan(found, aoi)
    assert [scene.scene_id for scene in plan.scenes] == ["west"]


def test_sources_keep_their_order_and_are_sorted_on_demand(files: dict[str, Path], tmp_path: Path) -> None:
    items = write_items(
        tmp_path / "items.json", documents({"west": files["west"]}, when="2024-01-01T00:00:00Z")
    )
    copy = write_pixels(tmp_path / "west_copy" / "west.tif", grey(60, 60, 9))
    found = search(files["east"], items, copy, files["middle"])
    ids = [scene.scene_id for scene in found.scenes]
    assert [name.partition("-")[0] for name in ids] == ["east", "west", "west", "middle"]
    assert len(set(ids)) == 4
    assert list(found.unread) == [ids[1]], "a raster's header is open already"
    assert set(found.footprints) == {ids[1]}
    assert found.unread[ids[1]].scene.scene_id == ids[1]
    newest = search(files["east"], items, files["middle"], mosaic="newest")
    assert [scene.scene_id for scene in newest.scenes] == ["west", "east", "middle"]
    assert len(found.searches) == 1


def test_one_file_of_one_glob_counts_once(files: dict[str, Path], tmp_path: Path) -> None:
    found = search(files["west"], tmp_path / "*.tif", files["west"])
    assert [scene.scene_id for scene in found.scenes] == ["west", "east", "middle"]


def test_what_is_left_is_listed(files: dict[str, Path], tmp_path: Path) -> None:
    entries = documents(files)
    entries[1]["assets"] = {"image": {"href": "https://h/a.jp2", "type": "image/jp2"}}
    found = search(write_items(tmp_path / "items.json", entries))
    (left,) = found.left
    assert (left.item_id, left.collection, left.datetime) == ("middle", "drawn", "2024-06-01T10:00:00Z")
    assert "GeoTIFFs whose colours are known" in left.reason
    assert left.footprint is not None
    assert left.footprint.equals(shape(entries[1]["geometry"]))


def test_a_scene_that_failed_keeps_its_place_and_has_no_say(files: dict[str, Path], tmp_path: Path) -> None:
    entries = documents(files)
    entries[0]["properties"]["proj:transform"][2] += 0.4
    plan = settled_plan(search(write_items(tmp_path / "items.json", entries)))
    assert [bool(scene.failure) for scene in plan.scenes] == [True, False, False]
    assert plan.mode == "scene", "one wrong item does not make the others be resampled"
    assert plan.offsets == (None, (0, 40), (0, 0))
    assert plan.outlines[0].bounds == pytest.approx((90.4, 0, 150.4, 60), abs=1e-6)
    assert plan.grid.transform == (1, 0, 500_000, 0, -1, 5_500_000)
    assert plan.grid.width == 151


def test_scenes_that_all_fail_are_bad_input(files: dict[str, Path], tmp_path: Path) -> None:
    found = search(write_items(tmp_path / "items.json", documents(files)))
    for path in files.values():
        path.unlink()
    with pytest.raises(InputError, match=r"At least one of the 3 scenes of the area must be readable.*exist"):
        settle_scenes(found, found.scenes)
    like = write_pixels(tmp_path / "like.tif", grey(8, 8, 1))
    document = item_document("x", {"image": tmp_path / "no.tif"}, like=like)
    bare = write_items(tmp_path / "bare.json", [document])
    lost = search(bare)
    with pytest.raises(InputError, match="At least one of the 1 scenes"):
        settle_scenes(lost, plan_tiles(None, lost.scenes, GRID).scenes)


def test_a_search_needs_a_catalogue_and_a_run_needs_a_source(files: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="--max-cloud: a catalogue must"):
        search(files["west"], max_cloud=10.0)
    with pytest.raises(InputError, match="At least one source"):
        search()


def test_bands_of_an_items_file_are_the_users_choice(files: dict[str, Path], tmp_path: Path) -> None:
    found = search(write_items(tmp_path / "items.json", documents(files)), bands=(3, 2, 1))
    assert {scene.rgb_bands for scene in settle_scenes(found, found.scenes)} == {(3, 2, 1)}
    assert replace(found.scenes[0]).identity == {}


def test_no_more_items_than_asked_for(files: dict[str, Path], tmp_path: Path) -> None:
    items = write_items(tmp_path / "items.json", documents(files))
    found = search(items, limit=2, sort="-id")
    assert [scene.scene_id for scene in found.scenes] == ["west", "middle"]
    assert "items that fit, behind --max-items: 1" in found.notes
