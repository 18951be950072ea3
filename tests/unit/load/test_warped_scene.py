"""Resampled scenes. Oracle: another cut of the same lattice, to the bit, and one exact warp of the whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.transform import Affine
from rasterio.warp import transform_bounds

from pipeline.grid.aoi import Aoi
from pipeline.grid.source import SourceOptions, open_scenes
from pipeline.grid.tiles import GridOptions, Plan, plan_tiles
from pipeline.load.prepare_scenes import LoadOptions, prepare_scenes
from pipeline.load.reader import CogReader
from pipeline.load.warped_scene import SHEET_PX, Sheets, filter_scales, warp_cells
from pipeline.schema.tiling import RunGrid, Window

MakeTif = Callable[..., str]
OpenRun = Callable[..., Any]
UTM36 = rasterio.crs.CRS.from_epsg(32636).to_wkt()
CORNER = Affine(0.5, 0, SHEET_PX * 7 - 40.25, 0, -0.5, SHEET_PX * 2 + 35.5)
"""A scene of some 150 px here lies on four sheets of a grid of 0.5 m, and off its phase."""


def grid_of(transform: Affine, width: int = 100, height: int = 100, crs: str = UTM36) -> RunGrid:
    a, b, c, d, e, f = tuple(transform)[:6]
    return RunGrid(crs_wkt=crs, transform=(a, b, c, d, e, f), width=width, height=height)


@given(
    size=st.sampled_from([0.1, 0.3, 0.5, 1 / 3, 10.0, 9.3e-6]),
    origin=st.floats(-2e7, 2e7),
    moves=st.lists(st.tuples(st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6)), max_size=4),
)
def test_every_grid_on_a_lattice_has_the_same_sheets(
    size: float, origin: float, moves: list[tuple[int, int]]
) -> None:
    """Moving a grid adds rounding errors to its origin; the sheets do not see them."""
    transform = Affine(size, 0, origin * size, 0, -size, -origin * size / 3)
    first = Sheets.of(grid_of(transform))
    rows = cols = 0
    for down, right in moves:
        transform = transform @ Affine.translation(right, down)
        rows, cols = rows + down, cols + right
        moved = Sheets.of(grid_of(transform))
        assert moved == replace(first, row0=first.row0 + rows, col0=first.col0 + cols)
        sheet = (moved.row0 // SHEET_PX, moved.col0 // SHEET_PX)
        on_sheet = moved.on_sheet(Window(row0=0, col0=0, row1=1, col1=1), sheet)
        corner = moved.transform(*sheet) @ (on_sheet.col_off, on_sheet.row_off)
        np.testing.assert_allclose(np.subtract(corner, (transform.c, transform.f)) / size, 0, atol=1e-4)


@given(
    row0=st.integers(-(10**6), 10**6),
    col0=st.integers(-(10**6), 10**6),
    height=st.integers(1, 5000),
    width=st.integers(1, 5000),
)
def test_parts_partition_a_window_and_stay_in_one_strip(
    row0: int, col0: int, height: int, width: int
) -> None:
    sheets = Sheets.of(grid_of(Affine(0.5, 0, 450000.2, 0, -0.5, 40000)))
    window = Window(row0=row0, col0=col0, row1=row0 + height, col1=col0 + width)
    pieces = list(sheets.cut(window))
    assert sum(piece.area_px for _, piece in pieces) == window.area_px
    assert Window.around([piece for _, piece in pieces]) == window
    for sheet, piece in pieces:
        where = sheets.on_sheet(piece, sheet)
        assert where.row_off // 128 == (where.row_off + where.height - 1) // 128
        assert where.col_off >= 0
        assert where.col_off + where.width <= SHEET_PX


def test_only_north_up_grids_have_sheets() -> None:
    with pytest.raises(ValueError, match="north-up"):
        Sheets.of(grid_of(Affine(0.5, 0, 0, 0, 0.5, 0)))


def test_the_filter_is_as_wide_as_a_pixel_of_the_coarser_side(make_tif: MakeTif) -> None:
    """Counted by hand: rows of the scene run along the grid's columns when it lies on its side."""
    flat = np.zeros((1, 40, 60), dtype="uint8")
    grid = grid_of(Affine(1, 0, 450000, 0, -1, 40000))
    upright = make_tif("a.tif", flat, transform=Affine(0.25, 0, 450000, 0, -0.5, 40000))
    lying = make_tif("b.tif", flat, transform=Affine(0, 0.25, 450000, 0.5, 0, 39980))
    coarse = make_tif("c.tif", flat, transform=Affine(30, 0, 450000, 0, -0.98, 40000))
    for path, expected in ((upright, (0.25, 0.5)), (lying, (0.5, 0.25)), (coarse, (1.0, 1.0))):
        with rasterio.open(path) as dataset:
            assert filter_scales(dataset, UTM36, grid) == pytest.approx(expected)


def test_the_antimeridian_in_the_middle_does_not_stretch_the_filter(make_tif: MakeTif) -> None:
    path = make_tif(
        "a.tif",
        np.zeros((1, 40, 60), dtype="uint8"),
        crs="EPSG:3832",
        transform=Affine(9, 0, 3339584.7 - 270, 0, -9, 0),
    )
    lonlat = rasterio.crs.CRS.from_epsg(4326).to_wkt()
    mercator = rasterio.crs.CRS.from_epsg(3857).to_wkt()
    with rasterio.open(path) as dataset:
        wkt = dataset.crs.to_wkt()
        grid = grid_of(Affine(2e-4, 0, 179.9, 0, -2e-4, 1), crs=lonlat)
        assert filter_scales(dataset, wkt, grid) == pytest.approx((0.404, 0.404), rel=0.02)
        grid = grid_of(Affine(18, 0, 20037400, 0, -18, 300), crs=mercator)
        assert filter_scales(dataset, wkt, grid) == pytest.approx((0.5, 0.5), rel=0.01)


def test_cells_take_the_nearest(make_tif: MakeTif) -> None:
    """Cells of 4 px on a grid of half their size, across the corner of four sheets: each fills 2 x 2."""
    cells = np.random.default_rng(3).random((30, 40)) < 0.5
    corner = (SHEET_PX * 7 - 40, SHEET_PX * 2 + 30)
    grid = grid_of(Affine(1, 0, corner[0], 0, -1, corner[1]), width=80, height=60)
    found = warp_cells(cells, Affine(2, 0, corner[0], 0, -2, corner[1]), UTM36, grid, grid.window)
    np.testing.assert_array_equal(found, np.kron(cells, np.ones((2, 2), dtype=bool)))
    beyond = warp_cells(cells, Affine(2, 0, 0, 0, -2, 0), UTM36, grid, grid.window)
    assert not beyond.any()


KINDS = ("plain", "nodata", "nan", "mask", "alpha")


def write_scene(folder: Path, seed: int, kind: str, bands: int, place: Affine) -> str:
    """Noise, which shows the first wrong subpixel, with a few holes as `kind` says it."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(60, 1000, 2).tolist()
    dtype = "float32" if kind == "nan" else str(rng.choice(["uint8", "uint16", "int16"]))
    pixels = rng.integers(1, 250, (bands, height, width)).astype(dtype)
    hole = np.kron(rng.random((height // 8 + 1, width // 8 + 1)) < 0.15, np.ones((8, 8)))[:height, :width] > 0
    settings: dict[str, object] = {"nodata": None}
    if kind in ("nodata", "nan"):
        settings["nodata"] = np.nan if kind == "nan" else 0
        pixels[:, hole] = settings["nodata"]
    if kind == "alpha":
        top = 255 if dtype == "uint8" else np.iinfo(dtype).max
        pixels = np.concatenate([pixels, np.where(hole, 0, top).astype(dtype)[None]])
    path = folder / f"{seed}_{kind}.tif"
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK="YES"),
        rasterio.open(
            path,
            "w",
            driver="GTiff",
            crs="EPSG:32636",
            transform=place,
            count=len(pixels),
            height=height,
            width=width,
            dtype=dtype,
            tiled=True,
            blockxsize=64,
            blockysize=64,
            **settings,
        ) as dataset,
    ):
        colours = [ColorInterp.gray] if bands == 1 else [ColorInterp.red, ColorInterp.green, ColorInterp.blue]
        dataset.colorinterp = [*colours, *[ColorInterp.alpha] * (kind == "alpha")]
        dataset.write(pixels)
        if kind == "mask":
            dataset.write_mask(~hole)
    return str(path)


def read_all(plan: Plan) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Grid of a plan as its reader gives it, block by block: rgb and validity."""
    # one stretch for all, so that only the pixels can differ
    load = LoadOptions(scale=(0.0, 255.0), collar="off")
    sources = prepare_scenes(plan.scenes, load, offsets=plan.offsets, windows=plan.scene_windows)
    reader = CogReader(sources, plan.grid, options=load)
    rgb = np.zeros((*plan.grid.window.shape, 3), dtype=np.uint8)
    valid = np.zeros(plan.grid.window.shape, dtype=np.bool_)
    for block in plan.blocks():
        image = reader.read(block)
        assert not image.unreadable
        place = block.read.slices_in(plan.grid.window)
        rgb[place], valid[place] = image.rgb, image.valid
    reader.close()
    return rgb, valid


def aoi_within(grid: RunGrid, cut: tuple[float, float, float, float]) -> Aoi:
    """The box between two shares of the grid's width and two of its height, and a pixel more."""
    cols = np.sort(cut[:2]) * grid.width + (0, 1)
    rows = np.sort(cut[2:])[::-1] * grid.height + (1, 0)
    x, y = Affine(*grid.transform) @ (cols, rows)
    bounds = transform_bounds(grid.crs_wkt, "EPSG:4326", x[0], y[0], x[1], y[1])
    return Aoi(geometry=shapely.box(*bounds), source="a box")


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10**6),
    kind=st.sampled_from(KINDS),
    bands=st.sampled_from([1, 3]),
    crs=st.sampled_from([(None, 0.7), ("EPSG:32637", 0.5), ("EPSG:3857", 0.9), ("EPSG:4326", 5e-6)]),
    turn=st.sampled_from([0.0, 25.0, 180.0]),
    other=st.booleans(),
    cut=st.tuples(*[st.floats(0.05, 0.45), st.floats(0.55, 0.95)] * 2),
)
def test_no_cut_and_no_other_scene_changes_a_pixel(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    kind: str,
    bands: int,
    crs: tuple[str | None, float],
    turn: float,
    other: bool,
    cut: tuple[float, float, float, float],
) -> None:
    """A part of the region in other tiles, beside another scene that moves the grid's origin: equal to the
    bit, validity too.
    """
    folder = tmp_path_factory.mktemp("scenes")
    path = write_scene(folder, seed, kind, bands, CORNER @ Affine.rotation(turn))
    options = SourceOptions(hrefs=(path,), bands=(1, 1, 1) if bands == 1 else None)
    choice = GridOptions(tile_px=1500, halo_px=64, crs=crs[0], resolution=crs[1])
    whole = plan_tiles(None, open_scenes(options), choice)
    rgb, valid = read_all(whole)
    assert valid.any()
    aoi = None
    hrefs = (path,)
    if other:
        far = Affine(0.5, 0, CORNER.c - 833.37, 0, -0.5, CORNER.f + 901.11)
        hrefs = (path, write_scene(folder, seed + 1, kind, bands, far))
    else:
        aoi = aoi_within(whole.grid, cut)
    other_choice = replace(choice, tile_px=160, halo_px=5, block_tiles=3)
    part = plan_tiles(aoi, open_scenes(replace(options, hrefs=hrefs)), other_choice)
    part_rgb, part_valid = read_all(part)
    col, row = ~Affine(*whole.grid.transform) @ (part.grid.transform[2], part.grid.transform[5])
    place = Window(
        row0=round(row),
        col0=round(col),
        row1=round(row) + part.grid.height,
        col1=round(col) + part.grid.width,
    )
    common = place.intersect(whole.grid.window)
    assert common is not None
    mine = common.slices_in(whole.grid.window)
    theirs = common.slices_in(place)
    np.testing.assert_array_equal(part_valid[theirs], valid[mine])
    np.testing.assert_array_equal(part_rgb[theirs], rgb[mine])
