"""Outlines of an id raster with fewer vertices, in which neighbours keep their common edges.

1. `polygonise` traces every object along pixel edges, and the background like one object more. Together they
   fill the window.
2. `shapely.coverage_simplify` (GEOS) drops vertices where three in a row enclose little (Visvalingam and
   Whyatt 1993), for both sides of an edge at once. Points at which three faces meet stay, no two edges come
   to cross, and the border of the window stays as it is.
3. The background is dropped.

So windows can be simplified one by one: their pieces fit together at the common border. What is left are
vertices of the pixel outline; none is new.
"""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

from pipeline.stitch.trace import polygonise


def simple_outlines(
    ids: NDArray[np.uint64], origin_rc: tuple[int, int], tolerance_px: float
) -> tuple[NDArray[np.uint64], NDArray[np.object_]]:
    """Trace and simplify the objects of a window.

    ids: (H, W), 0 = background, whose pixel (0, 0) is pixel `origin_rc` (row, column) of the run grid.
    tolerance_px: a vertex goes when the triangle with its neighbours is smaller than the square of this, in
    pixels. 0 keeps the pixel outline. Returns (ids ascending, one Polygon or MultiPolygon each in (x, y)
    pixel edges of the run grid).
    """
    if tolerance_px <= 0.0:
        values, polygons, _ = polygonise(ids, origin_rc)
        return values, polygons
    values, number = np.unique(ids, return_inverse=True)
    faces, polygons, _ = polygonise(number.reshape(ids.shape).astype(np.int64) + 1, origin_rc)
    # every pixel corner becomes a vertex, so that both sides of an edge have the same ones
    dense = shapely.segmentize(polygons, 1.0)
    simple = np.asarray(
        shapely.coverage_simplify(dense, tolerance_px, simplify_boundary=False), dtype=np.object_
    )
    found = values[faces - 1]
    return found[found > 0], simple[found > 0]


def joined(pieces: NDArray[np.object_]) -> shapely.Geometry:
    """Join the pieces of one object, which touch along borders of windows. Vertices on straight lines go."""
    whole = pieces[0] if len(pieces) == 1 else shapely.union_all(pieces)
    return shapely.normalize(shapely.simplify(whole, 0.0))
