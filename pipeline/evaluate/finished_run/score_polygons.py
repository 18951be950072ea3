"""A finished run against polygons that a user has: buildings of a map, a cadastre, objects drawn by hand.

1. `choose_query` says which query of the run the polygons answer.
2. `read_polygons` reads the vector file, repairs invalid geometry and refuses what cannot be a truth. One row
   is one object.
3. `_in_grid_pixels` brings the polygons to pixel edges of the run grid.
4. `PolygonTruth.look` burns those of one tile's read window. A pixel belongs to the polygon that holds its
   centre; where polygons overlap the later row has it.
5. Only pixels that the run judged count (`RunPixels`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import rasterio.features
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import MergeAlg

from pipeline.errors import InputError
from pipeline.evaluate.finished_run.run_ledger import (
    LedgerEntry,
    RunPixels,
    aoi_in_pixels,
    require_published,
)
from pipeline.evaluate.finished_run.score_tiles import QueryScore, TrueTile, score_tiles
from pipeline.files.vector_file import POLYGONS, read_vector_file
from pipeline.grid.aoi import polygonal
from pipeline.grid.lattice import crs_name
from pipeline.prompt.query import check_query
from pipeline.schema import RunGrid, TileSpec, Window
from pipeline.write.georeference import EDGE_M, Geometries, to_pixels
from pipeline.write.run_json import RunInfo

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

EARTH_RADIUS_M = 6_378_137.0
"""Equatorial radius of WGS 84: metres per radian, to split edges of polygons in degrees."""


@dataclass(frozen=True, kw_only=True)
class Polygons:
    """A vector file on a run grid."""

    path: Path
    crs: str
    """Of the file, by name."""
    n_rows: int
    """Polygons of the file, multi-part ones once."""
    n_repaired: int
    n_unplaced: int
    """Left out because the run's CRS has no place for them."""
    geometries: Geometries
    """Those that meet the grid, in pixel edges of it, in the order of the file."""
    n_in_region: int
    """Of `geometries`, those that share area with the AOI (all of them without one)."""
    aoi_px: shapely.Geometry | None
    """The AOI in pixel edges of the grid. None: the run covers whole scenes."""


class PolygonTruth:
    """`TruthByTile` of one query's polygons; counts what it showed."""

    def __init__(self, run_dir: Path, polygons: Polygons) -> None:
        """Open the run's rasters; `require_published` comes first."""
        self.polygons = polygons
        self.n_counted = 0
        self.n_left_out = 0
        """Tiles."""
        self.overlapping_px = 0
        """Counted pixels that more than one polygon claims."""
        self._index = shapely.STRtree(polygons.geometries)
        self._pixels = RunPixels(run_dir, polygons.aoi_px)

    def look(self, tile: TileSpec, query_index: int, *, entry: LedgerEntry) -> TrueTile | None:
        """The polygons of a tile (ids are 1 + their place in `geometries`) and the pixels that count; None
        when none does.

        In a failed tile none does; a world's truth is stricter there. A tile is truly empty when no polygon
        meets its read window, in the AOI or not.
        """
        core = tile.core
        read = tile.read
        counted = (
            self._pixels.judged(core, query_index) if entry.answered else np.zeros(core.shape, dtype=np.bool_)
        )
        if not counted.any():
            self.n_left_out += 1
            return None
        self.n_counted += 1
        hits = np.sort(self._index.query(shapely.box(read.col0, read.row0, read.col1, read.row1)))
        shapes = self.polygons.geometries[hits]
        seen = _burnt(shapes, read, values=hits + 1)
        if len(hits) > 1:
            claims = _burnt(shapes, core, merge_alg=MergeAlg.add)
            self.overlapping_px += int(((claims > 1) & counted).sum())
        return TrueTile(seen=seen, counted=counted)

    def summary(self, score: QueryScore, grid: RunGrid) -> dict[str, object]:
        """JSON-ready: where the truth came from and how much of it was used."""
        return {
            "file": str(self.polygons.path),
            "crs": self.polygons.crs,
            "run_crs": crs_name(grid.crs_wkt),
            "polygons": self.polygons.n_rows,
            "polygons_in_region": self.polygons.n_in_region,
            "objects": len(score.overlaps.areas()[0]),
            "repaired": self.polygons.n_repaired,
            "unplaced": self.polygons.n_unplaced,
            "overlapping_px": self.overlapping_px,
            "tiles_counted": self.n_counted,
            "tiles_left_out": self.n_left_out,
        }


def score_polygons(
    run_dir: Path, path: Path, info: RunInfo, query: str | None
) -> tuple[QueryScore, dict[str, object]]:
    """Score one query of a run by the polygons of a file; also returns `PolygonTruth.summary`.

    `query`: None for a run with one query; else its text, or its index in run.json, from 0. Raises
    InputError for another query, a run that is not published, and whatever `read_polygons` refuses.
    """
    index = choose_query(info.queries, query)
    require_published(run_dir)
    truth = PolygonTruth(run_dir, read_polygons(path, info.lattice.grid, bytes.fromhex(info.aoi_wkb)))
    score = QueryScore(query=info.queries[index], kind="", class_name=path.name, query_index=index)
    score_tiles(run_dir, info.lattice, [score], truth)
    return score, truth.summary(score, info.lattice.grid)


def choose_query(queries: Sequence[str], query: str | None) -> int:
    """The index of the query that the polygons answer, named by its text or index, or the only one.

    Raises InputError that names them all.
    """
    known = ", ".join(f"{index} = {query!r}" for index, query in enumerate(queries))
    if query is None:
        if len(queries) == 1:
            return 0
        what = "polygons answer one query, and this run has several"
        raise InputError(what, came=known, remedy="name it with --truth-query, by its number or its text")
    text = check_query(query)
    if text in queries:
        return queries.index(text)
    if text.isdecimal() and int(text) < len(queries):
        return int(text)
    raise InputError(
        "--truth-query must be a query of the run, by number or text",
        came=repr(query),
        remedy=f"the run has {known}",
    )


def read_polygons(path: Path, grid: RunGrid, aoi_wkb: bytes = b"") -> Polygons:
    """Polygons of a vector file on a run grid; `aoi_wkb` is the run's AOI in the grid's CRS, empty for whole
    scenes.

    Raises InputError when the file is missing, unreadable or without polygons, holds other geometry, has no
    CRS (or has one, where the grid has none), or when no polygon shares area with the run's region.
    """
    frame = _read(path)
    crs = "no CRS" if frame.crs is None else crs_name(frame.crs.to_wkt())
    shapes = shapely.force_2d(frame.geometry.to_numpy())
    broken = ~shapely.is_valid(shapes)
    shapes[broken] = [polygonal(shape) for shape in shapely.make_valid(shapes[broken])]
    shapes, n_unplaced = _in_grid_pixels(frame.set_geometry(shapes, crs=frame.crs), path, grid)
    whole = shapely.box(0, 0, grid.width, grid.height)
    aoi_px = aoi_in_pixels(aoi_wkb, grid)
    on_grid = shapes[_share_area(shapes, whole)]
    n_in_region = len(on_grid) if aoi_px is None else int(_share_area(on_grid, aoi_px).sum())
    if n_in_region == 0:
        raise _elsewhere(path, crs, shapes, grid)
    return Polygons(
        path=path,
        crs=crs,
        n_rows=len(frame),
        n_repaired=int(broken.sum()),
        n_unplaced=n_unplaced,
        geometries=on_grid,
        n_in_region=n_in_region,
        aoi_px=aoi_px,
    )


def _read(path: Path) -> GeoDataFrame:
    """The polygons of the file. Raises InputError."""
    if not path.is_file():
        remedy = "give a world's folder, or a GeoJSON, GeoPackage or GeoParquet file with polygons"
        raise InputError(
            "--truth must be a world's folder or a file of polygons",
            came=f"{path}, which is neither",
            remedy=remedy,
        )
    return read_vector_file(path, what="the truth", kinds=POLYGONS)


def _in_grid_pixels(frame: GeoDataFrame, path: Path, grid: RunGrid) -> tuple[Geometries, int]:
    """The frame's polygons in pixel edges of the grid (x = column, y = row), and how many had no place in its
    CRS. Edges longer than EDGE_M are split before reprojection, so that they bend as they should.
    """
    from pyproj.exceptions import ProjError

    if frame.crs is None and grid.crs_wkt is not None:
        remedy = (
            "write its CRS into the file, for example with `ogr2ogr -a_srs EPSG:... fixed.gpkg "
            + path.name
            + "`"
        )
        raise InputError("the truth needs a CRS", came=f"{path} has none", remedy=remedy)
    if frame.crs is not None and grid.crs_wkt is None:
        remedy = (
            "give polygons in pixels (x = column, y = row) in a GeoPackage or GeoParquet file without CRS"
        )
        raise InputError(
            "the truth of a run without CRS must have none either",
            came=crs_name(frame.crs.to_wkt()),
            remedy=remedy,
        )
    shapes = frame.geometry.to_numpy()
    if frame.crs is not None and frame.crs != grid.crs_wkt:
        unit_m = frame.crs.axis_info[0].unit_conversion_factor * (
            EARTH_RADIUS_M if frame.crs.is_geographic else 1.0
        )
        try:
            shapes = (
                frame.set_geometry(shapely.segmentize(shapes, EDGE_M / unit_m), crs=frame.crs)
                .to_crs(grid.crs_wkt)
                .geometry.to_numpy()
            )
        except ProjError as error:
            remedy = "reproject the file to the run's CRS"
            raise InputError(
                "the truth must convert to the run's CRS", came=f"{path}: {error}", remedy=remedy
            ) from error
    placed = np.isfinite(shapely.bounds(shapes)).all(axis=1)
    shapes = to_pixels(shapes[placed], grid)
    return np.where(shapely.is_valid(shapes), shapes, shapely.make_valid(shapes)), int((~placed).sum())


def _share_area(shapes: Geometries, region: shapely.Geometry) -> NDArray[np.bool_]:
    """(n,) True where a polygon has more than a border in common with the region."""
    shapely.prepare(region)
    found: NDArray[np.bool_] = shapely.intersects(region, shapes) & ~shapely.touches(region, shapes)
    return found


def _elsewhere(path: Path, crs: str, shapes: Geometries, grid: RunGrid) -> InputError:
    bounds = "nowhere in the run's CRS"
    if len(shapes):
        x0, y0, x1, y1 = shapely.total_bounds(shapes)
        bounds = f"in columns {x0:.0f} to {x1:.0f} and rows {y0:.0f} to {y1:.0f} of the run grid"
    return InputError(
        "at least one polygon of the truth must lie in the run's region",
        came=f"{path} in {crs}, whose polygons lie {bounds}; that has {grid.width} columns and "
        f"{grid.height} rows, the AOI may be less",
        remedy="give polygons of that place, or correct the file's CRS (GeoJSON without one is lon/lat)",
    )


def _burnt(
    shapes: Geometries,
    window: Window,
    *,
    values: NDArray[np.int64] | None = None,
    merge_alg: MergeAlg = MergeAlg.replace,
) -> NDArray[np.int64]:
    """(H, W) over a window of the grid: the value of the shape that holds a pixel's centre, 0 = none.

    `values`: one per shape; None: 1 each. Where shapes overlap the later one wins, or with `MergeAlg.add`
    their values add up.
    """
    if len(shapes) == 0:
        return np.zeros(window.shape, dtype=np.int64)
    pairs = zip(shapes, [1] * len(shapes) if values is None else values.tolist(), strict=True)
    transform = Affine.translation(window.col0, window.row0)
    burnt = rasterio.features.rasterize(
        pairs, out_shape=window.shape, transform=transform, fill=0, dtype="int32", merge_alg=merge_alg
    )
    return np.asarray(burnt, dtype=np.int64)


def truth_lines(summary: Mapping[str, object]) -> str:
    """The summary in two lines, to stand above the table."""
    return (
        f"truth  {summary['file']}: {summary['polygons']} polygons in {summary['crs']}, "
        f"{summary['polygons_in_region']} in the region of the run (in {summary['run_crs']}), "
        f"{summary['objects']} with counted pixels; {summary['repaired']} repaired, "
        f"{summary['unplaced']} without a place there, "
        f"{summary['overlapping_px']} px in more than one (the later has them)\n"
        f"tiles  {summary['tiles_counted']} counted, "
        f"{summary['tiles_left_out']} left out (failed, without imagery, outside the AOI)"
    )
