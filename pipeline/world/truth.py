"""The truth of a drawn scene as files: polygons, area of interest and queries.

Polygons come from GDAL's polygoniser (rasterio.features.shapes, 4-connected), so they are independent of the
project's own tracer. They are made in whole pixel-edge coordinates, and the affine is applied last. With
half-metre pixels and a whole-metre origin every vertex is exact in float64.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.world.classes import CLASSES
from pipeline.world.hashing import hash_cell
from pipeline.world.queries import NEVER, QUERIES, Query, QueryKind, queries_of

if TYPE_CHECKING:
    from geopandas import GeoDataFrame
    from shapely.geometry.base import BaseGeometry

CRS = "EPSG:32633"
PIXEL_M = 0.5
"""Ground size of a pixel."""
EASTING_M = 400_000.0
NORTHING_M = 5_800_000.0
"""CRS position of the world's pixel (0, 0), upper-left corner: 52.3 degrees north, 13.5 degrees east."""


def polygons_of(ids: NDArray[np.uint32]) -> tuple[NDArray[np.int64], list[BaseGeometry]]:
    """Trace ids (H, W), 0 = background. Returns the ids, ascending, and their polygons.

    Polygons are in pixel-edge coordinates (x = column, y = row). Every id must be one 4-connected region. The
    polygoniser may return a ring that touches itself in a corner; make_valid turns it into an exterior and
    holes that enclose the same pixels.
    """
    import shapely
    from rasterio.features import shapes

    found: dict[int, BaseGeometry] = {}
    for geometry, value in shapes(ids.view(np.int32), mask=ids != 0, connectivity=4):
        polygon = shapely.geometry.shape(geometry)
        assert int(value) not in found, f"instance {int(value)} is not 4-connected"
        found[int(value)] = polygon if polygon.is_valid else shapely.make_valid(polygon)
    order = sorted(found)
    return np.array(order, np.int64), [found[k] for k in order]


def truth_table(
    ids: NDArray[np.uint32], classes: Mapping[int, str], transform: tuple[float, ...]
) -> GeoDataFrame:
    """Make a table of instance_id (int64), class and geometry in the scene's CRS.

    `transform` is in Affine order (a, b, c, d, e, f).
    """
    import geopandas as gpd
    from shapely.affinity import affine_transform

    order, polygons = polygons_of(ids)
    a, b, c, d, e, f = transform
    placed = [affine_transform(p, (a, b, d, e, c, f)) for p in polygons]
    data = {"instance_id": order, "class": np.array([classes[int(k)] for k in order], dtype=object)}
    return gpd.GeoDataFrame(data, geometry=placed, crs=CRS)


def aoi_feature(bounds: tuple[float, float, float, float]) -> dict[str, object]:
    """Make a GeoJSON FeatureCollection (lon/lat) that covers the CRS rectangle (west, south, east, north).

    A straight line in lon/lat is not straight in the CRS. So the sides are cut into short edges and moved
    outwards by one pixel: then no corner pixel falls out.
    """
    from pyproj import Transformer

    west = bounds[0] - PIXEL_M
    south = bounds[1] - PIXEL_M
    east = bounds[2] + PIXEL_M
    north = bounds[3] + PIXEL_M
    t = np.linspace(0.0, 1.0, 65)[:-1]
    x = np.concatenate(
        [west + (east - west) * t, np.full(64, east), east - (east - west) * t, np.full(64, west)]
    )
    y = np.concatenate(
        [np.full(64, south), south + (north - south) * t, np.full(64, north), north - (north - south) * t]
    )
    lon, lat = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True).transform(x, y)
    ring = [[round(float(u), 9), round(float(v), 9)] for u, v in zip(lon, lat, strict=True)]
    geometry = {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
    return {
        "type": "FeatureCollection",
        "features": [{"type": "Feature", "properties": {"name": "scene"}, "geometry": geometry}],
    }


def _row(query: Query, kind: QueryKind) -> dict[str, str]:
    return {"query": query.query, "class": query.class_name, "kind": kind.value}


def _held_out(class_name: str, kind: QueryKind) -> list[Query]:
    return [q for q in queries_of(class_name) if q.kind is kind and q.held_out]


def scene_queries(seed: int, counts: Mapping[str, int], left_out: frozenset[str]) -> list[dict[str, str]]:
    """Choose queries for one scene, in wordings that training never shows.

    The first three make a demonstration: an implicit query about a class of the scene, an explicit one about
    another class, and one about a class that this world leaves out. Then come the other classes of the scene,
    the classes that it lacks, and things that no world has. The seed chooses the leading class among those
    with at least three instances. `counts`: instances per class in the scene.
    """
    present = [name for name in CLASSES if counts.get(name, 0) > 0]
    lacking = [name for name in CLASSES if counts.get(name, 0) == 0]
    lead = [name for name in present if counts[name] >= 3] or present
    turn = int(hash_cell(np.uint64(seed), 950, 0, 0))
    rows: list[dict[str, str]] = []
    if lead:
        first = lead[turn % len(lead)]
        second = lead[(turn + 1 + turn // 16 % max(len(lead) - 1, 1)) % len(lead)]
        rows.append(_row(_held_out(first, QueryKind.IMPLICIT)[turn % 2], QueryKind.IMPLICIT))
        rows.append(_row(_held_out(second, QueryKind.EXPLICIT)[turn // 2 % 2], QueryKind.EXPLICIT))
    gone = sorted(left_out) or lacking
    if gone:
        rows.append(_row(_held_out(gone[turn % len(gone)], QueryKind.EXPLICIT)[0], QueryKind.ABSENT))
    for name in present:
        rows += [
            _row(q, kind) for kind in (QueryKind.IMPLICIT, QueryKind.EXPLICIT) for q in _held_out(name, kind)
        ]
    for name in lacking:
        rows += [
            _row(q, QueryKind.ABSENT)
            for kind in (QueryKind.EXPLICIT, QueryKind.IMPLICIT)
            for q in _held_out(name, kind)
        ]
    rows += [_row(q, QueryKind.ABSENT) for q in NEVER if q.held_out]
    return list({row["query"]: row for row in rows}.values())


def other_wordings(listed: Iterable[Mapping[str, str]], present: frozenset[str]) -> list[dict[str, str]]:
    """List all wordings that `listed`, the rows of queries.json, lacks. Wordings of training are among them.

    A query about a class that is not `present` in the scene gets the kind absent.
    """
    known = {row["query"] for row in listed}
    return [
        _row(q, q.kind if q.class_name in present else QueryKind.ABSENT)
        for q in QUERIES
        if q.query not in known
    ]
