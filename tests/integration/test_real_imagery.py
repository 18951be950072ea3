"""Whole jobs on real rasters with the real SAM2: they finish, and everything they publish agrees to the
pixel.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
import rasterio.features
import shapely
import zarr

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"

RunJob = Callable[..., int]
pytestmark = pytest.mark.slow


def data(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"the sample raster {name} is not beside the repository")
    return path


def assert_consistent(out: Path) -> None:
    """The ledger adds up; every instance is valid; polygons burnt on the run grid equal the id raster."""
    info = json.loads((out / "run.json").read_text())
    counters = info["counters"]
    assert (
        counters["tiles_planned"]
        == counters["tiles_found"] + counters["tiles_empty"] + counters["tiles_failed"]
    )
    assert counters["image_encodings"] <= counters["tiles_with_prompts"]
    coverage = pq.read_table(out / "coverage.parquet", columns=["tile_id"])["tile_id"].to_pylist()
    assert len(set(coverage)) == counters["tiles_planned"]
    assert len(coverage) == counters["tiles_planned"] * len(info["queries"])
    frame = gpd.read_parquet(out / "instances")
    assert len(frame) == counters["instances"]
    assert frame.geometry.is_valid.all()
    grid = info["lattice"]["grid"]
    ids = zarr.open_group(str(out / "masks.zarr"), mode="r")["instance_id"]
    for index in range(len(info["queries"])):
        rows = frame[frame["query_index"] == index]
        raster = np.asarray(ids[index]).astype(np.int64)
        shapes = list(zip(rows.geometry, rows["instance_id"].astype("int64"), strict=True))
        burnt = np.zeros_like(raster)
        if shapes:
            transform = rasterio.Affine(*grid["transform"])
            burnt = rasterio.features.rasterize(
                shapes, out_shape=raster.shape, transform=transform, dtype="int64"
            )
        np.testing.assert_array_equal(burnt, raster)


def test_known_buildings_in_masks_out(run_job: RunJob, tmp_path: Path) -> None:
    scene = data("kampala/kampala_west.tif")
    prompts = data("kampala/kampala_west_buildings.geojson")
    words = (
        "--source",
        scene,
        "--whole-scene",
        "--prompts",
        prompts,
        "--runner",
        "local",
        "--tile",
        512,
        "--halo",
        64,
        "--block",
        2,
    )
    assert run_job(*words, "--out", tmp_path / "out") == 0
    assert_consistent(tmp_path / "out")
    truth = gpd.read_file(prompts)
    found = gpd.read_parquet(tmp_path / "out" / "instances").to_crs(truth.crs)
    assert 0.5 * len(truth) <= len(found) <= 2 * len(truth)
    touched = found.geometry.intersects(shapely.union_all(shapely.make_valid(truth.geometry.to_numpy())))
    assert touched.all()  # masks come from prompts that lie on buildings


def test_bands_in_files_of_their_own_are_one_scene(run_job: RunJob, tmp_path: Path) -> None:
    """Landsat, with its own labels as the oracle: exact, and every file is on record."""
    folder = data("landsat8_elkton")
    files = [folder / f"L8-B{n}-Elkton-VA.tiff" for n in (4, 3, 2)]
    labels = folder / "L8-Labels-Elkton-VA.tiff"
    source = ",".join(
        f"{colour}={file}" for colour, file in zip(("red", "green", "blue"), files, strict=True)
    )
    out = tmp_path / "out"
    words = ("--source", source, "--whole-scene", "--query", "forest", "--models", f"oracle:{labels}")
    assert run_job(*words, "--runner", "local", "--tile", 128, "--halo", 16, "--out", out) == 0
    assert_consistent(out)
    with rasterio.open(labels) as dataset:
        wanted = dataset.read(1)
    wanted[wanted == 255] = 0  # its nodata value
    ids = np.asarray(zarr.open_group(str(out / "masks.zarr"), mode="r")["instance_id"][0])
    pairs = np.unique(np.stack([ids.ravel().astype(np.int64), wanted.ravel()]), axis=1)
    assert pairs.shape == (2, 3)  # background and two objects, each with one id
    assert pairs[:, 0].tolist() == [0, 0]
    links = json.loads((out / "item.json").read_text())["links"]
    assert [Path(link["href"]).name for link in links if link["rel"] == "derived_from"] == [
        file.name for file in files
    ]
    (scene,) = json.loads((out / "run.json").read_text())["scenes"]
    assert [Path(file["href"]).name for file in scene["band_files"]] == [file.name for file in files]


def test_a_file_that_breaks_while_it_is_read_loses_only_its_broken_tiles(
    run_job: RunJob, tmp_path: Path
) -> None:
    scene = data("tricky/corrupt.tif")
    with rasterio.open(scene) as dataset:
        west, south, east, north = dataset.bounds
        frame = gpd.GeoDataFrame(
            {"name": ["a", "b"]},
            geometry=[_square(west, north, east, south, 0.3), _square(west, north, east, south, 0.7)],
        )
        frame = frame.set_crs(dataset.crs)
    frame.to_file(tmp_path / "prompts.geojson", driver="GeoJSON")
    words = (
        "--source",
        scene,
        "--whole-scene",
        "--prompts",
        tmp_path / "prompts.geojson",
        "--runner",
        "local",
    )
    assert run_job(*words, "--out", tmp_path / "out") == 3
    assert_consistent(tmp_path / "out")
    rows = pq.read_table(tmp_path / "out" / "coverage.parquet").to_pylist()
    failed = [row for row in rows if row["status"] == "failed"]
    assert 0 < len(failed) < len(rows)
    assert {row["reason"] for row in failed} == {"unreadable"}
    assert all("corrupt.tif" in row["error"] for row in failed)
    info = json.loads((tmp_path / "out" / "run.json").read_text())
    assert info["status"] == "incomplete"
    mask = zarr.open_group(str(tmp_path / "out" / "masks.zarr"), mode="r")["mask"][0]
    lattice = info["lattice"]
    core = lattice["tile_px"] - 2 * lattice["halo_px"]
    for row in failed:  # a failed tile keeps the fill value, it never looks like an empty one
        r = row["tile_row"] * core
        c = row["tile_col"] * core
        assert (mask[r : r + core, c : c + core] == 255).all()


def test_nothing_valid_means_nothing_asked(run_job: RunJob, tmp_path: Path) -> None:
    scene = data("tricky/all-nodata.tif")
    labels = tmp_path / "labels.tif"
    with rasterio.open(scene) as dataset:
        profile = {
            "crs": dataset.crs,
            "transform": dataset.transform,
            "height": dataset.height,
            "width": dataset.width,
        }
    with rasterio.open(labels, "w", driver="GTiff", count=1, dtype="uint8", **profile) as dataset:
        dataset.write(np.ones((profile["height"], profile["width"]), dtype=np.uint8), 1)
    words = (
        "--source",
        scene,
        "--whole-scene",
        "--query",
        "anything",
        "--models",
        f"oracle:{labels}",
        "--runner",
        "local",
    )
    assert run_job(*words, "--out", tmp_path / "out") == 0
    info = json.loads((tmp_path / "out" / "run.json").read_text())
    assert info["reasons"] == {"empty/nodata": info["counters"]["tiles_planned"]}
    assert info["counters"]["image_encodings"] == info["counters"]["prompter_calls"] == 0


def _square(west: float, north: float, east: float, south: float, share: float) -> shapely.Polygon:
    x = west + share * (east - west)
    y = north + share * (south - north)
    side = 0.05 * (east - west)
    return shapely.box(x, y - side, x + side, y)
