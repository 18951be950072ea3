"""Catalogues are asked for what tiles see beside the area. Oracle: one search of all the ground."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import rustac
import shapely
from item_files import LEFT, TOP, grey, item_document, projection_fields, write_items, write_pixels
from numpy.typing import NDArray
from odd_stac_server import odd_server

from pipeline.grid.aoi import Aoi
from pipeline.grid.catalog.api_search import MOST_VERTICES
from pipeline.grid.catalog.catalog_options import CatalogOptions
from pipeline.grid.find_scenes import FoundScenes, find_scenes, settle_scenes
from pipeline.grid.halo_items import ground_beyond, with_halo_items
from pipeline.grid.mosaic_order import mosaic_order
from pipeline.grid.source import SourceOptions
from pipeline.grid.tiles import GridOptions, Plan, plan_tiles, seen_beside

SIDE = 120
GRID = GridOptions(tile_px=40, halo_px=8, block_tiles=2)
L_SHAPE = shapely.box(5, 5, 44, 115).union(shapely.box(5, 76, 115, 115))
"""The area, in pixels (x, y) of the world. Scenes in the corner that it leaves are seen in halos alone."""
TO_LONLAT = pyproj.Transformer.from_crs("EPSG:32633", "OGC:CRS84", always_xy=True)


def lonlat(pixels: shapely.Polygon) -> Any:
    dense = shapely.segmentize(pixels, 2.0)
    return shapely.transform(
        dense, lambda xy: np.column_stack(TO_LONLAT.transform(LEFT + xy[:, 0], TOP - xy[:, 1]))
    )


AREA = Aoi(geometry=lonlat(L_SHAPE), source="drawn")


def search(*hrefs: Path, aoi: Aoi | None = AREA, mosaic: str = "first", **options: Any) -> FoundScenes:
    sources = SourceOptions(hrefs=tuple(map(str, hrefs)))
    return find_scenes(sources, CatalogOptions(**options), aoi, order=mosaic_order(mosaic))


def asked_again(found: FoundScenes) -> FoundScenes:
    plan = plan_tiles(AREA, found.scenes, GRID)
    return with_halo_items(found, plan.lattice, plan.inside)


def settled_plan(found: FoundScenes) -> Plan:
    plan = plan_tiles(AREA, found.scenes, GRID, halo_ids=found.halo_ids)
    scenes = settle_scenes(found, plan.scenes)
    return plan_tiles(AREA, scenes, GRID, halo_ids=found.halo_ids)


def document(path: Path, day: int, **fields: Any) -> dict[str, Any]:
    return item_document(
        path.stem,
        {"image": path},
        on_item={**projection_fields(path), **fields},
        when=f"2024-06-{day:02d}T00:00:00Z",
    )


@pytest.fixture
def pixels() -> NDArray[np.generic]:
    return np.random.default_rng(4).integers(1, 255, (3, SIDE, SIDE)).astype(np.uint8)


@pytest.fixture
def items(tmp_path: Path, pixels: NDArray[np.generic]) -> list[dict[str, Any]]:
    """`low` and `left` show the area. `mid` and `near` lie in the corner; `far` does, out of every halo."""
    places = {
        "low": (75, 0, 45, SIDE, 10),
        "left": (0, 0, 75, 45, 20),
        "mid": (0, 45, 75, 10, 15),
        "near": (40, 45, 35, 20, 25),
        "far": (0, 100, 15, 20, 30),
    }
    found = []
    for name, (row0, col0, height, width, day) in places.items():
        part = pixels[:, row0 : row0 + height, col0 : col0 + width]
        path = write_pixels(tmp_path / f"{name}.tif", part, row0=row0, col0=col0)
        found.append(document(path, day, **{"eo:cloud_cover": day}))
    return found


@pytest.mark.parametrize("kind", ["items", "parquet"])
@pytest.mark.parametrize("mosaic", ["first", "oldest", "least-cloudy"])
def test_halos_have_what_one_search_of_all_ground_gives_them(
    items: list[dict[str, Any]], tmp_path: Path, mosaic: str, kind: str
) -> None:
    """The same scenes in the same order as without an area, of those that tiles see."""
    place = write_items(tmp_path / "items.json", items)
    if kind == "parquet":
        place = tmp_path / "items.parquet"
        rustac.write_sync(str(place), items)
    found = search(place, mosaic=mosaic)
    again = asked_again(found)
    assert {scene.scene_id for scene in found.scenes} == {"low", "left"}
    assert again.halo_ids >= {"mid", "near"}
    assert "far" not in again.halo_ids
    assert (again.notes, again.left, again.searches) == (found.notes, found.left, found.searches)
    beside = again.scenes.take([name in again.halo_ids for name in again.scenes.ids])
    seen = seen_beside(plan_tiles(AREA, found.scenes, GRID), beside, GRID)
    assert set(seen.ids) == {"mid", "near"}
    plan = settled_plan(again)
    everywhere = [scene.scene_id for scene in search(place, aoi=None, mosaic=mosaic).scenes]
    assert [scene.scene_id for scene in plan.scenes] == [name for name in everywhere if name != "far"]
    assert dict(zip([s.scene_id for s in plan.scenes], plan.only_in_halos, strict=True)) == {
        "low": False,
        "left": False,
        "mid": True,
        "near": True,
    }
    alone = plan_tiles(AREA, settle_scenes(found, found.scenes), GRID)
    assert plan.lattice == alone.lattice
    assert (plan.inside == alone.inside).all()
    assert all(scene.identity for scene in plan.scenes), "the headers of all are open"


def test_what_a_user_limits_stays_what_it_is(items: list[dict[str, Any]], tmp_path: Path) -> None:
    """--max-items counts items of the area; beside it as many again are taken, in the same order."""
    place = write_items(tmp_path / "items.json", items)
    found = search(place, limit=1)
    again = asked_again(found)
    assert [scene.scene_id for scene in found.scenes] == ["left"]
    assert [scene.scene_id for scene in again.scenes] == ["near", "left"]
    assert again.notes == found.notes
    assert "items that fit, behind --max-items: 1" in found.notes
    cloudy = asked_again(search(place, max_cloud=20))
    assert cloudy.halo_ids == {"mid"}, "--max-cloud holds for halos too"
    dated = asked_again(search(place, datetime="2024-06-01/2024-06-20"))
    assert dated.halo_ids == {"mid"}


def test_items_that_cannot_be_used_beside_the_area_are_no_error(
    items: list[dict[str, Any]], tmp_path: Path
) -> None:
    for item in items[2:]:
        item["assets"]["image"]["type"] = "image/jp2"
    found = search(write_items(tmp_path / "items.json", items))
    assert asked_again(found) == found


def test_a_footprint_beside_the_area_has_no_say_in_the_grid(
    items: list[dict[str, Any]], tmp_path: Path, pixels: NDArray[np.generic]
) -> None:
    """The file of `near` covers all of the area, on finer pixels; its item says that imagery is in the
    corner alone."""
    path = write_pixels(tmp_path / "fine.tif", grey(240, 240, 7), pixel=0.5)
    items[3] = {
        **document(path, 28),
        "geometry": items[3]["geometry"],
        "bbox": items[3]["bbox"],
    }
    found = search(write_items(tmp_path / "items.json", items))
    plan = settled_plan(asked_again(found))
    alone = plan_tiles(AREA, settle_scenes(found, found.scenes), GRID)
    assert plan.lattice == alone.lattice
    assert (plan.inside == alone.inside).all()
    assert dict(zip([s.scene_id for s in plan.scenes], plan.only_in_halos, strict=True))["mid"]


def test_several_sources_keep_their_order(items: list[dict[str, Any]], tmp_path: Path) -> None:
    one = write_items(tmp_path / "one.json", [items[0], items[2]])
    other = write_items(tmp_path / "other.json", [items[1], items[3]])
    raster = tmp_path / "far.tif"
    found = search(other, raster, one)
    again = asked_again(found)
    assert [scene.scene_id for scene in found.scenes] == ["left", "far", "low"]
    assert [scene.scene_id for scene in again.scenes] == ["near", "left", "far", "mid", "low"]
    twin = replace_id(items[2], "left")
    both = search(write_items(tmp_path / "twin.json", [items[0], items[1], twin]))
    names = [scene.scene_id for scene in asked_again(both).scenes]
    assert [name.partition("-")[0] for name in names] == ["left", "left", "low"]
    assert names[0] == "left", "the scene of the area keeps its id"
    assert names[1] != "left"


def replace_id(item: dict[str, Any], name: str) -> dict[str, Any]:
    return {**item, "id": name, "collection": "another"}


def test_a_static_catalogue_is_walked_once(items: list[dict[str, Any]], tmp_path: Path) -> None:
    """Two looks around the area, as two zones take them. `corner` is not opened at first: its extent lies
    beside the area. One link is dead.
    """
    own = {item["id"]: item for item in items}
    box = list(shapely.union_all([shapely.geometry.shape(own[name]["geometry"]) for name in CORNER]).bounds)
    tree = {
        "/catalog.json": {
            "type": "Catalog",
            "id": "top",
            "links": [{"rel": "child", "href": f"./{name}/collection.json"} for name in ("area", "corner")],
        },
        "/area/collection.json": collection("area", ["low", "left", "mid", "gone"]),
        "/corner/collection.json": collection("corner", CORNER)
        | {"extent": {"spatial": {"bbox": [box]}, "temporal": {"interval": [[None, None]]}}},
        **{
            f"/{'corner' if name in CORNER else 'area'}/{name}.json": {**item, "collection": None}
            for name, item in own.items()
        },
    }
    with odd_server(files=tree) as server:
        options = CatalogOptions(allow_roots=(str(tmp_path),))
        found = find_scenes(SourceOptions(hrefs=(f"{server.url}/catalog.json",)), options, AREA)
        assert {scene.scene_id for scene in found.scenes} == {"low", "left"}
        first = [path for _, path, _ in server.requests]
        for again in (asked_again(found), asked_again(found)):
            assert again.halo_ids >= {"mid", "near"}
        assert sorted(path for _, path, _ in server.requests) == sorted([*tree, "/area/gone.json"])
        assert set(first) == {path for path in [*tree, "/area/gone.json"] if path[:9] not in BESIDE}


CORNER = ["near", "far"]
BESIDE = ("/corner/n", "/corner/f")
"""How paths of items begin that the first search has no reason to open."""


def collection(name: str, items: list[str]) -> dict[str, Any]:
    return {
        "type": "Collection",
        "id": name,
        "links": [{"rel": "item", "href": f"./{item}.json"} for item in items],
    }


def test_whole_scenes_and_rasters_are_not_asked_for_again(
    items: list[dict[str, Any]], tmp_path: Path
) -> None:
    place = write_items(tmp_path / "items.json", items)
    everywhere = search(place, aoi=None)
    plan = plan_tiles(None, everywhere.scenes, GRID)
    assert with_halo_items(everywhere, plan.lattice, plan.inside) is everywhere
    rasters = search(tmp_path / "low.tif", tmp_path / "mid.tif")
    assert asked_again(rasters) is rasters


def test_ground_beyond_is_simple_and_loses_nothing() -> None:
    rng = np.random.default_rng(1)
    turn = np.linspace(0, 2 * np.pi, 4000, endpoint=False)
    reach = 1 + 0.1 * np.sin(9 * turn) + rng.uniform(0, 0.01, turn.size)
    area = shapely.Polygon(np.column_stack([reach * np.cos(turn), reach * np.sin(turn)]))
    ground = area.buffer(0.05)
    beyond = ground_beyond(ground, area)
    assert shapely.get_num_coordinates(beyond) <= MOST_VERTICES
    assert beyond.covers(ground.difference(area).buffer(-1e-9))
    assert beyond.area < 2.5 * ground.difference(area).area + 0.3
    assert ground_beyond(area, ground).is_empty
    plain = ground_beyond(shapely.box(0, 0, 3, 3), shapely.box(1, 1, 2, 2))
    assert plain.equals(shapely.box(0, 0, 3, 3) - shapely.box(1, 1, 2, 2))
    assert replace(AREA, geometry=plain).bounds_lonlat == (0, 0, 3, 3)
