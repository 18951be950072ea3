"""One grid under all zones, and their imagery on it, for the pictures of the report.

The grid is Lambert's azimuthal equal-area projection around the middle of the ground. So pictures look the
same over the antimeridian and at a pole as anywhere else. Its pixels are as fine as those of the finest zone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import shapely
from pyproj import CRS, Transformer

from pipeline.geo.globe import LONLAT_CRS, narrowest_bbox, polygonal
from pipeline.grid.lattice import affine_of, place_scenes
from pipeline.grid.pixel_size import ground_side_m, pixel_side
from pipeline.grid.scene_windows import scene_windows
from pipeline.load.prepare_scenes import SceneSource
from pipeline.run.block_inputs import keys_of_run
from pipeline.run.closing_notes import Notes
from pipeline.run.report_imagery import Imagery, report_imagery
from pipeline.run.zones.zone_objects import ZoneResult
from pipeline.run.zones.zone_plan import SNAP_DEG
from pipeline.schema.tiling import RunGrid
from pipeline.write.plan_table import read_inside
from pipeline.write.zoned.zoned_pictures import ZonedPictures, ZoneTiles

_EDGE_STEPS = 64
"""Pieces into which the longest side of the ground is cut, so that edges can bend."""


@contextmanager
def zoned_pictures(results: Sequence[ZoneResult], notes: Notes) -> Iterator[ZonedPictures]:
    """Open the imagery of all zones on one grid. What cannot be read becomes a note and plain paper."""
    grid = picture_grid(results)
    zones = {
        each.zone.name: ZoneTiles(
            run_dir=each.run_dir,
            lattice=each.info.lattice,
            keys=keys_of_run(each.info, read_inside(each.run_dir.plan, each.info.lattice)),
        )
        for each in results
    }
    there = [each.imagery for each in results if each.imagery is not None]
    placed = notes.attempt("pictures of the imagery", lambda: sources_on(there, grid)) if there else None
    if placed is None:
        yield ZonedPictures(grid=grid, zones=zones)
        return
    with report_imagery(placed, grid, notes, load=there[0].load) as opened:
        overview = opened.overview(notes)
        yield ZonedPictures(grid=grid, zones=zones, overview_rgb=overview, read_rgb=opened.read_rgb)


def picture_grid(results: Sequence[ZoneResult]) -> RunGrid:
    """Lay a grid under the ground that the zones own and look at."""
    looked_at = [
        polygonal(shapely.intersection(each.zone.owned, each.zone.area.geometry)) for each in results
    ]
    ground = shapely.union_all(looked_at, grid_size=SNAP_DEG)
    west, south, east, north = narrowest_bbox(ground)
    across = (east - west) % 360.0
    longitude = (west + across / 2 + 180.0) % 360.0 - 180.0
    crs = CRS.from_proj4(
        f"+proj=laea +lon_0={longitude:.6f} +lat_0={(south + north) / 2:.6f} +datum=WGS84 +units=m"
    )
    move = Transformer.from_crs(LONLAT_CRS, crs, always_xy=True)
    points = shapely.get_coordinates(
        shapely.segmentize(ground, max(across, north - south, 1e-6) / _EDGE_STEPS)
    )
    xy = np.column_stack(move.transform(points[:, 0], points[:, 1]))
    xy = xy[np.isfinite(xy).all(axis=1)]  # the point opposite to the middle has no place
    left, bottom = xy.min(axis=0).tolist()
    right, top = xy.max(axis=0).tolist()
    side = min(_pixel_m(each) for each in results)
    return RunGrid(
        crs_wkt=crs.to_wkt(version="WKT2_2019"),
        transform=(side, 0.0, left, 0.0, -side, top),
        width=max(int(np.ceil((right - left) / side)), 1),
        height=max(int(np.ceil((top - bottom) / side)), 1),
    )


def _pixel_m(result: ZoneResult) -> float:
    """Side of a pixel on the ground in the middle of a zone's grid, in metres."""
    grid = result.info.lattice.grid
    x, y = affine_of(grid.transform) @ (grid.width / 2, grid.height / 2)
    return pixel_side(grid.transform) * ground_side_m(result.zone.crs_wkt, float(x), float(y))


def sources_on(imagery: Sequence[Imagery], grid: RunGrid) -> tuple[SceneSource, ...]:
    """Place the scenes of all zones on another grid, with the grey levels that the models saw."""
    sources = [source for each in imagery for source in each.sources]
    outlines = place_scenes([source.scene for source in sources], grid).outlines
    windows = scene_windows([None] * len(sources), outlines, grid)
    return tuple(
        replace(source, offset_rc=None, window=window)
        for source, window in zip(sources, windows, strict=True)
    )
