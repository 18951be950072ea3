"""Polygons as a truth: what is read, repaired and refused, and which pixels they get; grids and polygons are
made by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
import zarr

from pipeline.errors import InputError
from pipeline.evaluate.finished_run.run_ledger import LedgerEntry
from pipeline.evaluate.finished_run.score_polygons import (
    PolygonTruth,
    choose_query,
    read_polygons,
    truth_lines,
)
from pipeline.schema.tile_answers import Reason, TileStatus
from pipeline.schema.tiling import RunGrid, TileLattice

UTM = rasterio.CRS.from_epsg(32633).to_wkt()
GRID = RunGrid(crs_wkt=UTM, transform=(0.5, 0.0, 500000.0, 0.0, -0.5, 5500000.0), width=40, height=30)
"""30 rows x 40 columns of 0.5 m."""


def box(row0: float, col0: float, row1: float, col1: float) -> Any:
    """A rectangle of the grid's pixels, in its CRS."""
    return shapely.box(500000 + 0.5 * col0, 5500000 - 0.5 * row1, 500000 + 0.5 * col1, 5500000 - 0.5 * row0)


def write(path: Path, shapes: Sequence[Any], crs: Any = 32633, *, to: Any = None) -> Path:
    """A vector file of the suffix's format; `to`: reprojected before it is written."""
    frame = gpd.GeoDataFrame({"name": [str(i) for i in range(len(shapes))]}, geometry=list(shapes), crs=crs)
    frame = frame if to is None else frame.to_crs(to)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_file(path)
    return path


def looked(
    tmp_path: Path, shapes: Sequence[Any], mask: Any = None, **options: Any
) -> tuple[PolygonTruth, Any]:
    """The truth of one tile that covers the grid, and what it says of it; `mask`: (30, 40) of masks.zarr."""
    group = zarr.open_group(str(tmp_path / "run" / "masks.zarr"), mode="w")
    array = group.create_array("mask", shape=(1, 30, 40), dtype="uint8", fill_value=255)
    array[0] = np.zeros((30, 40), np.uint8) if mask is None else mask
    polygons = read_polygons(write(tmp_path / "truth.parquet", shapes), GRID, **options)
    truth = PolygonTruth(tmp_path / "run", polygons)
    lattice = TileLattice(grid=GRID, tile_px=64, halo_px=8, block_tiles=1)
    return truth, truth.look(
        lattice.tile(0, 0), 0, entry=LedgerEntry(status=TileStatus.FOUND, reason=Reason.NONE)
    )


@pytest.mark.parametrize("name", ["truth.geojson", "truth.parquet", "truth.gpkg"])
@pytest.mark.parametrize("to", [None, 4326, 3857])
def test_polygons_of_any_format_and_crs_land_on_their_pixels(
    tmp_path: Path, name: str, to: int | None
) -> None:
    polygons = read_polygons(
        write(tmp_path / name, [box(2, 3, 7, 9), box(20, 30, 40, 50), box(100, 100, 110, 110)], to=to), GRID
    )
    assert polygons.crs == f"EPSG:{to or 32633}"
    assert (polygons.n_rows, polygons.n_in_region, polygons.n_repaired, polygons.n_unplaced) == (3, 2, 0, 0)
    bounds = shapely.bounds(
        polygons.geometries
    )  # columns and rows; GeoJSON in degrees keeps seven digits, a centimetre
    np.testing.assert_allclose(bounds, [[3, 2, 9, 7], [30, 20, 50, 40]], atol=0.05)


def test_a_long_edge_in_degrees_bends_as_it_should(tmp_path: Path) -> None:
    """On 101 km at 49.6 N a parallel lies up to 235 m south of the straight line of this projection: L**2 /
    (8 R) * tan(latitude).
    """
    grid = RunGrid(
        crs_wkt=UTM, transform=(20.0, 0.0, 500000.0, 0.0, -20.0, 5500000.0), width=5000, height=400
    )
    west = 15.0
    east = 16.4
    north = 49.6
    (shape,) = read_polygons(
        write(tmp_path / "t.gpkg", [shapely.box(west, 49.5, east, north)], 4326), grid
    ).geometries
    middle = gpd.GeoSeries(
        [shapely.Point((west + east) / 2, north + step) for step in (-1e-5, 1e-3)], crs=4326
    ).to_crs(32633)
    below, above = (shapely.Point((point.x - 500000) / 20, (5500000 - point.y) / 20) for point in middle)
    assert shape.contains(below)
    assert not shape.contains(above), "111 m north of the parallel, and still south of the straight line"


def test_pixels_belong_by_their_centres_to_the_later_polygon(tmp_path: Path) -> None:
    truth, tile = looked(tmp_path, [box(2, 2, 12, 12), box(2, 4, 12, 14), box(20.4, 20.4, 22.6, 22.6)])
    expected = np.zeros((30, 40), dtype=np.int64)
    expected[2:12, 2:12] = 1
    expected[2:12, 4:14] = 2
    expected[20:23, 20:23] = 3
    np.testing.assert_array_equal(tile.seen, expected)
    assert tile.counted.all()
    assert truth.overlapping_px == 80


def test_only_judged_pixels_of_the_aoi_count(tmp_path: Path) -> None:
    """Rows from 20 on hold no imagery; the AOI ends inside column 9, and a touched pixel is inside, as in a
    run.
    """
    mask = np.zeros((30, 40), np.uint8)
    mask[20:] = 255
    mask[2:4, 2:4] = 1
    wkb = shapely.to_wkb(shapely.union(box(0, 0, 30, 9.3), box(0, 0, 2, 40)))
    truth, tile = looked(tmp_path, [box(2, 2, 12, 12), box(10, 11, 22, 20)], mask, aoi_wkb=wkb)
    expected = np.zeros((30, 40), bool)
    expected[:20, :10] = True
    expected[:2] = True
    np.testing.assert_array_equal(tile.counted, expected)
    assert set(np.unique(tile.seen)) == {0, 1, 2}, "emptiness is asked of all that the tile sees"
    assert (truth.polygons.n_in_region, len(truth.polygons.geometries)) == (1, 2)
    assert (truth.n_counted, truth.n_left_out, truth.overlapping_px) == (1, 0, 0)


def test_a_tile_that_was_not_looked_at_or_has_no_judged_pixel_is_left_out(tmp_path: Path) -> None:
    truth, tile = looked(tmp_path, [box(2, 2, 12, 12)], np.full((30, 40), 255, np.uint8))
    assert tile is None
    whole = TileLattice(grid=GRID, tile_px=64, halo_px=8, block_tiles=1).tile(0, 0)
    for status, reason in ((TileStatus.EMPTY, Reason.NODATA), (TileStatus.FAILED, Reason.TIMEOUT)):
        assert truth.look(whole, 0, entry=LedgerEntry(status=status, reason=reason)) is None
    assert (truth.n_counted, truth.n_left_out) == (0, 3)


def test_invalid_polygons_are_repaired_and_counted(tmp_path: Path) -> None:
    """A bow-tie keeps its two triangles: half of 100 pixels, but for those on the diagonals, whose centres
    lie on an edge.
    """
    (x0, y0, x1, y1) = box(10, 10, 20, 20).bounds
    tie = shapely.Polygon([(x0, y0), (x1, y1), (x1, y0), (x0, y1)])
    truth, tile = looked(tmp_path, [tie, box(0, 0, 4, 4)])
    assert truth.polygons.n_repaired == 1
    rows, cols = np.nonzero(tile.seen == 1)
    up = np.abs(rows + 0.5 - 15)
    across = np.abs(cols + 0.5 - 15)
    assert 40 <= len(rows) <= 60
    assert (up <= across).all(), "left and right of the crossing"


def test_a_row_of_several_parts_is_one_object(tmp_path: Path) -> None:
    _, tile = looked(tmp_path, [shapely.MultiPolygon([box(0, 0, 4, 4), box(10, 10, 14, 14)])])
    assert np.unique(tile.seen).tolist() == [0, 1]
    assert int((tile.seen == 1).sum()) == 32


def test_a_polygon_beyond_the_projection_is_left_out_and_counted(tmp_path: Path) -> None:
    """No CRS has a place for latitude 95; the polygons of the region stay."""
    grid = RunGrid(
        crs_wkt=rasterio.CRS.from_epsg(3857).to_wkt(),
        transform=(1.0, 0.0, 0.0, 0.0, -1.0, 100.0),
        width=100,
        height=100,
    )
    shapes = [shapely.box(0, 0, 0.0005, 0.0005), shapely.box(0, 80, 10, 95)]
    polygons = read_polygons(write(tmp_path / "t.gpkg", shapes, 4326), grid)
    assert (polygons.n_rows, polygons.n_unplaced, polygons.n_in_region) == (2, 1, 1)


def test_a_grid_without_crs_takes_polygons_in_pixels(tmp_path: Path) -> None:
    grid = RunGrid(crs_wkt=None, transform=(0.5, 0.0, 7.0, 0.0, -0.5, 9.0), width=40, height=30)
    with pytest.warns(UserWarning, match="crs"):
        path = write(tmp_path / "t.gpkg", [shapely.box(3, 2, 9, 7)], None)
    (shape,) = read_polygons(path, grid).geometries
    assert shape.bounds == (3, 2, 9, 7)
    with pytest.raises(InputError, match="without CRS must have none either"):
        read_polygons(write(tmp_path / "t.geojson", [shapely.box(3, 2, 9, 7)], 4326), grid)


def test_bad_files_are_refused_with_a_remedy(tmp_path: Path) -> None:
    def refused(path: Path, text: str) -> None:
        with pytest.raises(InputError, match=text) as caught:
            read_polygons(path, GRID)
        assert "To fix: " in str(caught.value)

    refused(tmp_path / "missing.geojson", "which is neither")
    (tmp_path / "broken.geojson").write_text("{")
    refused(tmp_path / "broken.geojson", "the truth must be a readable vector file")
    refused(write(tmp_path / "nothing.parquet", []), "at least one geometry")
    (tmp_path / "empty.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    refused(tmp_path / "empty.geojson", "To fix: ")
    refused(
        write(tmp_path / "points.parquet", [box(0, 0, 4, 4), shapely.Point(500001, 5499999)]),
        "Point as geometry 1 in",
    )
    refused(
        write(tmp_path / "lines.parquet", [shapely.LineString([(500001, 5499999), (500002, 5499998)])]),
        "LineString as geometry 0 in",
    )
    refused(write(tmp_path / "bare.parquet", [box(0, 0, 4, 4)], None), "needs a CRS")
    refused(
        write(tmp_path / "far.parquet", [box(200, 100, 210, 110)]), "columns 100 to 110 and rows 200 to 210"
    )
    refused(write(tmp_path / "touching.parquet", [box(0, -5, 4, 0)]), "in the run's region")
    refused(write(tmp_path / "metres.geojson", [box(0, 0, 4, 4)], 4326), "in the run's region")


def test_polygons_beside_the_aoi_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", [box(2, 20, 6, 30)])
    assert read_polygons(path, GRID).n_in_region == 1
    with pytest.raises(InputError, match="in the run's region"):
        read_polygons(path, GRID, shapely.to_wkb(box(0, 0, 30, 10)))


def test_the_query_is_chosen_by_number_text_or_for_want_of_others() -> None:
    queries = ("pools", "storage tanks", "1")
    assert choose_query(("pools",), None) == 0
    assert [choose_query(queries, text) for text in ("0", " storage tanks ", "2")] == [0, 1, 2]
    assert choose_query(queries, "1") == 2, "a text goes before a number"
    for wrong in (None, "3", "lakes", "-1"):
        with pytest.raises(InputError, match=r"0 = 'pools', 1 = 'storage tanks', 2 = '1'"):
            choose_query(queries, wrong)


def test_the_lines_above_the_table_name_file_crs_and_counts() -> None:
    numbers = {
        "polygons": 12,
        "polygons_in_region": 9,
        "objects": 8,
        "repaired": 2,
        "unplaced": 1,
        "overlapping_px": 77,
    }
    text = truth_lines(
        {
            "file": "b.gpkg",
            "crs": "EPSG:4326",
            "run_crs": "EPSG:32633",
            **numbers,
            "tiles_counted": 5,
            "tiles_left_out": 3,
        }
    )
    for part in (
        "b.gpkg: 12 polygons in EPSG:4326, 9 in the region",
        "EPSG:32633",
        "8 with",
        "2 repaired",
        "77 px",
        "5 counted, 3 left out",
    ):
        assert part in text
