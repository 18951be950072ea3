"""Exported rasters, read by rasterio, against the arrays that the store was painted from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import zarr
from numpy.typing import NDArray
from record_world import QUERIES, grid_of, id_raster, lattice_of, table_of, write_rasters

from pipeline.errors import InputError
from pipeline.schema.tiling import RunGrid
from pipeline.write.export import raster_files
from pipeline.write.export.raster_files import LAYERS, LayerName, write_cog
from pipeline.write.masks_zarr import create_masks

RASTERS = [id_raster(300, 700, seed=4, n=40), id_raster(300, 700, seed=5, n=3)]
GRID = grid_of(700, 300)


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two queries; the first row was not judged. Cores of 70 px, so that squares and shards do not align."""
    lattice = lattice_of(GRID, tile_px=76, halo_px=3)
    path = tmp_path_factory.mktemp("run") / "masks.zarr"
    return write_rasters(path, lattice, RASTERS, table_of(RASTERS)).path


def exported(masks: Path, path: Path, layer: LayerName, query: int = 0, grid: RunGrid = GRID) -> list[float]:
    told: list[float] = []
    tags = {"QUERY": QUERIES[query], "RUN_ID": "run-1"}
    write_cog(masks, path, layer=layer, query_index=query, grid=grid, tags=tags, progress=told.append)
    return told


def stored(masks: Path, layer: LayerName, query: int) -> NDArray[np.uint64]:
    values = zarr.open_group(str(masks), mode="r")[LAYERS[layer].array][query]
    return np.asarray(values).astype(np.uint64)


@pytest.mark.parametrize("square_px", [512, 2048])
@pytest.mark.parametrize("query", [0, 1])
@pytest.mark.parametrize(
    ("layer", "dtype", "nodata"), [("mask", "uint8", 255), ("ids", "uint32", 0), ("score", "uint8", 255)]
)
def test_pixels_nodata_and_place_are_those_of_the_run(
    masks: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    layer: LayerName,
    dtype: str,
    nodata: int,
    query: int,
    square_px: int,
) -> None:
    monkeypatch.setattr(raster_files, "SQUARE_PX", square_px)
    told = exported(masks, tmp_path / "a.tif", layer, query)
    with rasterio.open(tmp_path / "a.tif") as file:
        values = file.read(1)
        np.testing.assert_array_equal(values, stored(masks, layer, query))
        assert (file.dtypes, file.nodata) == ((dtype,), nodata)
        assert file.crs.to_epsg() == 32636
        assert file.transform == rasterio.Affine(*GRID.transform)
        assert file.tags()["QUERY"] == QUERIES[query]
        assert "object" in file.tags()["LEGEND"]
        assert file.descriptions == (layer,)
    if layer == "ids":
        np.testing.assert_array_equal(values, RASTERS[query])
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


@pytest.mark.parametrize("layer", list(LAYERS))
def test_the_file_is_a_cog_whose_overviews_take_pixels_and_not_means(
    masks: Path, tmp_path: Path, layer: LayerName
) -> None:
    exported(masks, tmp_path / "a.tif", layer)
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.overviews(1) == [2, 4]
        assert file.block_shapes == [(512, 512)]
        whole = set(np.unique(file.read(1)).tolist())
    with rasterio.open(tmp_path / "a.tif", overview_level=1) as small:
        assert small.shape == (75, 175)
        assert set(np.unique(small.read(1)).tolist()) <= whole


def test_mask_and_score_have_colours_and_what_was_not_judged_is_clear(masks: Path, tmp_path: Path) -> None:
    tables = {}
    for layer in ("mask", "score"):
        exported(masks, tmp_path / f"{layer}.tif", layer)  # type: ignore[arg-type]
        with rasterio.open(tmp_path / f"{layer}.tif") as file:
            assert file.colorinterp[0].name == "palette"
            tables[layer] = file.colormap(1)
    assert tables["mask"][1] == (255, 59, 48, 255)
    assert tables["mask"][0] != tables["mask"][1]
    assert tables["mask"][255][3] == tables["score"][255][3] == 0
    assert (tables["score"][0][:3], tables["score"][254][:3]) == ((68, 1, 84), (253, 231, 37))


def test_squares_without_a_value_are_not_in_the_file(tmp_path: Path) -> None:
    """Nothing was painted on 8,000 x 8,000 pixels."""
    grid = grid_of(8000, 8000)
    store = create_masks(tmp_path / "m.zarr", lattice_of(grid, tile_px=1024, halo_px=64), ["q"])
    exported(store.path, tmp_path / "a.tif", "ids", grid=grid)
    assert (tmp_path / "a.tif").stat().st_size < 50_000
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.overviews(1) == [2, 4, 8, 16, 32]
        assert not file.read(1).any()


def test_ids_beyond_32_bits_stay_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = np.zeros((300, 700), dtype=np.uint64)
    ids[10:20, 30:40] = 2**40 + 5
    lattice = lattice_of(GRID, tile_px=76, halo_px=3)
    store = create_masks(tmp_path / "m.zarr", lattice, ["q"])
    array = store.group["instance_id"]
    assert isinstance(array, zarr.Array)
    array[0] = ids
    monkeypatch.setattr(RunGrid, "window", property(lambda _: type("W", (), {"area_px": 2**41})()))
    exported(store.path, tmp_path / "a.tif", "ids")
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.dtypes == ("uint64",)
        np.testing.assert_array_equal(file.read(1), ids)


@pytest.mark.parametrize(
    "grid",
    [
        grid_of(700, 300, crs=None),
        grid_of(700, 300, transform=(0.3, 0.1, 450000.0, 0.1, -0.3, 36000.0)),
        grid_of(700, 300, crs="EPSG:4326", transform=(0.001, 0.0, 10.0, 0.0, -0.001, 50.0)),
    ],
    ids=["no CRS", "rotated", "degrees"],
)
def test_any_grid_keeps_its_place(masks: Path, tmp_path: Path, grid: RunGrid) -> None:
    exported(masks, tmp_path / "a.tif", "ids", grid=grid)
    with rasterio.open(tmp_path / "a.tif") as file:
        np.testing.assert_array_equal(file.read(1), RASTERS[0])
        if grid.crs_wkt is None:
            assert (file.crs, file.transform) == (None, rasterio.Affine.identity())
        else:
            assert file.crs == rasterio.CRS.from_wkt(grid.crs_wkt)
            assert file.transform.almost_equals(rasterio.Affine(*grid.transform))


def test_rasters_that_cannot_be_read_are_named(masks: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.zarr must be readable.*restitch"):
        exported(tmp_path / "absent.zarr", tmp_path / "a.tif", "ids")


_PEAK = r"""
import re, sys
from pathlib import Path
from record_world import grid_of
from pipeline.write.export.raster_files import write_cog
side = int(sys.argv[2])
write_cog(Path(sys.argv[1]), Path(sys.argv[3]), layer="ids", query_index=0, grid=grid_of(side, side), tags={},
          progress=lambda _: None)
print(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_memory_follows_the_square_and_not_the_raster(tmp_path: Path) -> None:
    """Four times the pixels and 300 MB more of ids, all of them set, within 140 MB of the same peak."""
    peaks = []
    for side in (3584, 7168):
        store = create_masks(
            tmp_path / f"{side}.zarr", lattice_of(grid_of(side, side), tile_px=1024, halo_px=64), ["q"]
        )
        ids = store.group["instance_id"]
        assert isinstance(ids, zarr.Array)
        columns = np.arange(side, dtype=np.uint64) // 64 + 1
        for row in range(0, side, 1792):
            ids[0, row : row + 1792] = np.broadcast_to(columns + row, (min(1792, side - row), side))
        words = [sys.executable, "-c", _PEAK, str(store.path), str(side), str(tmp_path / f"{side}.tif")]
        paths = f"{Path.cwd()}:{Path(__file__).parents[3]}"
        env = {"PYTHONPATH": paths, "GDAL_CACHEMAX": "32", "PATH": ""}
        done = subprocess.run(words, env=env, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout) / 1024)
    assert peaks[1] < peaks[0] + 140, peaks
