"""How large a pixel is: in the unit of its CRS, in metres, and whether a wish for another size can be meant.

A number of metres given for a CRS in degrees, or the other way round, is wrong by a factor of some hundred
thousand. `check_pixel_size` refuses what is that far from the scenes' own pixels and says both in metres.
Metres given for feet are wrong by 3.3 and might be meant, so the plan says the unit (`pixel_text`).
"""

from __future__ import annotations

import functools
import math

from pyproj import CRS, Transformer

from pipeline.errors import InputError
from pipeline.schema.tiling import AffineTuple

MOST_COARSER = 1000.0
"""How many times larger than the scenes' finest pixel a run's may be; 2 cm imagery at 10 m is 500."""

MOST_FINER = 100.0
"""How many times smaller it may be: enlarging further shows nothing new."""

_PROBE_M = 10.0
"""Side of the square on which ground is measured, in metres of the CRS: small, and far above rounding."""


@functools.lru_cache(maxsize=256)
def unit_of(crs_wkt: str) -> tuple[str, float | None]:
    """Find the name of the unit of a CRS's axes, and its length in metres (None: unknown).

    Degrees are measured along the equator of the CRS's own ellipsoid, which need not be the Earth's.
    """
    crs = CRS.from_wkt(crs_wkt)
    axis = crs.axis_info[0] if crs.axis_info else None
    if axis is None or not axis.unit_name or axis.unit_name == "unknown":
        return "unit of the CRS", None
    factor = float(axis.unit_conversion_factor)
    if crs.is_geographic:
        radius = crs.ellipsoid.semi_major_metre if crs.ellipsoid is not None else 6378137.0
        return axis.unit_name, factor * radius
    return axis.unit_name, factor


def pixel_side(transform: AffineTuple) -> float:
    """Geometric mean of a pixel's sides, in units of the CRS."""
    a, b, _, d, e, _ = transform
    return math.sqrt(abs(a * e - b * d))


@functools.lru_cache(maxsize=4096)
def ground_side_m(crs_wkt: str, x: float, y: float) -> float:
    """Measure how long a unit of the CRS is on the ground at (x, y), in metres.

    It is the side of the square that has the ground area of one unit by one unit, on the CRS's own ellipsoid.
    So Web Mercator's metre is half a metre at 60 N. Raises ValueError where the place is not on the body.
    """
    crs = CRS.from_wkt(crs_wkt)
    geodetic = crs.geodetic_crs
    geod = crs.get_geod()
    if geodetic is None or geod is None:
        raise ValueError("a CRS without an ellipsoid has no metres")
    _, metres = unit_of(crs_wkt)
    half = _PROBE_M / 2 / (metres or 1.0)
    move = Transformer.from_crs(crs, geodetic, always_xy=True)
    lon, lat = move.transform(
        [x - half, x + half, x + half, x - half], [y - half, y - half, y + half, y + half]
    )
    degrees = math.degrees(geodetic.axis_info[0].unit_conversion_factor)
    area_m2 = abs(geod.polygon_area_perimeter([v * degrees for v in lon], [v * degrees for v in lat])[0])
    if not (math.isfinite(area_m2) and area_m2 > 0):
        raise ValueError(f"no ground at x {x:g}, y {y:g}")
    return math.sqrt(area_m2) / (2 * half)


def pixel_text(size: float, crs_wkt: str) -> str:
    """Write a pixel's side for people: `0.5 m`, or `1e-05 degree (1.11 m)`."""
    name, metres = unit_of(crs_wkt)
    if metres == 1.0:
        return f"{size:.6g} m"
    if metres is None:
        return f"{size:.6g} {name}"
    return f"{size:.6g} {name} ({_length_text(size * metres)})"


def check_pixel_size(wanted: float, own: float, crs_wkt: str, *, extent: float) -> None:
    """Refuse a pixel that cannot be meant.

    All lengths are in units of the CRS: `wanted` is the side asked for, `own` the side of the scenes' finest
    pixel, and `extent` the longest side of a scene. Raises InputError, which names the unit.
    """
    if not (math.isfinite(wanted) and wanted > 0):
        name, _ = unit_of(crs_wkt)
        raise InputError(
            "--resolution must be a positive number of CRS units per pixel",
            came=str(wanted),
            remedy=f"give the side of a pixel in the CRS's unit ({name}), e.g. {own:.3g}",
        )
    if own / MOST_FINER <= wanted <= own * MOST_COARSER and wanted <= max(extent, own):
        return
    name, metres = unit_of(crs_wkt)
    came = f"{pixel_text(wanted, crs_wkt)}, where the finest scene has {pixel_text(own, crs_wkt)}"
    if wanted > extent:
        came += f" and the largest scene measures {pixel_text(extent, crs_wkt)}"
    remedy = f"give the side of a pixel in the unit {name}, e.g. {own:.3g} for the finest scene's own"
    if metres is not None and metres != 1.0:
        remedy += f"; {wanted:g} m would be {wanted / metres:.3g}"
    raise InputError(
        f"--resolution is in the unit of the run grid's CRS ({name}) and must suit the scenes",
        came=came,
        remedy=f"{remedy}; or choose a CRS with another unit with --crs",
    )


def _length_text(metres: float) -> str:
    return f"{metres / 1000:.3g} km" if metres >= 1000 else f"{metres:.3g} m"
