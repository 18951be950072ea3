"""How stored numbers become 8-bit grey levels: once per scene, never per tile.

A stretch per tile would put a step at every seam, and one that is fitted to a scene shows the same ground in
two greys. The first of these that is possible holds:

1. `scale` = (lo, hi) is linear, the same for all bands and scenes (`fit_stretch`).
2. `reflectance_stretch` maps one range of reflectance, whatever the scene shows. The same ground has the same
   grey in neighbouring scenes, on other dates and from other providers.
3. uint8 stays as it is (`fit_stretch`).
4. Otherwise the limits are percentiles of the pixels in which a band has a value, per band (`fit_stretch`).

`apply_stretch` maps lo to 0 and hi to 255, linear between, clipped outside. `grey_doubt` says when the result
is nearly black or nearly white.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.files.value_tags import formula
from pipeline.schema.imagery import Reflectance

StretchKind = Literal["identity", "linear", "reflectance", "percentile"]
Limits = tuple[float, float, float]
"""Stored values of red, green and blue."""

REFLECTANCE_RANGE = (0.0, 0.3)
"""Reflectance that becomes black and white, as in Google's example of true colour from Sentinel-2 (0 to 3000
of 10000; developers.google.com/earth-engine/apidocs/map-addlayer). Most land is darker than 0.3 in red, green
and blue. Clouds, snow and some sand and roofs are lighter, and become white.
"""

SNAP = 6
"""Decimals to which a place in the range of reflectance, 0..1, is rounded before it becomes a grey level. One
reflectance then has one level, although scales, offsets and float32 leave errors of rounding: these are below
0.0000001.
"""

FILL_SHARE = 0.005
"""Share of a band that one value at the end of its range must have to be suspected of being fill."""

NEARLY = 24
"""Grey levels from black or white that look like it: about a tenth of the range."""

NEARLY_SHARE = 0.9
"""Share of the pixels that must be so for the whole scene to count as nearly black or white."""


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """The mapping of one scene's red, green and blue to 0..255.

    It travels with the plan and into run.json.
    """

    kind: StretchKind
    lo: Limits = (0.0, 0.0, 0.0)
    """Stored value per band that becomes 0."""
    hi: Limits = (255.0, 255.0, 255.0)
    """Stored value per band that becomes 255."""
    meaning: str = ""
    """What these values are, and who says so, for people. Empty: nothing is known of them."""

    def to_dict(self) -> dict[str, object]:
        """Plain values for run.json; `from_dict` reads them back."""
        meaning = {"meaning": self.meaning} if self.meaning else {}
        return {"kind": self.kind, "lo": list(self.lo), "hi": list(self.hi), **meaning}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Stretch:
        lo, hi = (tuple(float(value) for value in record[key]) for key in ("lo", "hi"))
        if record["kind"] not in get_args(StretchKind) or len(lo) != 3 or len(hi) != 3:
            raise InputError(
                "A recorded stretch must have a kind and three limits a side",
                came=f"{record!r:.120}",
                remedy="start a new run",
            )
        return cls(
            kind=record["kind"],
            lo=(lo[0], lo[1], lo[2]),
            hi=(hi[0], hi[1], hi[2]),
            meaning=str(record.get("meaning", "")),
        )


IDENTITY = Stretch(kind="identity")


def check_scale(scale: tuple[float, float]) -> None:
    """Check that a scale is two finite numbers that rise. Raises InputError."""
    lo, hi = scale
    if not (math.isfinite(lo) and math.isfinite(hi) and lo < hi):
        raise InputError(
            "--scale must be two finite numbers lo,hi with lo < hi",
            came=f"{lo},{hi}",
            remedy="e.g. --scale 0,3000",
        )


def check_reflectance_range(limits: tuple[float, float]) -> None:
    """Check that a range of reflectance is two numbers within -1..10 that rise. Raises InputError."""
    lo, hi = limits
    if not -1 <= lo < hi <= 10:
        raise InputError(
            "The range of reflectance that becomes black..white must be two numbers that rise, within -1..10",
            came=f"{lo}, {hi}",
            remedy="0,0.3 is usual; 0,1 for snow and clouds",
        )


def reflectance_stretch(reflectance: Reflectance, limits: tuple[float, float]) -> Stretch:
    """Make the stretch that maps a range of reflectance to 0..255, the same for all bands.

    `limits`: reflectance that becomes 0 and 255. What lies outside is clipped.
    """

    def stored(limit: float) -> Limits:
        # Decimal: 0.1 / 0.0001 is 1000 then, so scenes of several offsets agree to the last bit.
        red, green, blue = (
            float((Decimal(repr(limit)) - Decimal(repr(offset))) / Decimal(repr(scale)))
            for scale, offset in reflectance.coefficients(3)
        )
        return red, green, blue

    how = formula(reflectance.scale, reflectance.offset)
    if reflectance.by_band:
        texts = [formula(*pair) for pair in reflectance.by_band]
        how = ", ".join(
            f"{text} in {name}" for name, text in zip(("red", "green", "blue"), texts, strict=True)
        )
    meaning = f"reflectance {limits[0]:g}..{limits[1]:g} = {how}, by {reflectance.source}"
    return Stretch(kind="reflectance", lo=stored(limits[0]), hi=stored(limits[1]), meaning=meaning)


def fit_stretch(
    samples: Sequence[NDArray[Any]],
    dtype: str,
    *,
    scale: tuple[float, float] | None = None,
    percentiles: tuple[float, float] = (2.0, 98.0),
) -> tuple[Stretch, tuple[str, ...]]:
    """Find the stretch of one scene whose values are only numbers. Returns it, and notes for people.

    `samples`: per band (n,) stored values that are imagery; n may differ. `dtype`: numpy name of their type.
    A scene without any gets its data type's full range. Raises InputError for a scale that does not rise.
    """
    if scale is not None:
        check_scale(scale)
        lo, hi = scale
        return Stretch(kind="linear", lo=(lo, lo, lo), hi=(hi, hi, hi)), ()
    if dtype == "uint8":
        return IDENTITY, ()
    notes: list[str] = []
    found = []
    for name, values in zip(("red", "green", "blue"), samples, strict=True):
        kept, fill = without_fill(values)
        if fill is not None:
            notes.append(
                f"{1 - kept.size / values.size:.1%} of {name} is {fill:g}, far from all other values, and is "
                f"left out of its grey levels. If it means that there is no imagery, give --nodata {fill:g}"
            )
        found.append(_limits(kept, dtype, percentiles))
    if all(values.size == 0 for values in samples):
        notes.append("no imagery was seen in it, so grey levels span its data type; --scale lo,hi sets them")
    (red_lo, red_hi), (green_lo, green_hi), (blue_lo, blue_hi) = found
    stretch = Stretch(kind="percentile", lo=(red_lo, green_lo, blue_lo), hi=(red_hi, green_hi, blue_hi))
    return stretch, tuple(dict.fromkeys(notes))


def _limits(values: NDArray[Any], dtype: str, percentiles: tuple[float, float]) -> tuple[float, float]:
    if values.size == 0:
        info = np.iinfo(dtype) if np.issubdtype(np.dtype(dtype), np.integer) else None
        return (float(info.min), float(info.max)) if info is not None else (0.0, 1.0)
    low, high = (float(cut) for cut in np.percentile(values.astype(np.float64), percentiles))
    return (low, high) if low < high else (low - 1.0, low + 1.0)  # a constant band becomes mid-grey


def without_fill(values: NDArray[Any]) -> tuple[NDArray[Any], float | None]:
    """Leave fill that nobody declared, such as -9999, out of `values` (n,). Returns the rest, and the fill.

    Fill is the smallest or the largest value. It is frequent, and farther from the other values than these
    are from each other. None: there is no such value.
    """
    for end, beyond in ((values.min, np.min), (values.max, np.max)) if values.size else ():
        value = end()
        rest = values[values != value]
        if rest.size == 0 or values.size - rest.size < max(2, FILL_SHARE * values.size):
            continue
        low, high = np.percentile(rest.astype(np.float64), (0.5, 99.5))
        if abs(float(beyond(rest)) - float(value)) > max(high - low, 1.0):
            return rest, float(value)
    return values, None


def grey_doubt(samples: Sequence[NDArray[Any]], stretch: Stretch) -> str:
    """Say whether a scene looks nearly black, nearly white or of one colour. Empty: it does not.

    `samples`: per band (n,) stored values that are imagery.
    """
    if any(values.size == 0 for values in samples):
        return ""
    if all((values == values[0]).all() for values in samples):
        value = samples[0][0]
        hint = (
            f"; if that is no imagery, give --nodata {value:g}" if len({v[0] for v in samples}) == 1 else ""
        )
        return f"all of its pixels have the same colour{hint}"
    levels = np.concatenate(
        [
            _band_levels(values, stretch, band)[:: max(1, values.size // 200_000)]
            for band, values in enumerate(samples)
        ]
    )
    limits = np.percentile(np.concatenate([values[::101] for values in samples]).astype(np.float64), (2, 98))
    remedy = f"(2 % of its values are below {limits[0]:g}, 2 % above {limits[1]:g}); --scale lo,hi changes it"
    if (levels <= NEARLY).mean() >= NEARLY_SHARE:
        return f"it looks nearly black {remedy}"
    if (levels >= 255 - NEARLY).mean() >= NEARLY_SHARE:
        return f"it looks nearly white {remedy}"
    return ""


def apply_stretch(values: NDArray[Any], stretch: Stretch) -> NDArray[np.uint8]:
    """Turn stored values (3, H, W), bands red, green, blue, into grey levels (H, W, 3). NaN becomes 0.

    Integers of at most 16 bits go through a lookup table of the same formula. 8-bit values that stay as they
    are, and lie pixel by pixel in memory already, are returned without a copy.
    """
    if stretch.kind == "identity":
        return np.ascontiguousarray(np.moveaxis(values, 0, -1), dtype=np.uint8)
    rgb = np.empty((*values.shape[1:], 3), dtype=np.uint8)
    for band in range(3):
        rgb[..., band] = _band_levels(values[band], stretch, band)
    return rgb


def _band_levels(values: NDArray[Any], stretch: Stretch, band: int) -> NDArray[np.uint8]:
    if stretch.kind == "identity":
        return values.astype(np.uint8)
    limits = (stretch.lo[band], stretch.hi[band])
    snapped = stretch.kind == "reflectance"
    if values.dtype in (np.uint8, np.uint16, np.int16, np.int8):
        table, base = _table(values.dtype.name, *limits, snapped)
        return table[values.astype(np.int32) - base]
    return grey_levels(values, *limits, snapped=snapped)


def grey_levels(values: NDArray[Any], lo: float, hi: float, *, snapped: bool = False) -> NDArray[np.uint8]:
    """Compute round(255 * (v - lo) / (hi - lo)), clipped to 0..255. NaN becomes 0.

    `snapped`: (v - lo) / (hi - lo) is rounded to `SNAP` decimals first.
    """
    place = (values.astype(np.float64) - lo) / (hi - lo)
    levels = (np.round(place, SNAP) if snapped else place) * 255.0
    levels = np.nan_to_num(levels, nan=0.0, posinf=255.0, neginf=0.0)
    return np.rint(np.clip(levels, 0.0, 255.0)).astype(np.uint8)


@functools.lru_cache(maxsize=256)
def _table(dtype: str, lo: float, hi: float, snapped: bool) -> tuple[NDArray[np.uint8], int]:
    """Grey level of every value of an integer type of at most 16 bits, and the smallest value."""
    info = np.iinfo(dtype)
    return grey_levels(np.arange(info.min, info.max + 1), lo, hi, snapped=snapped), int(info.min)
