"""Instances as vector tiles in one PMTiles file: a map of millions of objects that a browser can open.

1. `zooms_of` chooses the levels: the deepest shows pixels of the run, the first shows all of it on one tile.
2. `write_vector_tiles` streams the rows to GDAL, which cuts, simplifies and packs them (PMTiles 3, Mapbox
   Vector Tile 2.1). On coarse levels small objects vanish from tiles that would have too many.

Tiles are for looking at. Their outlines are rounded to 1/4096 of a tile, and objects are cut at tile borders.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyogrio
import pyproj
import shapely

from pipeline.errors import InputError
from pipeline.files.store.stored_files import row_count
from pipeline.schema.tiling import RunGrid
from pipeline.write.export.feature_rows import FeatureSource, InstanceFeatures, InstanceRules
from pipeline.write.georeference import to_crs_coordinates
from pipeline.write.ground_area import geodesic_area_m2
from pipeline.write.instances import part_files
from pipeline.write.run_dir import RunDir

ATTRIBUTES = ("instance_id", "query", "label", "score", "area_m2", "rationale")
"""Columns that go with an object."""

_EQUATOR_M = 40_075_016.686
"""Circumference of the Earth: the side of the only tile of level 0."""

_UNITS = 4096
"""Steps of coordinates per side of a tile."""

_DEEPEST = 22

_MOST_LEVELS = 10
"""Levels that are made at most: each costs time and room, and readers enlarge the last one."""


def zooms_of(grid: RunGrid) -> tuple[int, int]:
    """First and deepest level of a run grid.

    At the deepest a step of a tile's coordinates is at most a quarter of a pixel. Raises InputError without a
    CRS of the Earth.
    """
    row = (grid.height - 1) // 2
    col = (grid.width - 1) // 2
    (pixel_m2,) = geodesic_area_m2([shapely.box(col, row, col + 1, row + 1)], grid)
    if grid.crs_wkt is None or not pixel_m2 > 0.0:
        raise InputError(
            "vector tiles need a place on the Earth",
            came="a run without a CRS",
            remedy="leave --pmtiles out; --gpkg keeps pixel coordinates",
        )
    (middle,) = to_crs_coordinates([shapely.Point(grid.width / 2, grid.height / 2)], grid)
    to_lonlat = pyproj.Transformer.from_crs(grid.crs_wkt, 4326, always_xy=True)
    _, latitude = to_lonlat.transform(middle.x, middle.y)
    around_m = _EQUATOR_M * math.cos(math.radians(latitude))
    pixel_m = math.sqrt(pixel_m2)
    deepest = math.ceil(math.log2(around_m / (_UNITS * pixel_m / 4)))
    whole = math.floor(math.log2(around_m / (pixel_m * max(grid.width, grid.height))))
    deepest = min(max(deepest, 0), _DEEPEST)
    return max(min(whole, deepest), deepest - _MOST_LEVELS + 1, 0), deepest


def write_vector_tiles(
    path: Path,
    run_dir: RunDir,
    *,
    grid: RunGrid,
    zooms: tuple[int, int],
    query_indexes: Sequence[int],
    rules: InstanceRules,
    progress: Callable[[float], None],
) -> None:
    """Write the layer `instances` with ATTRIBUTES and the objects that `rules` keep, in their outlines.

    zooms: first and deepest level. `progress` is told the share that is done. Without an object there is no
    file: the format has no place for nothing.
    """
    features = InstanceFeatures(grid, rules)

    def plain(rows: pa.RecordBatch) -> pa.RecordBatch:
        more = ["edited"] * (rules.edited is not None) + ["confidence"] * bool(rules.confidence)
        return features.objects(rows).select([*ATTRIBUTES, *more, "geometry"])

    files = part_files(run_dir)
    total = max(sum(row_count(file) for file in files), 1)
    last = features.added if rules.edited is not None else None
    if not _any(FeatureSource(files, query_indexes, plain, lambda _: None, last)):
        progress(1.0)
        return
    source = FeatureSource(files, query_indexes, plain, lambda n_rows: progress(0.5 * n_rows / total), last)
    pyogrio.write_arrow(
        source.features(),
        path,
        layer="instances",
        driver="PMTiles",
        geometry_name="geometry",
        geometry_type="MultiPolygon",
        crs=grid.crs_wkt,
        dataset_options={
            "MINZOOM": zooms[0],
            "MAXZOOM": zooms[1],
            "NAME": tiles_name(run_dir),
            "DESCRIPTION": rules.text,
        },
    )
    progress(1.0)


def tiles_name(run_dir: RunDir) -> str:
    """What the file is called in itself: it names the result, so that a page shows no other's objects."""
    return f"objects of result {run_dir.snapshot}" if run_dir.snapshot else "objects of a run"


def _any(source: FeatureSource) -> bool:
    """Whether there is a feature; reads no more than it takes to know."""
    return any(batch.num_rows > 0 for batch in source.features())
