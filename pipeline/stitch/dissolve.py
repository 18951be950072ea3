"""Stage E: pieces of one object from several blocks -> one geometry.

`shapely.union_all` is exact here, because edges meet at integers only. `simplify(0)` removes vertices left
over on block borders. `normalize` before and after gives byte for byte the polygon that tracing the whole
raster would give.

Area alone cannot tell whether pieces fused. So every pixel edge that two pieces share must be gone from both.
"""

from __future__ import annotations

from collections.abc import Sequence

import shapely


def dissolve(pieces: Sequence[shapely.Geometry], *, area_px: int, shared_px: int) -> shapely.Geometry:
    """Unite pieces into a canonical Polygon or MultiPolygon.

    A coverage union would not do: pieces of neighbouring blocks meet in T-junctions.

    `pieces`: polygons in integer pixel-edge coordinates with disjoint interiors; `area_px`: pixels of the
    object; `shared_px`: pixel edges along which two pieces touch.
    """
    merged = canonical(shapely.union_all(list(pieces)))
    outline = sum(piece.length for piece in pieces) - 2 * shared_px
    assert merged.is_valid, shapely.is_valid_reason(merged)
    assert merged.area == area_px, f"dissolved area {merged.area} is not {area_px}"
    assert merged.length == outline, f"pieces did not fuse: outline {merged.length}, expected {outline}"
    return merged


def canonical(geometry: shapely.Geometry) -> shapely.Geometry:
    """Give the same point set with vertices at corners only, in normal form."""
    return shapely.normalize(shapely.simplify(shapely.normalize(geometry), 0))
