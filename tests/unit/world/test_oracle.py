"""The oracle's answers against label rasters small enough to check by hand, and its noise against its stated
rates.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from rasterio.transform import from_origin

from pipeline.errors import InputError, SourceError
from pipeline.schema.tiling import RunGrid, TileLattice, TileSpec, Window
from pipeline.world.oracle import (
    OracleSpec,
    OracleTruth,
    background_text,
    check_aligned,
    grid_offset,
    parse_oracle,
)

CRS_WKT = rasterio.crs.CRS.from_epsg(32636).to_wkt()
TRANSFORM = from_origin(450_000.0, 35_000.0, 0.5, 0.5)


def write_labels(
    path: Path,
    labels: NDArray[np.generic],
    *,
    transform: rasterio.Affine = TRANSFORM,
    crs: str | None = CRS_WKT,
    nodata: int | None = None,
) -> Path:
    profile = {
        "driver": "GTiff",
        "height": labels.shape[0],
        "width": labels.shape[1],
        "count": 1,
        "dtype": labels.dtype.name,
        "nodata": nodata,
    }
    with rasterio.open(path, "w", **profile, transform=transform, crs=crs) as dataset:
        dataset.write(labels, 1)
    return path


def grid_of(
    height: int, width: int, transform: rasterio.Affine = TRANSFORM, crs: str | None = CRS_WKT
) -> RunGrid:
    return RunGrid(crs_wkt=crs, transform=tuple(transform)[:6], width=width, height=height)  # type: ignore[arg-type]


def tile_of(row0: int, col0: int, row1: int, col1: int) -> TileSpec:
    window = Window(row0=row0, col0=col0, row1=row1, col1=col1)
    return TileSpec(tile_row=0, tile_col=0, core=window, read=window)


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("oracle:labels.tif", OracleSpec(labels_href="labels.tif")),
        ("oracle:a b/labels.tif?noise=mild", OracleSpec(labels_href="a b/labels.tif", noise="mild")),
        (
            "oracle:/d/labels.tif?noise=strong&seed=7",
            OracleSpec(labels_href="/d/labels.tif", noise="strong", seed=7),
        ),
        ("oracle:labels.tif?noise=none", OracleSpec(labels_href="labels.tif")),
    ],
)
def test_parse_oracle(text: str, spec: OracleSpec) -> None:
    assert parse_oracle(text) == spec


@pytest.mark.parametrize(
    "text",
    [
        "labels.tif",
        "oracle:",
        "oracle:?noise=mild",
        "oracle:x.tif?noise=loud",
        "oracle:x.tif?sed=1",
        "oracle:x?seed=-1",
    ],
)
def test_parse_oracle_refuses(text: str) -> None:
    with pytest.raises(InputError, match="To fix"):
        parse_oracle(text)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "uint32", "int64", "uint64"])
def test_exact_tile_is_the_same_partition(tmp_path: Path, dtype: str) -> None:
    labels = np.array([[0, 5, 5, 0], [7, 0, 5, 9], [7, 0, 0, 9]], dtype=dtype)
    if np.iinfo(dtype).max > 2**40:
        labels[labels == 9] = 2**40 + 3
    truth = OracleTruth(str(write_labels(tmp_path / "l.tif", labels)))
    got = truth.tile(tile_of(0, 1, 3, 4)).labels
    window = labels[:, 1:4]
    assert got.dtype == np.int32
    pairs = {(int(a), int(b)) for a, b in zip(window.ravel(), got.ravel(), strict=True)}
    assert sorted(b for _, b in pairs) == [0, 1, 2]  # background, 5 and the one at the right; 7 is outside
    assert (0, 0) in pairs
    assert len(pairs) == 3


def test_local_ids_are_arbitrary_but_reproducible(tmp_path: Path) -> None:
    labels = np.repeat(np.arange(1, 41, dtype=np.uint32), 4).reshape(16, 10)
    path = str(write_labels(tmp_path / "l.tif", labels))
    full = tile_of(0, 0, 16, 10)
    first = OracleTruth(path).tile(full).labels
    again = OracleTruth(path).tile(full).labels
    assert np.array_equal(first, again)
    assert not np.array_equal(first, labels)
    shifted = OracleTruth(path).tile(tile_of(1, 0, 16, 10)).labels
    assert not np.array_equal(shifted, first[1:])


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    labels=hnp.arrays(
        np.uint16,
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=5, max_side=24),
        elements=st.integers(0, 6),
    ),
    tile_px=st.integers(5, 11),
    halo_px=st.integers(1, 2),
)
def test_exact_tiles_partition_like_the_raster(
    tmp_path: Path, labels: NDArray[np.uint16], tile_px: int, halo_px: int
) -> None:
    path = write_labels(tmp_path / "l.tif", labels)
    grid = grid_of(*labels.shape)
    truth = OracleTruth.on_grid(OracleSpec(labels_href=str(path)), grid)
    lattice = TileLattice(grid=grid, tile_px=tile_px, halo_px=halo_px, block_tiles=2)
    for tile_row in range(lattice.n_tile_rows):
        for tile_col in range(lattice.n_tile_cols):
            tile = lattice.tile(tile_row, tile_col)
            window = labels[tile.read.row0 : tile.read.row1, tile.read.col0 : tile.read.col1]
            answer = truth.tile(tile)
            pairs = {(int(a), int(b)) for a, b in zip(window.ravel(), answer.labels.ravel(), strict=True)}
            objects = {a for a, _ in pairs if a}
            assert len(pairs - {(0, 0)}) == len(objects)
            assert sorted(b for a, b in pairs if a) == list(range(1, len(objects) + 1))
            assert answer.n_objects == len(objects)


def test_run_grid_inside_the_raster(tmp_path: Path) -> None:
    labels = np.zeros((20, 30), dtype=np.uint16)
    labels[8:12, 13:18] = 3
    path = write_labels(tmp_path / "l.tif", labels)
    grid = grid_of(10, 12, TRANSFORM @ rasterio.Affine.translation(10, 5))
    assert check_aligned(str(path), grid) == (5, 10)
    got = OracleTruth.on_grid(OracleSpec(labels_href=str(path)), grid).tile(tile_of(0, 0, 10, 12)).labels
    assert np.array_equal(got == 1, labels[5:15, 10:22] == 3)


@pytest.mark.parametrize(
    ("transform", "crs", "shape", "says"),
    [
        (TRANSFORM @ rasterio.Affine.translation(0.5, 0), CRS_WKT, (10, 10), "not on a pixel corner"),
        (from_origin(450_000.0, 35_000.0, 1.0, 1.0), CRS_WKT, (10, 10), "its transform is"),
        (TRANSFORM, rasterio.crs.CRS.from_epsg(3857).to_wkt(), (10, 10), "EPSG:3857"),
        (TRANSFORM, None, (10, 10), "none"),
        (TRANSFORM, CRS_WKT, (10, 21), "needs 10 x 21"),
        (TRANSFORM @ rasterio.Affine.translation(-1, 0), CRS_WKT, (10, 10), "needs 10 x 10"),
    ],
)
def test_misaligned_rasters_are_refused(
    tmp_path: Path, transform: rasterio.Affine, crs: str | None, shape: tuple[int, int], says: str
) -> None:
    path = write_labels(tmp_path / "truth.tif", np.zeros((20, 20), dtype=np.uint16))
    with pytest.raises(InputError, match=says) as caught:
        check_aligned(str(path), grid_of(*shape, transform, crs))
    assert "truth.tif" in str(caught.value)


@pytest.mark.parametrize(("rows", "cols"), [(0, 0), (3, 2), (-4, 1), (25, -7)])
def test_a_grid_may_begin_anywhere_on_the_pixels_of_open_labels(tmp_path: Path, rows: int, cols: int) -> None:
    path = write_labels(tmp_path / "l.tif", np.zeros((20, 30), dtype=np.uint16))
    grid = grid_of(10, 12, TRANSFORM @ rasterio.Affine.translation(cols, rows), crs=None)
    with rasterio.open(path) as labels:
        assert grid_offset(labels, grid) == (rows, cols)


def test_open_labels_with_other_pixels_are_refused(tmp_path: Path) -> None:
    """Half a pixel aside, and turned about the same corner."""
    path = write_labels(tmp_path / "l.tif", np.zeros((20, 30), dtype=np.uint16))
    half = TRANSFORM @ rasterio.Affine.translation(2.0, 0.5)
    with rasterio.open(path) as labels:
        with pytest.raises(InputError, match=r"row 0\.500, column 2\.000\), not on a pixel corner"):
            grid_offset(labels, grid_of(10, 12, half))
        with pytest.raises(InputError, match=r"l\.tif: its transform is"):
            grid_offset(labels, grid_of(10, 12, TRANSFORM @ rasterio.Affine.rotation(3.0)))


def test_unusable_rasters_are_refused(tmp_path: Path) -> None:
    grid = grid_of(4, 4)
    with pytest.raises(InputError, match="readable label raster"):
        check_aligned(str(tmp_path / "absent.tif"), grid)
    floats = write_labels(tmp_path / "float.tif", np.zeros((4, 4), dtype=np.float32))
    with pytest.raises(InputError, match="integers"):
        check_aligned(str(floats), grid)
    with pytest.raises(SourceError, match=r"absent\.tif"):
        OracleTruth(str(tmp_path / "absent.tif")).tile(tile_of(0, 0, 2, 2))
    small = write_labels(tmp_path / "small.tif", np.zeros((4, 4), dtype=np.uint8))
    with pytest.raises(InputError, match="cover every tile"):
        OracleTruth(str(small)).tile(tile_of(0, 0, 5, 4))
    negative = write_labels(tmp_path / "negative.tif", np.full((4, 4), -1, dtype=np.int32))
    with pytest.raises(InputError, match="negative"):
        OracleTruth(str(negative)).tile(tile_of(0, 0, 4, 4))


@pytest.mark.parametrize(("dtype", "nodata"), [("uint8", 255), ("int32", -9999), ("uint16", 0), ("int16", 7)])
def test_the_nodata_of_a_label_raster_is_background(tmp_path: Path, dtype: str, nodata: int) -> None:
    labels = np.array([[nodata, nodata, 3, 3], [0, nodata, 3, 5]], dtype=dtype)
    path = write_labels(tmp_path / "l.tif", labels, nodata=nodata)
    tile = OracleTruth(str(path)).tile(tile_of(0, 0, 2, 4))
    assert tile.n_objects == 2
    np.testing.assert_array_equal(tile.labels > 0, [[0, 0, 1, 1], [0, 0, 1, 1]])
    assert tile.labels[0, 2] == tile.labels[0, 3] == tile.labels[1, 2] != tile.labels[1, 3]


def test_masked_pixels_of_a_label_raster_are_background(tmp_path: Path) -> None:
    path = write_labels(tmp_path / "l.tif", np.full((2, 4), 9, dtype=np.uint8))
    with rasterio.open(path, "r+") as dataset:
        dataset.write_mask(np.array([[0, 255, 255, 0], [0, 0, 255, 0]], dtype=np.uint8))
    labels = OracleTruth(str(path)).tile(tile_of(0, 0, 2, 4)).labels
    np.testing.assert_array_equal(labels, [[0, 1, 1, 0], [0, 0, 1, 0]])


@pytest.mark.parametrize(
    ("nodata", "text"),
    [
        (None, "every value of l.tif is one object, except 0, which is background"),
        (0, "every value of l.tif is one object, except 0, which is background"),
        (255, "except 0 and its nodata value 255, which are background; if 0 is a class of yours, add 1"),
    ],
)
def test_what_counts_as_background_is_said(tmp_path: Path, nodata: int | None, text: str) -> None:
    path = write_labels(tmp_path / "l.tif", np.zeros((2, 4), dtype=np.uint8), nodata=nodata)
    assert text in background_text(str(path))
    with pytest.raises(InputError, match="readable label raster"):
        background_text(str(tmp_path / "absent.tif"))


@pytest.fixture(scope="module")
def many_squares(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, NDArray[np.uint32]]:
    """40 x 40 squares of 20 px, each amid a cell of 36 px: further apart than any noise reaches."""
    labels = np.zeros((40 * 36, 40 * 36), dtype=np.uint32)
    for row in range(40):
        for col in range(40):
            labels[row * 36 + 8 : row * 36 + 28, col * 36 + 8 : col * 36 + 28] = row * 40 + col + 1
    return str(write_labels(tmp_path_factory.mktemp("squares") / "l.tif", labels)), labels


@pytest.mark.parametrize(
    ("noise", "miss", "split", "reach"), [("mild", 0.03, 0.01, 2), ("strong", 0.10, 0.03, 6)]
)
def test_noise_rates(
    many_squares: tuple[str, NDArray[np.uint32]], noise: str, miss: float, split: float, reach: int
) -> None:
    path, labels = many_squares
    got = OracleTruth(path, noise, seed=1).tile(tile_of(0, 0, *labels.shape)).labels  # type: ignore[arg-type]
    cells = got.reshape(40, 36, 40, 36).swapaxes(1, 2).reshape(1600, -1)
    n_parts = [np.unique(cell[cell > 0]).size for cell in cells]
    counts = np.bincount(n_parts, minlength=3)
    n = 1600
    for seen, rate in (
        (counts[0], miss),
        (counts[2], split * (1 - miss)),
    ):  # squares never touch, so no merges here
        assert abs(seen - n * rate) < 4 * np.sqrt(n * rate)
    moved_beyond = (got > 0) & (labels == 0)
    rows, cols = np.nonzero(moved_beyond)
    distance = np.maximum(
        np.maximum(8 - rows % 36, rows % 36 - 27), np.maximum(8 - cols % 36, cols % 36 - 27)
    )
    assert 0 < distance.max() <= reach


def test_small_objects_are_missed_more_often(tmp_path: Path) -> None:
    labels = np.zeros((400, 400), dtype=np.uint32)
    labels[1::5, 1::5] = np.arange(1, 6401).reshape(80, 80)
    got = OracleTruth(str(write_labels(tmp_path / "l.tif", labels)), "mild").tile(tile_of(0, 0, 400, 400))
    expected = 6400 * (1 - 0.13)
    assert (
        abs(got.n_objects - expected) < 4 * np.sqrt(6400 * 0.13) + 6400 * 0.012
    )  # splits of 1 px leave nothing to split


def test_touching_neighbours_merge(tmp_path: Path) -> None:
    labels = np.repeat(np.arange(1, 3, dtype=np.uint32), 20)[None, :].repeat(30, axis=0)
    path = str(write_labels(tmp_path / "l.tif", labels))
    counts = np.bincount(
        [OracleTruth(path, "strong", seed=s).tile(tile_of(0, 0, 30, 40)).n_objects for s in range(300)],
        minlength=3,
    )
    # both survive 0.81; one object: exactly one missed 0.18, or merged 1 - 0.94**2 of the rest
    assert counts[1] > 300 * 0.18


def test_noise_is_reproducible_and_differs_between_tiles(
    many_squares: tuple[str, NDArray[np.uint32]],
) -> None:
    path, _ = many_squares
    left = tile_of(0, 0, 360, 360)
    right = tile_of(0, 180, 360, 540)
    once, again = (OracleTruth(path, "strong", seed=3).tile(left).labels for _ in range(2))
    assert np.array_equal(once, again)
    assert not np.array_equal(once > 0, OracleTruth(path, "strong", seed=4).tile(left).labels > 0)
    seam_left = once[:, 180:] > 0
    seam_right = OracleTruth(path, "strong", seed=3).tile(right).labels[:, :180] > 0
    assert not np.array_equal(seam_left, seam_right)
