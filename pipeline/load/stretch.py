"""How stored numbers become 8-bit grey levels: once per scene, never per tile.

A stretch per tile would put a step at every seam. So `fit_stretch` looks at the whole scene:

1. `scale` = (lo, hi) is linear, the same for all bands and scenes.
2. uint8 without given limits stays as it is.
3. Otherwise the limits are percentiles per band, of the pixels in which that band has a value.

`apply_stretch` maps lo to 0 and hi to 255, linear between, clipped outside. `grey_doubt` says when the result
is nearly black or nearly white.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError

StretchKind = Literal["identity", "linear", "percentile"]
Limits = tuple[float, float, float]
"""Stored values of red, green and blue."""

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

    def to_dict(self) -> dict[str, object]:
        """Plain values for run.json; `from_dict` reads them back."""
        return {"kind": self.kind, "lo": list(self.lo), "hi": list(self.hi)}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Stretch:
        lo, hi = (tuple(float(value) for value in record[key]) for key in ("lo", "hi"))
        if record["kind"] not in ("identity", "linear", "percentile") or len(lo) != 3 or len(hi) != 3:
            raise InputError(
                "A recorded stretch must have a kind and three limits a side",
                came=f"{record!r:.120}",
                remedy="start a new run",
            )
        return cls(kind=record["kind"], lo=(lo[0], lo[1], lo[2]), hi=(hi[0], hi[1], hi[2]))


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


def fit_stretch(
    samples: Sequence[NDArray[Any]],
    dtype: str,
    *,
    scale: tuple[float, float] | None = None,
    percentiles: tuple[float, float] = (2.0, 98.0),
) -> tuple[Stretch, tuple[str, ...]]:
    """Find the stretch of one scene. Returns it, and notes for people.

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

    Integers of at most 16 bits go through a lookup table of the same formula.
    """
    rgb = np.empty((*values.shape[1:], 3), dtype=np.uint8)
    for band in range(3):
        rgb[..., band] = _band_levels(values[band], stretch, band)
    return rgb


def _band_levels(values: NDArray[Any], stretch: Stretch, band: int) -> NDArray[np.uint8]:
    if stretch.kind == "identity":
        return values.astype(np.uint8)
    if values.dtype in (np.uint8, np.uint16, np.int16, np.int8):
        table, base = _table(values.dtype.name, stretch.lo[band], stretch.hi[band])
        return table[values.astype(np.int32) - base]
    return grey_levels(values, stretch.lo[band], stretch.hi[band])


def grey_levels(values: NDArray[Any], lo: float, hi: float) -> NDArray[np.uint8]:
    """Compute round(255 * (v - lo) / (hi - lo)), clipped to 0..255. NaN becomes 0."""
    scaled = (values.astype(np.float64) - lo) / (hi - lo) * 255.0
    return np.rint(np.clip(np.nan_to_num(scaled, nan=0.0, posinf=255.0, neginf=0.0), 0.0, 255.0)).astype(
        np.uint8
    )


@functools.lru_cache(maxsize=256)
def _table(dtype: str, lo: float, hi: float) -> tuple[NDArray[np.uint8], int]:
    """Grey level of every value of an integer type of at most 16 bits, and the smallest value."""
    info = np.iinfo(dtype)
    return grey_levels(np.arange(info.min, info.max + 1), lo, hi), int(info.min)
