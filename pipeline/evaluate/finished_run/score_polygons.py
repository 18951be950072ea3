"""Score a finished run by polygons that a user has: buildings of a map, a cadastre, objects drawn by hand.

1. `choose_query` finds the query of the run that the polygons answer.
2. `read_polygons` reads the vector file, repairs invalid geometry and refuses what cannot be a truth. One row
   is one object.
3. `_in_grid_pixels` brings the polygons to pixel edges of the run grid.
4. `PolygonTruth.look` rasterises those of one tile's read window. A pixel belongs to the polygon that holds
   its centre; where polygons overlap, the later row wins.
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
from pipeline.files.store.store_path import Place
from pipeline.files.vector_file import POLYGONS, read_vector_file
from pipeline.geo.globe import polygonal
from pipeline.grid.lattice import crs_name
from pipeline.prompt.query import check_query
from pipeline.schema.tiling import RunGrid, TileSpec, Window
from pipeline.write.georeference import Geometries, to_pixels
from pipeline.write.ground_area import EDGE_M
from pipeline.write.run_json import RunInfo

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

EARTH_RADIUS_M = 6_378_137.0
"""Equatorial radius of WGS 84, to turn metres into degrees where edges in degrees are split."""


@dataclass(frozen=True, kw_only=True)
class Polygons:
    """The polygons of a vector file on a run grid."""

    path: Path
    crs: str
    """Name of the file's CRS."""
    n_rows: int
    """Polygons in the file; a multi-part polygon counts once."""
    n_repaired: int
    n_unplaced: int
    """Polygons left out because they have no place in the run's CRS."""
    geometries: Geometries
    """Polygons that meet the grid, in its pixel edges, in the order of the file."""
    n_in_region: int
    """Number of `geometries` that share area with the AOI; without an AOI all."""
    aoi_px: shapely.Geometry | None
    """The AOI in pixel edges of the grid. None: the run covers whole scenes."""


class PolygonTruth:
    """`TruthByTile` of the polygons that answer one query. It also counts what it showed."""

    def __init__(self, run_dir: Place, polygons: Polygons) -> None:
        """Open the rasters of a run that passed `require_published`."""
        self.polygons = polygons
        self.n_counted = 0
        self.n_left_out = 0
        """Tiles."""
        self.overlapping_px = 0
        """Counted pixels that lie in more than one polygon."""
        self._index = shapely.STRtree(polygons.geometries)
        self._pixels = RunPixels(run_dir, polygons.aoi_px)

    def look(self, tile: TileSpec, query_index: int, *, entry: LedgerEntry) -> TrueTile | None:
        """Rasterise the polygons of a tile; ids are 1 + their place in `geometries`. None: no pixel counts.

        In a failed tile no pixel counts (a world's truth is stricter here). A tile is truly empty when no
        polygon meets its read window, inside the AOI or outside.
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
        """Say where the truth came from and how much of it was used, JSON-ready."""
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
    run_dir: Place, path: Path, info: RunInfo, query: str | None
) -> tuple[QueryScore, dict[str, object]]:
    """Score one query of a run by the polygons of a file; also returns `PolygonTruth.summary`.

    `query`: text of the query, or its index in run.json, from 0. None: the only query. Raises InputError for
    an unknown query, a run that is not published, and whatever `read_polygons` refuses.
    """
    index = choose_query(info.queries, query)
    require_published(run_dir)
    truth = PolygonTruth(run_dir, read_polygons(path, info.lattice.grid, bytes.fromhex(info.aoi_wkb)))
    score = QueryScore(query=info.queries[index], kind="", class_name=path.name, query_index=index)
    score_tiles(run_dir, info.lattice, [score], truth)
    return score, truth.summary(score, info.lattice.grid)


def choose_query(queries: Sequence[str], query: str | None) -> int:
    """Find the index of the query with this text or index. None: the only query.

    Raises InputError, which lists the queries.
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
    """Read the polygons of a vector file and place them on a run grid.

    `aoi_wkb`: the run's AOI in the grid's CRS, empty for whole scenes. Raises InputError when the file is
    missing, unreadable or without polygons, when it holds other geometry, when it has no CRS (or has one and
    the grid has none), and when no polygon shares area with the run's region.
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
    """Read the polygons of the file. Raises InputError."""
    if not path.is_file():
        remedy = "give a world's folder, or a GeoJSON, GeoPackage or GeoParquet file with polygons"
        raise InputError(
            "--truth must be a world's folder or a file of polygons",
            came=f"{path}, which is neither",
            remedy=remedy,
        )
    return read_vector_file(path, what="the truth", kinds=POLYGONS)


def _in_grid_pixels(frame: GeoDataFrame, path: Path, grid: RunGrid) -> tuple[Geometries, int]:
    """Bring polygons to pixel edges of the grid (x = column, y = row); also count those with no place there.

    Edges longer than EDGE_M are split before reprojection, since straight edges become curved.
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
    """Mark the polygons (n,) that share area, and not only a border, with the region."""
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
    """Rasterise shapes over a window of the grid: (H, W), the shape's value at a pixel's centre, 0 = none.

    `values`: one per shape; None: 1 each. Where shapes overlap, the later one wins, or with `MergeAlg.add`
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
    """Write the summary in two lines, to be printed above the table."""
    return (
        f"truth  {summary['file']}: {summary['polygons']} polygons in {summary['crs']}, "
        f"{summary['polygons_in_region']} in the region of the run (in {summary['run_crs']}), "
        f"{summary['objects']} with counted pixels; {summary['repaired']} repaired, "
        f"{summary['unplaced']} without a place there, "
        f"{summary['overlapping_px']} px in more than one (the later has them)\n"
        f"tiles  {summary['tiles_counted']} counted, "
        f"{summary['tiles_left_out']} left out (failed, without imagery, outside the AOI)"
    )
