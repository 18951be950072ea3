"""Which objects of two zones are one: the rule of seams between tiles, on ground that both zones judged.

1. Objects are cut to the ground that both judged. What is left of them falls into pieces, as in a seam
   between tiles.
2. Pieces of one zone are paired with those of the other by their common ground. A pair stands when both are
   each other's best, when no whole view speaks against it, and when they overlap enough
   (pipeline.stitch.seams: the same functions, with ground in place of pixels).
3. `match_zones` joins the pairs of all zones by union-find.

Two lattices draw one outline up to half a pixel apart. So whether a pair overlaps enough is asked as if each
piece reached half a pixel further: an object of a few pixels would else have too little in common with
itself. Which pair is best is told by the ground that both really have, because what touches an object would
gain from it too.
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
        pairs, ranked, best = _candidates(a, b)
        if touching:
            good = pairs.take(pairs.overlap_px >= PARTS_OF_PX // 2)
        else:
            scaled = _in_parts(options)
            pairs = pairs.take(best)
            whole = np.zeros(objects.n_objects, dtype=np.bool_)
            whole[objects.object] = objects.whole
            fair = undisputed(ranked.take(best), whole, whole)
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


def _candidates(a: _GroundPieces, b: _GroundPieces) -> tuple[SeamEdges, SeamEdges, NDArray[np.bool_]]:
    """All pairs of pieces with common ground: by how much they agree, by what they really have in common, and
    (n,) which are each other's best.

    Agreement is the mean of what each covers of the other, grown by half a pixel.
    """
    grown_a = shapely.buffer(a.polygons, a.half_px, quad_segs=1, join_style="mitre")
    grown_b = shapely.buffer(b.polygons, b.half_px, quad_segs=1, join_style="mitre")
    left, right = shapely.STRtree(b.polygons).query(grown_a, predicate="intersects")
    order = np.lexsort((right, left))
    left, right = left[order], right[order]
    mine = a.polygons[left]
    theirs = b.polygons[right]
    of_a = shapely.area(shapely.intersection(mine, grown_b[right])) / shapely.area(mine)
    of_b = shapely.area(shapely.intersection(theirs, grown_a[left])) / shapely.area(theirs)
    real = shapely.area(shapely.intersection(mine, theirs))
    real_px = np.sqrt(real / shapely.area(mine) * a.px[left] * real / shapely.area(theirs) * b.px[right])
    grown_px = np.sqrt(of_a * a.px[left] * of_b * b.px[right])
    pairs = _edges_of(a.object[left], b.object[right], grown_px, a.px[left], b.px[right])
    # where nothing is really common, agreement decides
    ranked = _edges_of(
        a.object[left], b.object[right], real_px * PARTS_OF_PX + grown_px, a.px[left], b.px[right]
    )
    ties = (np.arange(len(a.object)), np.arange(len(b.object)))
    return pairs, ranked, mutual_best(left, right, ranked.overlap_px, ties=ties)


def _edges_of(
    object_a: NDArray[np.int64],
    object_b: NDArray[np.int64],
    common_px: NDArray[np.float64],
    a_px: NDArray[np.float64],
    b_px: NDArray[np.float64],
) -> SeamEdges:
    table = np.maximum(np.rint(np.stack([common_px, a_px, b_px]) * PARTS_OF_PX), 1).astype(np.int64)
    return SeamEdges(local_a=object_a, local_b=object_b, overlap_px=table[0], a_px=table[1], b_px=table[2])


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
