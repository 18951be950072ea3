"""masks.zarr read by xarray, rioxarray and dask; the golden store is made by `python
tests/golden/write/regenerate.py`.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import dask.array
import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401 - registers the .rio accessor
import xarray as xr
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from record_world import QUERIES, grid_of, id_raster, lattice_of, table_of, write_rasters

from pipeline.files.store.local_store import LocalStore
from pipeline.files.store.stored_files import zarr_store
from pipeline.schema.tiling import Window
from pipeline.write.masks_zarr import (
    ShardPixels,
    create_masks,
    open_masks,
    write_shard,
    write_window,
)

GOLDEN = Path(__file__).parents[2] / "golden" / "write"
RASTERS = [id_raster(seed=0), id_raster(seed=1)]
TABLE = table_of(RASTERS)


@pytest.fixture(params=["plain", "consolidated"])
def masks_path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A written store; `plain`: to be read without its consolidated metadata."""
    path = write_rasters(tmp_path / "masks.zarr", lattice_of(), RASTERS, TABLE).path.local()
    if request.param == "plain":
        document = json.loads((path / "zarr.json").read_text())
        del document["consolidated_metadata"]
        (path / "zarr.json").write_text(json.dumps(document))
    return path


def opened(path: Path) -> xr.Dataset:
    consolidated = "consolidated_metadata" in json.loads((path / "zarr.json").read_text())
    return xr.open_zarr(path, consolidated=consolidated)


def raw(path: Path) -> xr.Dataset:
    """The numbers as they are stored."""
    return xr.open_zarr(path, consolidated=False, mask_and_scale=False)


def test_xarray_and_rioxarray_read_pixels_crs_and_transform(masks_path: Path) -> None:
    masks = opened(masks_path)
    np.testing.assert_array_equal(masks["instance_id"].values, np.stack(RASTERS))
    assert {name: str(masks[name].dtype) for name in masks} == {
        "mask": "float32",
        "instance_id": "uint64",
        "score": "float32",
    }
    for data in (masks, masks["mask"], masks["instance_id"], masks["score"].isel(query=1)):
        assert data.rio.crs.to_epsg() == 32636
        assert data.rio.transform() == rasterio.Affine(*grid_of().transform)
    assert masks["mask"].rio.bounds() == (450000.0, 35980.0, 450025.0, 36000.0)
    assert masks["query"].values.tolist() == list(QUERIES)
    assert float(masks["x"][0]) == 450000.25
    assert float(masks["y"][0]) == 35999.75


def test_dask_reads_lazily_by_chunk(masks_path: Path) -> None:
    ids = opened(masks_path)["instance_id"].data
    assert isinstance(ids, dask.array.Array)
    assert ids.chunksize == (1, 10, 10)
    assert int((ids > 0).sum().compute()) == sum(int((raster > 0).sum()) for raster in RASTERS)


def test_mask_and_score_follow_their_rules(masks_path: Path) -> None:
    masks = raw(masks_path)
    ids, mask, score = (masks[name].values for name in ("instance_id", "mask", "score"))
    assert (mask[ids > 0] == 1).all()
    background = ids == 0
    assert (mask[:, 1:][background[:, 1:]] == 0).all()
    assert (mask[:, 0][background[:, 0]] == 255).all()  # the row that nobody looked at
    assert (score[background] == 255).all()
    for query, instance, value in zip(TABLE.query_index, TABLE.instance_id, TABLE.score, strict=True):
        assert (score[query][ids[query] == instance] == round(float(value) * 254)).all()


def test_what_was_not_judged_is_missing_and_a_mean_leaves_it_out(masks_path: Path) -> None:
    """The first row of the world was not judged."""
    masks = opened(masks_path)
    found = np.stack(RASTERS) > 0
    judged = found.copy()
    judged[:, 1:] = True
    np.testing.assert_array_equal(masks["mask"].notnull(), judged)
    np.testing.assert_array_equal(masks["score"].notnull(), found)
    assert float(masks["mask"].mean()) == pytest.approx(found.sum() / judged.sum())
    assert {name: masks[name].encoding.get("_FillValue") for name in masks} == {
        "mask": 255,
        "instance_id": None,
        "score": 255,
    }


def test_a_query_is_selected_by_its_text(masks_path: Path) -> None:
    masks = opened(masks_path)
    for index, query in enumerate(QUERIES):
        one = masks.sel(query=query)
        np.testing.assert_array_equal(one["instance_id"].values, RASTERS[index])
        assert one["mask"].rio.crs.to_epsg() == 32636
    with pytest.raises(KeyError, match="query"):
        masks.sel(query="lakes")


@pytest.mark.parametrize(("name", "nodata"), [("mask", 255), ("score", 255), ("instance_id", 0)])
def test_an_export_with_rioxarray_knows_what_is_no_data(
    masks_path: Path, tmp_path: Path, name: str, nodata: int
) -> None:
    layer = opened(masks_path)[name].sel(query=QUERIES[0])
    layer.rio.to_raster(tmp_path / "out.tif")
    with rasterio.open(tmp_path / "out.tif") as dataset:
        assert dataset.nodata == nodata
        assert dataset.crs.to_epsg() == 32636
        np.testing.assert_array_equal(dataset.read(1), raw(masks_path)[name].values[0])


def test_attributes_alone_georeference_every_array(masks_path: Path) -> None:
    group = zarr.open_group(masks_path, mode="r")
    for node in (group, group["mask"], group["instance_id"], group["score"]):
        assert node.attrs["proj:code"] == "EPSG:32636"
        assert node.attrs["proj:wkt2"] == grid_of().crs_wkt
        assert node.attrs["spatial:transform"] == list(grid_of().transform)
        assert node.attrs["spatial:dimensions"] == ["y", "x"]
        assert node.attrs["spatial:shape"] == [40, 50]
        assert {c["name"] for c in node.attrs["zarr_conventions"]} == {"proj:", "spatial:"}
    bare = opened(masks_path).drop_vars(["spatial_ref", "x", "y"])["mask"]
    bare.attrs.pop("grid_mapping", None)
    assert bare.rio.crs.to_epsg() == 32636


def test_layout_is_chunk_core_shard_block_zstd(masks_path: Path) -> None:
    metadata = json.loads((masks_path / "instance_id" / "zarr.json").read_text())
    assert metadata["dimension_names"] == ["query", "y", "x"]
    assert metadata["chunk_grid"]["configuration"]["chunk_shape"] == [1, 20, 20]
    (sharding,) = metadata["codecs"]
    assert sharding["name"] == "sharding_indexed"
    assert sharding["configuration"]["chunk_shape"] == [1, 10, 10]
    inner = sharding["configuration"]["codecs"]
    assert [codec["name"] for codec in inner] == ["bytes", "zstd"]
    assert inner[1]["configuration"]["level"] == 3
    assert metadata["fill_value"] == 0


def test_writing_again_gives_the_same_bytes(tmp_path: Path) -> None:
    def files(path: Path) -> dict[str, bytes]:
        return {p.relative_to(path).as_posix(): p.read_bytes() for p in path.rglob("*") if p.is_file()}

    first = write_rasters(tmp_path / "m.zarr", lattice_of(), RASTERS, TABLE)
    before = files(first.path.local())
    block = lattice_of().block_core(0, 1)
    rows, cols = block.slices_in(lattice_of().grid.window)
    ids = np.stack(RASTERS)[:, rows, cols]
    values = zarr.open_group(first.path.local(), mode="r")["score"][:, rows, cols]
    looked_at = np.ones(ids.shape, dtype=np.bool_)
    looked_at[:, 0] = False
    write_shard(
        open_masks(first.path, lattice_of(), QUERIES),
        0,
        1,
        ShardPixels(ids=ids, scores=np.asarray(values), looked_at=looked_at),
    )
    assert files(first.path.local()) == before
    again = write_rasters(tmp_path / "m.zarr", lattice_of(), RASTERS, TABLE)
    assert files(again.path.local()) == before


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 25), st.integers(1, 25), st.integers(3, 9), st.integers(1, 4), st.integers(0, 2**31))
def test_any_lattice_reads_back(
    tmp_path: Path, width: int, height: int, core: int, k: int, seed: int
) -> None:
    lattice = lattice_of(grid_of(width, height), tile_px=core + 2, halo_px=1, block_tiles=k)
    ids = np.random.default_rng(seed).integers(0, 2**64, (1, height, width), dtype=np.uint64)
    store = create_masks(tmp_path / "m.zarr", lattice, ["q"])
    for row in range(lattice.n_block_rows):
        for col in range(lattice.n_block_cols):
            rows, cols = lattice.block_core(row, col).slices_in(lattice.grid.window)
            part = ids[:, rows, cols]
            write_shard(
                store,
                row,
                col,
                ShardPixels(
                    ids=part, scores=np.zeros(part.shape, np.uint8), looked_at=np.ones(part.shape, np.bool_)
                ),
            )
    np.testing.assert_array_equal(zarr.open_group(store.path.local(), mode="r")["instance_id"][...], ids)


@pytest.mark.parametrize(
    "window",
    [
        Window(row0=0, col0=0, row1=10, col1=20),
        Window(row0=0, col0=10, row1=20, col1=30),
        Window(row0=1, col0=0, row1=21, col1=20),
        Window(row0=0, col0=0, row1=40, col1=40),
        Window(row0=20, col0=40, row1=40, col1=60),
    ],
)
def test_a_write_that_is_not_one_whole_shard_raises(tmp_path: Path, window: Window) -> None:
    store = create_masks(tmp_path / "m.zarr", lattice_of(), ["q"])
    with pytest.raises(ValueError, match="one whole shard"):
        write_window(store, "mask", window, np.zeros((1, *window.shape), dtype=np.uint8))
    assert (zarr.open_group(store.path.local(), mode="r")["mask"][...] == 255).all()


def test_pixels_of_another_shape_raise(tmp_path: Path) -> None:
    store = create_masks(tmp_path / "m.zarr", lattice_of(), ["q"])
    good = np.zeros((1, 20, 10), dtype=np.uint64)  # block (1, 2) is cut by the grid's border
    write_shard(store, 1, 2, ShardPixels(ids=good, scores=good.astype(np.uint8), looked_at=good > 0))
    with pytest.raises(ValueError, match="must have shape"):
        write_shard(
            store, 1, 2, ShardPixels(ids=good[:, :, :9], scores=good.astype(np.uint8), looked_at=good > 0)
        )


def test_never_judged_shards_write_no_file(tmp_path: Path) -> None:
    store = create_masks(
        tmp_path / "m.zarr", lattice_of(grid_of(10**6, 10**6), tile_px=1024, halo_px=64, block_tiles=1), ["q"]
    )
    before = list(store.path.entries())
    written = store.written()
    ids = np.zeros((1, 896, 896), dtype=np.uint64)
    write_shard(
        store,
        3,
        4,
        ShardPixels(ids=ids, scores=np.zeros(ids.shape, np.uint8), looked_at=np.zeros(ids.shape, np.bool_)),
    )
    assert list(store.path.entries()) == before
    assert store.written() == written
    write_shard(
        store,
        3,
        4,
        ShardPixels(ids=ids, scores=np.zeros(ids.shape, np.uint8), looked_at=np.ones(ids.shape, np.bool_)),
    )
    assert (store.path / "mask" / "c" / "0" / "3" / "4").is_file()


def test_gdal_below_3_13_cannot_open_the_shards() -> None:
    """What README and jobs/export_results.py say; a newer GDAL makes this test fail, and the words old."""
    version = tuple(int(part) for part in rasterio.__gdal_version__.split(".")[:2])
    assert version < (3, 13), "see whether this GDAL opens masks.zarr, and what is still true of the README"
    with pytest.raises(rasterio.RasterioIOError, match="sharding_indexed"):
        rasterio.open(f'ZARR:"{GOLDEN / "masks.zarr"}":/mask')


def test_a_rotated_grid_has_a_transform_and_no_coordinates(tmp_path: Path) -> None:
    transform = (0.3, 0.1, 450000.0, 0.1, -0.3, 36000.0)
    store = create_masks(tmp_path / "m.zarr", lattice_of(grid_of(transform=transform)), ["q"])
    masks = xr.open_zarr(store.path.local())
    assert "x" not in masks.coords
    assert masks["mask"].attrs["spatial:transform"] == list(transform)
    assert masks["mask"].rio.crs.to_epsg() == 32636
    assert masks["mask"].rio.transform().almost_equals(rasterio.Affine(*transform))


def test_without_crs_there_are_pixel_coordinates_only(tmp_path: Path) -> None:
    store = create_masks(tmp_path / "m.zarr", lattice_of(grid_of(crs=None)), ["q"])
    masks = xr.open_zarr(store.path.local(), consolidated=False)
    assert masks["x"].values[:2].tolist() == [0.5, 1.5]
    assert masks["y"].values[:2].tolist() == [0.5, 1.5]
    assert "spatial_ref" not in masks.variables
    assert masks["mask"].rio.crs is None
    assert not any(key.startswith("proj:") for key in masks["mask"].attrs)


def test_geographic_coordinates_have_cf_names(tmp_path: Path) -> None:
    grid = grid_of(crs="EPSG:4326", transform=(0.001, 0.0, 10.0, 0.0, -0.001, 50.0))
    store = create_masks(tmp_path / "m.zarr", lattice_of(grid), ["q"])
    masks = xr.open_zarr(store.path.local(), consolidated=False)
    assert (masks["x"].attrs["standard_name"], masks["y"].attrs["standard_name"]) == ("longitude", "latitude")
    assert masks["mask"].rio.crs.to_epsg() == 4326
    assert float(masks["x"][0]) == pytest.approx(10.0005)


def test_the_golden_store_is_still_readable() -> None:
    masks = xr.open_zarr(GOLDEN / "masks.zarr")
    np.testing.assert_array_equal(masks["instance_id"].values, np.stack(RASTERS))
    assert masks["mask"].rio.crs.to_epsg() == 32636
    ours = zarr.open_group(store=zarr_store(GOLDEN / "masks.zarr", read_only=True), mode="r")
    np.testing.assert_array_equal(ours["instance_id"][...], np.stack(RASTERS))


def test_what_was_written_is_listed_with_sizes_and_hashes(tmp_path: Path) -> None:
    """Of every object that is there, and of no other."""
    store = write_rasters(tmp_path / "m.zarr", lattice_of(), RASTERS, TABLE)
    files = sorted(path for path in (tmp_path / "m.zarr").rglob("*") if path.is_file())
    assert [(file.key, file.size, file.sha256) for file in store.written()] == sorted(
        (
            path.relative_to(tmp_path / "m.zarr").as_posix(),
            path.stat().st_size,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in files
    )


def test_laying_out_again_keeps_the_shards(tmp_path: Path) -> None:
    """A publication that was killed left them, and paints them again with the same bytes."""
    path = write_rasters(tmp_path / "m.zarr", lattice_of(), RASTERS, TABLE).path.local()
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    store = create_masks(path, lattice_of(), QUERIES)
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before
    assert {file.key for file in store.written()} == {
        file.relative_to(path).as_posix() for file in before if "c" not in file.relative_to(path).parts[:-1]
    } | {"x/c/0", "y/c/0", "query/c/0"}


def test_a_store_is_opened_without_reading_and_written_by_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As tasks in other processes do: what the metadata says follows from the lattice and the queries."""
    whole = write_rasters(tmp_path / "whole.zarr", lattice_of(), RASTERS, TABLE).path.local()
    parts = create_masks(tmp_path / "parts.zarr", lattice_of(), QUERIES).path
    lattice = lattice_of()
    values = raw(whole)
    looked_at = np.ones((2, 40, 50), dtype=np.bool_)
    looked_at[:, 0] = False
    with monkeypatch.context() as blind:
        blind.setattr(LocalStore, "get", lambda *_: pytest.fail("something was read"))
        blind.setattr(LocalStore, "get_range", lambda *_: pytest.fail("something was read"))
        stores = [open_masks(parts, lattice, QUERIES) for _ in range(2)]
    for row in range(lattice.n_block_rows):
        for col in range(lattice.n_block_cols):
            rows, cols = lattice.block_core(row, col).slices_in(lattice.grid.window)
            pixels = ShardPixels(
                ids=values["instance_id"].values[:, rows, cols],
                scores=values["score"].values[:, rows, cols],
                looked_at=looked_at[:, rows, cols],
            )
            write_shard(stores[(row + col) % 2], row, col, pixels)
    files = [
        {file.relative_to(root): file.read_bytes() for file in root.rglob("*") if file.is_file()}
        for root in (whole, parts.local())
    ]
    assert files[0] == files[1]
    keys = [{file.key for file in store.written()} for store in stores]
    assert not keys[0] & keys[1]
    assert all("/c/" in key for key in keys[0] | keys[1]), "no metadata is written again"
