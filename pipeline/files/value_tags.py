"""What the tags of a file say its values mean: GDAL's scale, offset and unit of each band.

Such tags are as common on elevations and temperatures as on reflectance, and programs write 1 and 0 where
they know nothing. So they are taken for reflectance only where they look like it (`is_reflectance`). Whoever
reads the pixels gets them as stored, so a tag counts once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.schema.imagery import Reflectance

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

LARGEST_VALUE = 65535
"""The largest stored value of 16 bits."""

REACH = (0.5, 20.0)
"""Reflectance of that value in products that hold reflectance: 1.6 in Landsat Collection 2, 6.5 in Sentinel-2
and PlanetScope. Radiances, temperatures and elevations lie outside.
"""

MOST_OFFSET = 0.5
"""How far from 0 the reflectance of the stored value 0 may lie."""

NO_UNITS = frozenset(("", "1", "none", "unitless", "reflectance", "unity", "dimensionless", "n/a"))
"""Units, in lower case, that reflectance may have."""


def is_reflectance(scale: float, offset: float, unit: str = "") -> bool:
    """Whether a scale and an offset look like those of reflectance: `REACH`, `MOST_OFFSET`, and no unit."""
    if not (math.isfinite(scale) and math.isfinite(offset) and unit.strip().lower() in NO_UNITS):
        return False
    reach = LARGEST_VALUE * scale + offset
    return REACH[0] <= reach <= REACH[1] and abs(offset) <= MOST_OFFSET


def tagged_reflectance(dataset: DatasetReader, bands: Sequence[int]) -> Reflectance | None:
    """Read what the tags of the 1-based `bands` say, where those of each look like reflectance.

    None: they do not, or the file holds 8-bit pictures.
    """
    if any(dataset.dtypes[band - 1] == "uint8" for band in bands):
        return None
    found = _tags(dataset, bands)
    if not all(is_reflectance(*tags) for tags in found):
        return None
    return Reflectance.joined(
        [Reflectance(scale=scale, offset=offset, source="the file's tags") for scale, offset, _ in found]
    )


def unused_tags(dataset: DatasetReader, bands: Sequence[int], used: Reflectance | None) -> str:
    """Say for people what the tags of `bands` say where `used` is something else. Empty: nothing else."""
    tags = _tags(dataset, bands)
    own = ((1.0, 0.0),) * len(bands) if used is None else used.coefficients(len(bands))
    if all(
        (scale, offset) in ((1.0, 0.0), known) for (scale, offset, _), known in zip(tags, own, strict=True)
    ):
        return ""
    said = dict.fromkeys(tags)
    texts = " and ".join(f"{formula(scale, offset)} {unit}".strip() for scale, offset, unit in said)
    return (
        f"its tags of scale and offset say {texts}, which is not used; --radiometry SCALE,OFFSET says that "
        "values are reflectance"
    )


def formula(scale: float, offset: float) -> str:
    """Write what becomes of a stored value, for people."""
    return f"value * {scale:g} {'-' if offset < 0 else '+'} {abs(offset):g}"


def _tags(dataset: DatasetReader, bands: Sequence[int]) -> list[tuple[float, float, str]]:
    return [
        (float(dataset.scales[band - 1]), float(dataset.offsets[band - 1]), dataset.units[band - 1] or "")
        for band in bands
    ]
