"""The outline of an object that several zones may have seen: each zone draws on the ground that it owns.

1. `drawn` cuts every object to the ground of its zone and unites the parts. Both parts end at the same line,
   point by point, so that no slit stays along it.
2. An object that one zone alone saw, and saw whole, is kept beyond the line too, as far as no object of the
   other zones lies there. One that it did not see whole ends at the line.
3. An object that one zone alone saw, wholly on ground of others, is dropped: they looked there, and have the
   say.
4. An object that two zones saw, each on the other's ground (it is a pixel wide, or so), keeps the outline of
   the zone that drew more of it.

So the objects of a query never overlap, as they never do within a zone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from pipeline.geo.globe import polygonal
from pipeline.run.zones.zone_match import ZoneObjects, cut_to
from pipeline.run.zones.zone_plan import SNAP_DEG


@dataclass(frozen=True, kw_only=True, eq=False)
class DrawnObjects:
    """What is published of the objects near the seams; arrays (n,), one per outline of `ZoneObjects`."""

    parts: NDArray[np.object_]
    """What each zone draws of its outline. Empty: nothing."""
    beyond: NDArray[np.bool_]
    """It reaches onto ground whose owner did not see it."""


def drawn(objects: ZoneObjects, group: NDArray[np.int64], ground: Sequence[BaseGeometry]) -> DrawnObjects:
    """Draw all objects.

    `group` (m,): as `match_zones` gives it. `ground`: per zone, what it owns, in degrees.
    """
    n = len(objects.polygons)
    own = np.full(n, shapely.MultiPolygon(), dtype=object)
    for zone, land in enumerate(ground):
        rows = np.flatnonzero(objects.zone == zone)
        own[rows] = cut_to(objects.polygons[rows], land)
    parts = own.copy()
    beyond = np.zeros(n, dtype=np.bool_)
    of_row = group[objects.object]
    n_zones = _zones_of_groups(of_row, objects.zone, len(group))
    shown = np.bincount(of_row, weights=~shapely.is_empty(own), minlength=len(group)) > 0
    tree = shapely.STRtree(objects.polygons)
    cut = np.array(
        [part is not shape for part, shape in zip(own, objects.polygons, strict=True)], dtype=np.bool_
    )
    lone = (n_zones[of_row] == 1) & shown[of_row] & objects.whole & cut
    for row in np.flatnonzero(lone).tolist():
        free = _free_beyond(row, objects, own, tree)
        if not free.is_empty:
            parts[row] = polygonal(shapely.union_all([own[row], free], grid_size=SNAP_DEG))
            beyond[row] = True
    for number in np.unique(of_row[(n_zones[of_row] > 1) & ~shown[of_row]]).tolist():
        rows = np.flatnonzero(of_row == number)
        best = int(rows[np.argmax(shapely.area(objects.polygons[rows]))])
        parts[best] = objects.polygons[best]
    return DrawnObjects(parts=parts, beyond=beyond)


def united(parts: Sequence[BaseGeometry]) -> BaseGeometry:
    """Unite the parts of one object, without a slit between them; counter-clockwise shells."""
    return shapely.orient_polygons(
        polygonal(shapely.union_all([part for part in parts if not part.is_empty], grid_size=SNAP_DEG))
    )


def _zones_of_groups(of_row: NDArray[np.int64], zone: NDArray[np.int64], n_groups: int) -> NDArray[np.int64]:
    """(n_groups,) how many zones saw each."""
    pairs = np.unique(np.stack([of_row, zone]), axis=1)
    return np.bincount(pairs[0], minlength=n_groups)


def _free_beyond(
    row: int, objects: ZoneObjects, own: NDArray[np.object_], tree: shapely.STRtree
) -> BaseGeometry:
    """What an outline has beyond its zone's ground, less all that other zones have there.

    Pieces that do not touch what it has on its own ground are left out: they may be slivers that two
    lattices left between outlines.
    """
    outline = objects.polygons[row]
    rest = polygonal(shapely.difference(outline, own[row], grid_size=SNAP_DEG))
    if rest.is_empty:
        return rest
    met = tree.query(outline, predicate="intersects")
    others = objects.polygons[met[objects.zone[met] != objects.zone[row]]]
    if len(others):
        rest = polygonal(shapely.difference(rest, shapely.union_all(others), grid_size=SNAP_DEG))
    joined = [piece for piece in shapely.get_parts(rest) if shapely.intersection(piece, own[row]).length > 0]
    return polygonal(shapely.union_all(joined)) if joined else shapely.MultiPolygon()
