"""item.json; the golden file is made by `python tests/golden/write/regenerate.py`."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pyproj
import pystac
import pytest
import shapely
from numpy.typing import NDArray
from record_world import golden_run, grid_of, lattice_of, run_info

from pipeline.geo.globe import narrowest_bbox
from pipeline.schema.imagery import SceneFile
from pipeline.schema.tiling import RunGrid
from pipeline.write.run_dir import RunDir
from pipeline.write.run_document import seen_version
from pipeline.write.run_json import RunInfo
from pipeline.write.stac_item import ItemInputs, build_item, footprint_lonlat, write_item

GOLDEN = Path(__file__).parents[2] / "golden" / "write"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    folder = tmp_path_factory.mktemp("run")
    golden_run(folder)
    return RunDir(folder)


def core_valid(item: dict[str, Any]) -> pystac.Item:
    """Validate against the core schema that pystac carries; extension schemas would need a network."""
    read = pystac.Item.from_dict({**item, "stac_extensions": []})
    read.validate()
    return read


def everything(info: RunInfo) -> ItemInputs:
    lattice = info.lattice
    inside = np.ones((lattice.n_tile_rows, lattice.n_tile_cols), dtype=np.bool_)
    return ItemInputs(info=info, geometry=footprint_lonlat(lattice, inside))


def test_the_item_is_valid_and_says_when_where_and_how(finished: RunDir) -> None:
    item = json.loads(finished.item.read_text())
    read = core_valid(item)
    assert item["stac_version"] == "1.1.0"
    assert read.datetime is not None
    assert read.datetime.isoformat() == "2024-05-06T07:08:09+00:00"
    properties = item["properties"]
    assert properties["proj:code"] == "EPSG:32636"
    assert properties["proj:shape"] == [40, 50]
    assert properties["proj:transform"] == [0.5, 0.0, 450000.0, 0.0, -0.5, 36000.0]
    assert properties["processing:software"] == {"rasterio": "1.5.2"}
    assert properties["processing:expression"]["expression"] == {"query": ["roofs"], "tile": {"px": 16}}
    assert properties["terraquery:queries"] == ["roofs", "été"]
    assert [link["href"] for link in item["links"] if link["rel"] == "derived_from"] == [
        "https://host/west.tif"
    ]
    assert all(link["rel"] != "self" for link in item["links"])


def test_assets_name_existing_files_with_size_and_hash(finished: RunDir) -> None:
    assets = json.loads(finished.item.read_text())["assets"]
    assert set(assets) == {"masks", "instances", "coverage", "plan", "run"}
    assert assets["masks"]["type"] == "application/vnd.zarr; version=3"
    for name, asset in assets.items():
        path = finished.path / asset["href"]
        assert path.exists()
        assert asset["roles"]
        if name == "run":
            assert "file:size" not in asset, "run.json is rewritten by every start"
            assert "file:checksum" not in asset
        elif name != "masks":
            data = path.read_bytes()
            assert asset["file:size"] == len(data)
            assert asset["file:checksum"] == "1220" + hashlib.sha256(data).hexdigest()
    assert assets["instances"]["table:primary_geometry"] == "geometry"
    assert assets["instances"]["table:row_count"] > 0
    assert {"name": "instance_id", "type": "uint64"} in assets["instances"]["table:columns"]


def test_results_of_a_snapshot_are_named_there(tmp_path: Path) -> None:
    """The item lies at the top, beside run.json and the plan."""
    golden_run(tmp_path / "plain")
    run_dir = RunDir(tmp_path / "run").in_snapshot("abc")
    shutil.copytree(tmp_path / "plain", run_dir.results)
    run_dir.plan.write_bytes(RunDir(tmp_path / "plain").plan.read_bytes())
    path = write_item(run_dir, everything(run_info()), "")
    assert path.local() == tmp_path / "run" / "item.json"
    assets = json.loads(path.read_text())["assets"]
    assert {name: asset["href"] for name, asset in assets.items()} == {
        "masks": "./snapshots/abc/masks.zarr",
        "instances": "./snapshots/abc/instances/part-00000.parquet",
        "coverage": "./snapshots/abc/coverage.parquet",
        "plan": "./plan.parquet",
        "run": "./run.json",
    }


def test_the_item_of_another_driver_stays(tmp_path: Path) -> None:
    """A driver that was taken over between run.json and the item writes none over its successor's."""
    run_dir = RunDir(tmp_path)
    seen = seen_version(run_dir.item)
    assert seen == ""
    first = write_item(run_dir, everything(run_info()), seen).read_bytes()
    theirs = replace(run_info(), run_id="theirs")
    write_item(run_dir, everything(theirs), seen)
    assert run_dir.item.read_bytes() == first
    seen = seen_version(run_dir.item)
    write_item(run_dir, everything(theirs), seen)
    second = run_dir.item.read_bytes()
    assert json.loads(second)["id"] == "theirs"
    write_item(run_dir, everything(run_info()), seen)
    assert run_dir.item.read_bytes() == second


def test_the_footprint_is_the_planned_cores(finished: RunDir) -> None:
    item = json.loads(finished.item.read_text())
    to_utm = pyproj.Transformer.from_crs(4326, 32636, always_xy=True).transform
    footprint = shapely.transform(
        shapely.geometry.shape(item["geometry"]), lambda xy: np.column_stack(to_utm(xy[:, 0], xy[:, 1]))
    )
    want = shapely.box(450000, 35990, 450010, 36000)  # tiles (0..1, 0..1) of 10 px at 0.5 m
    assert (
        footprint.symmetric_difference(want).area < 0.2
    )  # coordinates are rounded to 1e-7 degrees, about a centimetre
    np.testing.assert_allclose(item["bbox"], shapely.geometry.shape(item["geometry"]).bounds)


def test_several_dates_give_a_range_and_unknown_ones_the_widest(tmp_path: Path) -> None:
    info = run_info()
    later = replace(info.scenes[0], scene_id="b", datetime="2024-06-01T00:00:00+02:00")
    item = build_item(RunDir(tmp_path), everything(replace(info, scenes=(later, *info.scenes))))
    core_valid(item)
    assert item["properties"]["datetime"] is None
    assert item["properties"]["start_datetime"] == "2024-05-06T07:08:09Z"
    assert item["properties"]["end_datetime"] == "2024-05-31T22:00:00Z"
    undated = build_item(
        RunDir(tmp_path), everything(replace(info, scenes=(replace(info.scenes[0], datetime=None),)))
    )
    core_valid(undated)
    assert undated["properties"]["datetime"] is None
    assert undated["properties"]["start_datetime"] == "1858-01-01T00:00:00Z"
    assert undated["properties"]["end_datetime"] == "2024-05-06T08:00:00Z"
    assert undated["properties"]["terraquery:datetime_source"] == "unknown"


@pytest.mark.parametrize(
    ("prompter", "segmenter", "named", "drawn"),
    [
        ("vllm", "sam2", "A vision-language prompter", "a segmenter drew"),
        ("vector", "sam2", "known locations in a vector file, not from a model", "a segmenter drew"),
        ("oracle", "oracle", "a label raster (an oracle), not from a model", "the label raster's own"),
    ],
)
def test_the_lineage_names_who_answered(
    tmp_path: Path, prompter: str, segmenter: str, named: str, drawn: str
) -> None:
    models = {"prompter": {"kind": prompter}, "segmenter": {"kind": segmenter}}
    item = build_item(RunDir(tmp_path), everything(replace(run_info(), models=models)))
    lineage = item["properties"]["processing:lineage"]
    assert named in lineage
    assert drawn in lineage
    assert ("language" in lineage) == (prompter == "vllm")


def test_no_token_reaches_the_item(tmp_path: Path) -> None:
    info = run_info()
    signed = replace(info.scenes[0], href="https://h/a.tif?sig=SECRET")
    item = build_item(
        RunDir(tmp_path),
        everything(replace(info, scenes=(signed,), parameters={"source": "https://h/a.tif?sig=SECRET"})),
    )
    assert "SECRET" not in json.dumps(item)


def test_without_crs_there_is_no_geometry(tmp_path: Path) -> None:
    item = build_item(
        RunDir(tmp_path), everything(replace(run_info(), lattice=lattice_of(grid_of(crs=None))))
    )
    core_valid(item)
    assert item["geometry"] is None
    assert item["properties"]["proj:code"] is None


def test_a_crs_without_code_is_given_as_wkt(tmp_path: Path) -> None:
    grid = grid_of(crs="+proj=tmerc +lat_0=1 +lon_0=33.3 +k=0.99 +ellps=GRS80 +units=m")
    properties = build_item(RunDir(tmp_path), everything(replace(run_info(), lattice=lattice_of(grid))))[
        "properties"
    ]
    assert properties["proj:code"] is None
    assert properties["proj:wkt2"] == grid.crs_wkt


def test_a_footprint_over_the_antimeridian_is_cut_there(tmp_path: Path) -> None:
    x, y = pyproj.Transformer.from_crs(4326, 32601, always_xy=True).transform(-180.0, 50.0)
    grid = RunGrid(
        crs_wkt=pyproj.CRS(32601).to_wkt(),
        transform=(1000.0, 0.0, x - 25000.0, 0.0, -1000.0, y),
        width=50,
        height=40,
    )
    item = build_item(RunDir(tmp_path), everything(replace(run_info(), lattice=lattice_of(grid))))
    geometry = shapely.geometry.shape(item["geometry"])
    assert geometry.geom_type == "MultiPolygon"
    assert geometry.area < 1.0  # square degrees; a polygon around the world would have hundreds
    west, south, east, north = item["bbox"]
    assert 179 < west < 180
    assert -180 < east < -179
    assert south < north


def lone_corners(cells: NDArray[np.bool_]) -> int:
    """Corners of a raster's outline: points around which one or three of the four cells are set."""
    padded = np.pad(cells, 1).astype(int)
    around = padded[:-1, :-1] + padded[1:, :-1] + padded[:-1, 1:] + padded[1:, 1:]
    return int(np.count_nonzero(around % 2))


def test_a_ragged_footprint_is_coarsened_but_still_covers() -> None:
    lattice = lattice_of(grid_of(2000, 2000))
    inside = np.random.default_rng(0).random((lattice.n_tile_rows, lattice.n_tile_cols)) < 0.3
    geometry = footprint_lonlat(lattice, inside)
    shape = shapely.geometry.shape(geometry)
    assert shapely.get_num_coordinates(shape) < 2000
    to_lonlat = pyproj.Transformer.from_crs(32636, 4326, always_xy=True).transform
    rows, cols = np.nonzero(inside)
    centres = shapely.points(*to_lonlat(450000 + (cols + 0.5) * 5, 36000 - (rows + 0.5) * 5))
    assert shapely.contains(shape, centres).all()
    pairs, fours = (inside.reshape(200 // n, n, -1, n).any(axis=(1, 3)) for n in (2, 4))
    assert lone_corners(pairs) > 2000, "2 x 2 tiles to a cell are still too ragged"
    to_utm = pyproj.Transformer.from_crs(4326, 32636, always_xy=True).transform
    ground = shapely.transform(shape, lambda xy: np.column_stack(to_utm(xy[:, 0], xy[:, 1])))
    assert ground.area == pytest.approx(fours.sum() * 20.0**2, rel=1e-5)  # cells of 4 x 4 tiles, 20 m a side
    assert footprint_lonlat(lattice, np.zeros_like(inside)) is None


def test_the_golden_item_is_still_valid() -> None:
    item = core_valid(json.loads((GOLDEN / "item.json").read_text()))
    assert item.id == "run-1"
    assert item.assets["instances"].media_type == "application/vnd.apache.parquet"
    corners = [450000.0, 450010.0], [36000.0, 35990.0]  # 20 x 20 pixels of 0.5 m
    (west, east), (north, south) = pyproj.Transformer.from_crs(32636, 4326, always_xy=True).transform(
        *corners
    )
    assert item.bbox == pytest.approx([west, south, east, north], abs=2e-7)
    assert item.properties["datetime"] == "2024-05-06T07:08:09Z"  # when the scene was taken
    for key, name in (("instances", "instances/part-00000.parquet"), ("plan", "plan.parquet")):
        content = (GOLDEN / name).read_bytes()
        fields = item.assets[key].extra_fields
        assert fields["file:size"] == len(content)
        assert fields["file:checksum"] == "1220" + hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("crs", "transform", "box"),
    [
        ("EPSG:3857", (10.0, 0, 20037508.34 - 200, 0, -10.0, 1000000), (179.998203, -179.998203)),
        ("EPSG:4326", (1e-4, 0, 179.998, 0, -1e-4, -16.998), (179.998, -179.998)),
        ("EPSG:4326", (1e-4, 0, 190.0, 0, -1e-4, 10), (-170.0, -169.996)),
        ("EPSG:4326", (9.0, 0, -180.0 - 4.5, 0, -4.5, 92.25), (-180.0, 180.0)),
    ],
)
def test_grids_past_180_and_over_the_poles_have_a_place_on_earth(
    crs: str, transform: tuple[float, ...], box: tuple[float, float]
) -> None:
    """40 x 40 px; the last grid is global, half a pixel beyond the poles."""
    lattice = lattice_of(RunGrid(crs_wkt=pyproj.CRS(crs).to_wkt(), transform=transform, width=40, height=40))
    footprint = footprint_lonlat(lattice, np.ones((lattice.n_tile_rows, lattice.n_tile_cols), dtype=np.bool_))
    shape = shapely.geometry.shape(footprint)
    assert shape.is_valid
    west, south, east, north = shape.bounds
    assert -180 <= west < east <= 180
    assert -90 <= south < north <= 90
    assert narrowest_bbox(shape)[::2] == pytest.approx(box, abs=2e-6)


def test_links_lead_back_to_files_with_any_name(tmp_path: Path) -> None:
    names = ["ortho 2024 (1).tif", "a#b.tif", "x?y.tif", "50%25.tif"]
    scenes = tuple(replace(run_info().scenes[0], scene_id=n, href=f"/data/{n}") for n in names)
    item = build_item(RunDir(tmp_path), everything(replace(run_info(), scenes=scenes)))
    links = [link["href"] for link in item["links"] if link["rel"] == "derived_from"]
    assert [unquote(urlsplit(link).path) for link in links] == [f"/data/{name}" for name in names]
    assert all(" " not in link for link in links)


def test_a_scene_of_a_catalogue_leads_back_to_its_item(tmp_path: Path) -> None:
    scene = replace(run_info().scenes[0], href="https://h/a.tif", item_href="https://h/items/a?key=SECRET")
    item = build_item(RunDir(tmp_path), everything(replace(run_info(), scenes=(scene,))))
    links = [link["href"] for link in item["links"] if link["rel"] == "derived_from"]
    assert links == ["https://h/items/a"]


def test_every_band_file_of_a_scene_is_linked(tmp_path: Path) -> None:
    files = tuple(SceneFile(href=f"/data/B0{n}.tif") for n in (4, 3, 2))
    scene = replace(run_info().scenes[0], href=files[0].href, band_files=files)
    item = build_item(RunDir(tmp_path), everything(replace(run_info(), scenes=(scene,))))
    links = [(link["href"], link["title"]) for link in item["links"] if link["rel"] == "derived_from"]
    assert links == [(f"file:///data/B0{n}.tif", scene.scene_id) for n in (4, 3, 2)]
