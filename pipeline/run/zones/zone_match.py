"""Which objects of two zones are one: the rule of seams between tiles, on ground that both zones judged.

1. Objects are cut to the ground that both judged. What is left of them falls into pieces, as in a seam
   between tiles.
2. Pieces of one zone are paired with those of the other by their common ground. A pair stands when both are
   each other's best, when no whole view speaks against it, and when they overlap enough
   (pipeline.stitch.seams: the same functions, with ground in place of pixels).
3. `match_zones` joins the pairs of all zones by union-find.

Two lattices draw one outline up to half a pixel apart. So pieces are compared as if each reached half a pixel
further: an object of a few pixels would else have too little in common with itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from pipeline.geo.globe import polygonal
from pipeline.run.zones.zone_plan import SNAP_DEG
from pipeline.stitch.seams import SeamEdges, accepted, mutual_best, undisputed
from pipeline.stitch.stitch_options import StitchOptions
from pipeline.stitch.union_find import roots, union_edges

PARTS_OF_PX = 1000
"""Overlaps are whole thousandths of a pixel, so that the rule of seams counts in integers."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ZoneObjects:
    """Outlines of one query near the seams, of all zones; arrays (n,)."""

    polygons: NDArray[np.object_]
    """In degrees, cut at 180, on the grid of `SNAP_DEG`."""
    zone: NDArray[np.int64]
    """Place of the zone."""
    object: NDArray[np.int64]
    """Number of the object, 0..m - 1; the rows of one object share it."""
    whole: NDArray[np.bool_]
    """The zone saw all of it."""
    pixel_deg2: NDArray[np.float64]
    """Area of a pixel of its zone, in square degrees there."""

    @property
    def n_objects(self) -> int:
        return int(self.object.max(initial=-1)) + 1


@dataclass(frozen=True, kw_only=True)
class ZoneMatch:
    """What the seams say."""

    group: NDArray[np.int64]
    """(m,) the smallest object that each object is one with; itself, if with none."""
    n_pairs: int
    """Pairs of pieces that were joined."""
    n_disputed: int
    """Pairs that overlap enough, and were refused because a whole view speaks against them."""


@dataclass(frozen=True, kw_only=True)
class _GroundPieces:
    """Connected pieces of objects on ground that two zones judged; arrays (k,)."""

    polygons: NDArray[np.object_]
    object: NDArray[np.int64]
    px: NDArray[np.float64]
    """Pixels of the object's zone that it covers."""
    half_px: NDArray[np.float64]
    """Half the side of such a pixel, in degrees."""


def match_zones(
    objects: ZoneObjects,
    judged: Sequence[BaseGeometry],
    *,
    options: StitchOptions,
    touching: bool = False,
) -> ZoneMatch:
    """Join the objects that are one. `judged`: per zone, the ground that it judged, in degrees.

    `touching`: join all that have ground in common, as semantic mode does.
    """
    parent = np.arange(objects.n_objects)
    n_pairs = n_disputed = 0
    for one, other in combinations(range(len(judged)), 2):
        both = polygonal(shapely.intersection(judged[one], judged[other], grid_size=SNAP_DEG))
        if both.is_empty:
            continue
        a = _pieces_on(objects, one, both)
        b = _pieces_on(objects, other, both)
        if not len(a.object) or not len(b.object):
            continue
        pairs, best = _candidates(a, b)
        if touching:
            good = pairs.take(pairs.overlap_px >= PARTS_OF_PX // 2)
        else:
            scaled = _in_parts(options)
            pairs = pairs.take(best)
            whole = np.zeros(objects.n_objects, dtype=np.bool_)
            whole[objects.object] = objects.whole
            fair = undisputed(pairs, whole, whole)
            n_disputed += len(accepted(pairs.take(~fair), scaled))
            good = accepted(pairs.take(fair), scaled)
        n_pairs += len(good)
        union_edges(parent, good.local_a, good.local_b)
    return ZoneMatch(group=roots(parent), n_pairs=n_pairs, n_disputed=n_disputed)


def _in_parts(options: StitchOptions) -> StitchOptions:
    return replace(options, min_overlap_px=options.min_overlap_px * PARTS_OF_PX)


def _pieces_on(objects: ZoneObjects, zone: int, ground: BaseGeometry) -> _GroundPieces:
    rows = np.flatnonzero(objects.zone == zone)
    cut = cut_to(objects.polygons[rows], ground)
    parts, owner = shapely.get_parts(cut, return_index=True)
    polygons = shapely.get_type_id(parts) == shapely.GeometryType.POLYGON
    parts = parts[polygons]
    row = rows[owner[polygons]]
    pixel = objects.pixel_deg2[row]
    return _GroundPieces(
        polygons=parts,
        object=objects.object[row],
        px=shapely.area(parts) / pixel,
        half_px=np.sqrt(pixel) / 2,
    )


def _candidates(a: _GroundPieces, b: _GroundPieces) -> tuple[SeamEdges, NDArray[np.bool_]]:
    """All pairs of pieces with common ground, and (n,) which are each other's best.

    The common ground of a pair is the mean of what each covers of the other, grown by half a pixel.
    """
    grown_a = shapely.buffer(a.polygons, a.half_px, quad_segs=1, join_style="mitre")
    grown_b = shapely.buffer(b.polygons, b.half_px, quad_segs=1, join_style="mitre")
    left, right = shapely.STRtree(b.polygons).query(grown_a, predicate="intersects")
    of_a = shapely.area(shapely.intersection(a.polygons[left], grown_b[right])) / shapely.area(
        a.polygons[left]
    )
    of_b = shapely.area(shapely.intersection(b.polygons[right], grown_a[left])) / shapely.area(
        b.polygons[right]
    )
    common = np.sqrt(of_a * a.px[left] * of_b * b.px[right])
    order = np.lexsort((right, left))
    left, right, common = left[order], right[order], common[order]
    table = np.stack([common, a.px[left], b.px[right]]) * PARTS_OF_PX
    px = np.maximum(np.rint(table), 1).astype(np.int64)
    ties = (np.arange(len(a.object)), np.arange(len(b.object)))
    best = mutual_best(left, right, px[0], ties=ties)
    edges = SeamEdges(
        local_a=a.object[left], local_b=b.object[right], overlap_px=px[0], a_px=px[1], b_px=px[2]
    )
    return edges, best


def cut_to(polygons: NDArray[np.object_], ground: BaseGeometry) -> NDArray[np.object_]:
    """Cut polygons (n,) to `ground`; those inside stay as they are, those outside become empty."""
    shapely.prepare(ground)
    out = np.full(len(polygons), shapely.MultiPolygon(), dtype=object)
    inside = shapely.covers(ground, polygons)
    out[inside] = polygons[inside]
    crossing = np.flatnonzero(shapely.intersects(ground, polygons) & ~inside)
    cut = shapely.intersection(polygons[crossing], ground, grid_size=SNAP_DEG)
    for place, shape in zip(crossing.tolist(), cut.tolist(), strict=True):
        out[place] = polygonal(shape)
    return out
