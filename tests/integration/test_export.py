"""A run over two UTM zones, exported: files that agree with the run's own, pixel by pixel and row by row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyproj
import pytest
import rasterio
import rasterio.features
import zarr
from job_files import load_job
from rasterio.transform import from_origin

EAST_M = 705_000.0  # of zone 33, near the border of zone 34 at 18 degrees east
NORTH_M = 5_500_000.0


def write(path: Path, values: np.ndarray, epsg: int, left: float, top: float) -> None:  # type: ignore[type-arg]
    bands = values if values.ndim == 3 else values[None]
    profile = {"driver": "GTiff", "count": bands.shape[0], "dtype": bands.dtype.name, "crs": f"EPSG:{epsg}"}
    profile |= {"height": bands.shape[1], "width": bands.shape[2], "transform": from_origin(left, top, 1, 1)}
    with rasterio.open(path, "w", **profile) as file:
        file.write(bands)


@pytest.fixture
def scenes(tmp_path: Path) -> list[Path]:
    """The west in zone 33, the east in zone 34, and a label raster of squares that lies under both."""
    rng = np.random.default_rng(0)
    rgb = rng.integers(60, 200, (3, 150, 150)).astype(np.uint8)
    paths = [tmp_path / "zone33.tif", tmp_path / "zone34.tif"]
    write(paths[0], rgb, 32633, EAST_M, NORTH_M)
    move = pyproj.Transformer.from_crs(32633, 32634, always_xy=True)
    left, top = move.transform(EAST_M + 140, NORTH_M)
    write(paths[1], rgb, 32634, round(left), round(top))
    labels = np.zeros((600, 800), dtype=np.uint32)
    for row in range(0, 600, 40):
        for col in range(0, 800, 40):
            labels[row + 5 : row + 25, col + 8 : col + 30] = row * 800 + col + 1
    write(tmp_path / "labels.tif", labels, 32633, EAST_M - 200, NORTH_M + 200)
    return paths


def test_an_export_of_two_zones_is_the_run_itself(
    run_job: Callable[..., int], scenes: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = ["--source", scenes[0], "--source", scenes[1], "--whole-scene", "--crs", "EPSG:32633"]
    words += ["--resolution", 1, "--query", "squares", "--models", f"oracle:{tmp_path / 'labels.tif'}"]
    assert run_job(*words, "--tile", 96, "--halo", 8, "--block", 2, "--runner", "local", "--out", out) == 0
    assert load_job("export_results").main([str(out), "--cog", "--gpkg", "--quiet"]) == 0
    store = zarr.open_group(str(out / "masks.zarr"), mode="r")
    rasters = {}
    for layer, name in (("mask", "mask"), ("ids", "instance_id"), ("score", "score")):
        with rasterio.open(out / "export" / f"q0-squares-{layer}.tif") as file:
            rasters[layer] = file.read(1)
            np.testing.assert_array_equal(rasters[layer], store[name][0])
            assert file.crs.to_epsg() == 32633
            assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            transform = file.transform
    assert set(np.unique(rasters["mask"])) == {0, 1, 255}, "the zones leave corners that nobody saw"
    assert (rasters["ids"][:, -100:] > 0).any(), "the eastern scene has objects"
    assert (rasters["ids"][:, :100] > 0).any()
    objects = gpd.read_file(out / "export" / "results.gpkg", layer="instances")
    assert len(objects) == len(gpd.read_parquet(out / "instances")) > 10
    burnt = rasterio.features.rasterize(
        zip(objects.geometry, objects["instance_id"], strict=True),
        out_shape=rasters["ids"].shape,
        transform=transform,
        dtype="int64",
    )
    np.testing.assert_array_equal(burnt, rasters["ids"])
    ledger = gpd.read_file(out / "export" / "results.gpkg", layer="coverage")
    assert 0 < ledger["searched_km2"].sum() < ledger["km2"].sum()


def test_outlines_of_a_run_are_cleaned(
    run_job: Callable[..., int], scenes: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Discs with a hole and a loose pixel, by the job: fewer vertices, no hole, no loose pixel."""
    labels = np.zeros((150, 150), dtype=np.uint32)
    rows, cols = np.mgrid[:150, :150]
    for number, (row, col) in enumerate([(40, 40), (40, 100), (100, 70)], start=1):
        labels[np.hypot(rows - row, cols - col) < 20] = number
        labels[row, col] = 0
    labels[10, 10] = 1
    write(tmp_path / "discs.tif", labels, 32633, EAST_M, NORTH_M)
    out = tmp_path / "out"
    words = ["--source", scenes[0], "--whole-scene", "--query", "discs"]
    words += ["--models", f"oracle:{tmp_path / 'discs.tif'}"]
    assert run_job(*words, "--tile", 96, "--halo", 8, "--block", 2, "--runner", "local", "--out", out) == 0
    cleaning = ["--fill-holes-m2", "2", "--drop-specks-m2", "2", "--simplify-m", "1", "--oriented"]
    job = load_job("export_results")
    assert job.main([str(out), "--gpkg", *cleaning, "--min-score", "0.5", "--quiet"]) == 0
    pixels = gpd.read_parquet(out / "instances").set_index("instance_id")
    smooth = gpd.read_file(out / "export/results.gpkg", layer="instances").set_index("instance_id")
    assert sorted(smooth.index) == sorted(pixels.index)
    smooth = smooth.loc[pixels.index]
    assert pixels.geometry.get_coordinates().shape[0] > 2 * smooth.geometry.get_coordinates().shape[0]
    for shape in smooth.geometry:
        (part,) = shape.geoms
        assert list(part.interiors) == []
    assert (smooth.geometry.area / pixels.geometry.area).between(0.97, 1.03).all()
    assert smooth["length_m"].between(38, 41).all()
    assert smooth["width_m"].between(38, 41).all()
    assert job.main([str(out), "--pmtiles", *cleaning[:-1], "--quiet"]) == 0
    tiles = gpd.read_file(out / "export/instances.pmtiles").dissolve("instance_id").to_crs(pixels.crs)
    for number, shape in tiles.geometry.items():
        assert shape.symmetric_difference(smooth.geometry[number]).area < 0.02 * shape.area
    assert job.main([str(out), "--gpkg", "--simplify-m", "-1", "--overwrite"]) == 2
    assert "--simplify-m must not be negative" in capsys.readouterr().err
