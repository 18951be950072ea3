"""Rasters and catalogues side by side. The plan that items lead to is the one that their headers lead to."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import rustac
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from item_files import (
    footprint_of,
    grey,
    item_document,
    item_with,
    projection_fields,
    write_items,
    write_pixels,
)
from pyproj import Transformer
from shapely.geometry import mapping, shape
from stac_items import stac_item

from pipeline.errors import InputError
from pipeline.grid.aoi import Aoi
from pipeline.grid.catalog.catalog_options import CatalogOptions
from pipeline.grid.catalog.item_groups import TakenItems
from pipeline.grid.find_scenes import Footprints, FoundScenes, find_scenes, settle_scenes
from pipeline.grid.mosaic_order import mosaic_order
from pipeline.grid.source import SourceOptions, open_scenes
from pipeline.grid.tiles import GridOptions, Plan, plan_tiles

LONLAT = Transformer.from_crs(32631, 4326, always_xy=True)
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


def test_footprints_are_looked_up_one_by_one_and_many_at_once() -> None:
    flat = shapely.box(0, 0, 1, 2)
    high = shapely.force_3d(shapely.box(3, 3, 4, 5), 250.0)
    items = [item_with(stac_item(name)) for name in ("flat", "high")]
    drawn = [replace(item, geometry=shape) for item, shape in zip(items, (flat, high), strict=True)]
    known = Footprints([(["flat"], TakenItems.of(drawn[:1])), (["high"], TakenItems.of(drawn[1:]))])
    assert known["high"].equals(shapely.box(3, 3, 4, 5))
    assert not known["high"].has_z
    found = known.of(["high", "unknown", "flat"])
    assert found == [known["high"], None, flat]
    assert known.of([]) == []
    assert known.decoded() == {"flat": flat, "high": known["high"]}


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


def drawn_item(number: int, draw: Any) -> dict[str, Any]:
    """An item of 10 x 10 px of 10 m, of which anything may be said or not, on the asset or on the item."""
    west, north = 500_000.0 + 100 * (number % 4), 4_500_000.0 - 100 * (number // 4)
    right = [10.0, 0.0, west, 0.0, -10.0, north]
    gdal_order = [west, 10.0, 0.0, north, 0.0, -10.0]
    corners = [(west, north - 100), (west + 100, north - 100), (west + 100, north), (west, north)]
    said = {
        "proj:epsg": draw(st.sampled_from([32631, 32631, 32631, 32630, None])),
        "proj:code": draw(st.sampled_from([None, None, "EPSG:32631", "EPSG:None"])),
        "proj:shape": draw(st.sampled_from([[10, 10], [10, 10], [20, 10], None])),
        "proj:transform": draw(st.sampled_from([right, right, right, gdal_order, None])),
        "proj:bbox": draw(st.sampled_from([None, [west, north - 100, west + 100, north]])),
    }
    own = {name: value for name, value in said.items() if value is not None}
    on_asset = {name: own.pop(name) for name in list(own) if draw(st.integers(0, 3)) == 0}
    item = stac_item(
        f"i{draw(st.permutations(range(3)))[0]}_{number}",
        when=draw(
            st.sampled_from(["2024-06-01T10:00:00Z", "2024-06-01T10:00:00.5Z", "2023-01-01T00:00:00Z"])
        ),
        collection=draw(st.sampled_from(["naip", "naip", "sentinel-2-l2a"])),
        **own,
    )
    ring = [list(LONLAT.transform(x, y)) for x, y in [*corners, corners[0]]]
    item["geometry"] = {"type": "Polygon", "coordinates": [ring]}
    item["bbox"] = list(shape(item["geometry"]).bounds)
    if draw(st.booleans()):
        item["properties"]["eo:cloud_cover"] = draw(st.integers(0, 100))
    asset = item["assets"]["image"] | on_asset | {"type": "image/tiff; application=geotiff"}
    host = draw(st.sampled_from(["files.example", "files.example", "evil.example"]))
    asset["href"] = f"https://{host}/{number}.tif{draw(st.sampled_from(['', '', '?key=1']))}"
    if draw(st.booleans()):
        asset["file:size"] = number
    item["assets"]["image"] = asset
    if draw(st.integers(0, 3)) == 0:
        item["assets"]["SCL"] = {"href": f"https://files.example/{number}_scl.tif", "type": "image/tiff"}
    return item


@settings(max_examples=6, deadline=None)
@given(data=st.data(), number=st.integers(1, 5))
def test_items_of_a_table_are_planned_as_their_documents_are(data: st.DataObject, number: int) -> None:
    """What columns tell of many items at once is what each document tells by itself."""
    items = [drawn_item(own, data.draw) for own in range(number)]
    order = data.draw(st.sampled_from(["first", "newest", "least-cloudy"]))
    area = shape(items[0]["geometry"]).centroid.buffer(data.draw(st.sampled_from([1e-4, 1e-3, 0.01])))
    aoi = Aoi(geometry=area, source="drawn")
    results = []
    with tempfile.TemporaryDirectory() as folder:
        table, listed = Path(folder) / "items.parquet", Path(folder) / "items.json"
        collection = {"type": "FeatureCollection", "features": items}
        listed.write_text(json.dumps(collection))
        rustac.write_sync(str(table), collection)
        for source in (table, listed):
            results.append(looked_up(source, aoi, order))
    assert results[0] == results[1]


def looked_up(source: Path, aoi: Aoi, order: str) -> Any:
    """All that a search and a plan say of items; or why there is none. No header is opened."""
    with mock.patch(
        "pipeline.grid.catalog.item_scene.open_headers", lambda items, **_: tuple(own.scene for own in items)
    ):
        try:
            found = search(source, aoi=aoi, mosaic=order, allow_hosts=("files.example",))
            plan = plan_tiles(aoi, found.scenes, GRID)
        except InputError:
            return "nothing can be used"
    footprints = {name: outline.normalize() for name, outline in found.footprints.items()}
    placed = (plan.lattice, plan.mode, plan.inside.tobytes(), plan.scenes, plan.offsets, plan.scene_windows)
    items = [
        [(item.collection, item.item_id, item.start) for item in one.items.all_facts()]
        for one in found.sources
        if one.items is not None
    ]
    return found.scenes, dict(found.unread), footprints, items, placed
