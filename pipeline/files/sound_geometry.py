"""Which polygons of a user's file can be used, and which are mended first: one rule for every option.

1. A geometry is taken apart into points and polygons.
2. A valid polygon stays as it is.
3. An invalid one is mended (GEOS MakeValid) when that leaves hardly any ground in doubt: a spike, a repeated
   point, a ring that touches itself.
4. Anything else is unsound. Which of the two halves of a bow-tie its author meant, nobody can tell.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import shapely

from pipeline.geo.globe import polygonal

MAX_DOUBT = 1e-3
"""Share of a mended polygon's area that may be in doubt: the area which its rings give as they are drawn, and
the area that it has when mended, must agree to this."""


class UnsoundGeometryError(ValueError):
    """A geometry that cannot be used, with the fault as its text."""


def sound_parts(geometry: shapely.Geometry) -> list[shapely.Geometry]:
    """Take a geometry apart into points and valid polygons, mended where that is clear.

    Raises UnsoundGeometryError with the fault and its place. Parts may overlap.
    """
    parts: list[shapely.Geometry] = []
    for part in _singles(geometry):
        if not np.isfinite(shapely.get_coordinates(part)).all():
            raise UnsoundGeometryError("NaN or infinity as a coordinate")
        parts.extend([part] if part.is_valid else shapely.get_parts(_mended(part)).tolist())
    return parts


def _singles(geometry: shapely.Geometry) -> Iterator[shapely.Geometry]:
    for part in shapely.get_parts(geometry):
        if hasattr(part, "geoms"):
            yield from _singles(part)
        elif not part.is_empty:
            yield part


def _mended(polygon: shapely.Geometry) -> shapely.Geometry:
    """The polygon made valid, as Polygon or MultiPolygon. Raises UnsoundGeometryError."""
    mended = polygonal(shapely.make_valid(polygon, method="structure", keep_collapsed=False))
    if mended.area <= 0 or abs(mended.area - polygon.area) > MAX_DOUBT * mended.area:
        raise UnsoundGeometryError(shapely.is_valid_reason(polygon))
    return mended
