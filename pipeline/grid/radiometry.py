"""What `--radiometry` says: whether, and how, stored values become reflectance.

    auto             what the catalogue's table of collections, else the item, else the file's tags say
    stored           nothing: values are only numbers
    sentinel-2-l2a   (value - 1000) / 10000, as ESA publishes it since processing baseline 04.00
    landsat-c2-l2    value * 0.0000275 - 0.2, as USGS publishes Collection 2
    SCALE,OFFSET     value * SCALE + OFFSET

All but `auto` hold for every scene, whatever it says of itself.
"""

from __future__ import annotations

import math
from typing import Literal

from pipeline.errors import InputError
from pipeline.schema.imagery import Reflectance

Radiometry = Literal["auto", "stored"] | Reflectance
"""What the user asks for: who decides, or the numbers themselves."""

SENTINEL_2_L2A = Reflectance(
    scale=0.0001, offset=-0.1, source="--radiometry sentinel-2-l2a: sentiwiki.copernicus.eu/web/s2-products"
)
LANDSAT_C2_L2 = Reflectance(
    scale=0.0000275,
    offset=-0.2,
    source="--radiometry landsat-c2-l2: "
    "usgs.gov/faqs/how-do-i-use-a-scale-factor-landsat-level-2-science-products",
)

PRESETS = {"sentinel-2-l2a": SENTINEL_2_L2A, "landsat-c2-l2": LANDSAT_C2_L2}


def parse_radiometry(text: str) -> Radiometry:
    """Read what --radiometry says. Raises InputError."""
    name = text.strip().lower()
    if name == "auto":
        return "auto"
    if name == "stored":
        return "stored"
    if name in PRESETS:
        return PRESETS[name]
    try:
        scale, offset = (float(part) for part in name.split(","))
    except ValueError:
        raise _refusal(text) from None
    if not (math.isfinite(scale) and math.isfinite(offset) and scale > 0):
        raise _refusal(text)
    return Reflectance(scale=scale, offset=offset, source="--radiometry")


def _refusal(text: str) -> InputError:
    names = ", ".join(("auto", "stored", *PRESETS))
    return InputError(
        f"--radiometry must be one of {names}, or two finite numbers SCALE,OFFSET with SCALE above 0",
        came=repr(text),
        remedy="e.g. --radiometry 0.0001,-0.1, which makes value * 0.0001 - 0.1 the reflectance",
    )


def decided(radiometry: Radiometry, own: Reflectance | None) -> Reflectance | None:
    """Choose between what the user says and what a scene says of itself."""
    if radiometry == "auto":
        return own
    return None if radiometry == "stored" else radiometry
