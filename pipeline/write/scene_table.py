"""scenes.parquet: every scene and item that was found for a run, and why it is looked at or not.

GeoParquet in longitude and latitude, one row per scene: first those of the plan in order of priority, then
those that were left. plan.parquet names the scenes of each tile by the same ids. It is a file of its own,
because its rows are scenes, and those of the plan are tiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyproj
import shapely
from shapely.geometry.base import BaseGeometry

from pipeline.files.hrefs import public_href
from pipeline.files.public_text import public_text
from pipeline.files.store.store_path import Place
from pipeline.geo.globe import LONLAT_CRS
from pipeline.schema.tiling import RunGrid
from pipeline.write.geo_parquet import with_geometry, write_geo_parquet

SCHEMA = pa.schema(
    [
        ("scene_id", pa.string()),
        ("collection", pa.string()),
        ("datetime", pa.string()),
        ("cloud_cover", pa.float64()),
        ("href", pa.string()),
        ("item_href", pa.string()),
        ("taken", pa.bool_()),
        ("order", pa.int32()),
        ("reason", pa.string()),
    ]
)
"""`taken`: it is in the plan, at place `order` of the priority (0 wins). `reason`: why it was left, why
tiles that need it fail, or that only halos need it. `datetime` is RFC 3339; unknown values are null."""

_LONLAT = RunGrid(
    crs_wkt=pyproj.CRS.from_user_input(LONLAT_CRS).to_wkt(),
    transform=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    width=1,
    height=1,
)


@dataclass(frozen=True, kw_only=True)
class SceneRow:
    """One scene that was found."""

    scene_id: str
    """Of an item that was left, the id that the catalogue gives it."""
    collection: str = ""
    datetime: str | None = None
    cloud_cover: float | None = None
    """Per cent."""
    href: str = ""
    item_href: str = ""
    order: int | None = None
    """Place in the run's list of scenes. None: it was left."""
    reason: str = ""
    footprint: BaseGeometry | None = None
    """In longitude and latitude, cut at 180 degrees. None: it is not known, or nowhere on Earth."""


def write_scenes(path: Place, rows: Sequence[SceneRow]) -> int:
    """Write scenes.parquet atomically; returns the number of rows."""
    return write_geo_parquet(path, [scene_table(rows)], schema=SCHEMA, grid=_LONLAT)


def scene_table(rows: Sequence[SceneRow]) -> pa.Table:
    """Make the table: the columns of `SCHEMA`, bbox and geometry. Nothing secret of an href is in it."""
    columns = {
        "scene_id": [row.scene_id for row in rows],
        "collection": [row.collection or None for row in rows],
        "datetime": [row.datetime for row in rows],
        "cloud_cover": [row.cloud_cover for row in rows],
        "href": [public_href(row.href) or None for row in rows],
        "item_href": [public_href(row.item_href) or None for row in rows],
        "taken": [row.order is not None for row in rows],
        "order": [row.order for row in rows],
        "reason": [public_text(row.reason) for row in rows],
    }
    table = pa.table(columns, schema=SCHEMA)
    footprints = np.array([row.footprint for row in rows], dtype=object)
    return with_geometry(table, shapely.orient_polygons(footprints))
