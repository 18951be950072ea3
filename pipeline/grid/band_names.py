"""Names that providers give their bands, read as colours.

`colour_of` reads one name: a colour in words (`Red`, `red_edge_1`, `Band 4 - Red`), or the codes of Maxar and
NAIP (`BAND_R`, `N`). `band_colours` reads all names of a file, where numbers help too: `B04` is red for
Sentinel-2 and Landsat 8 and 9, while `B4` of Landsat 4 to 7 is near infrared. Numbers count only where the
list of names leaves no doubt which of them it is.

Sources: the band lists of Sentinel-2 (ESA), Landsat Collection 2 (USGS), PlanetScope and SkySat (Planet),
WorldView and GeoEye (Maxar) and NAIP (USDA).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Literal

Colour = Literal["red", "green", "blue", "near infrared", "other"]
"""What a band shows; `other`: its name says that it is none of these."""

_WORDS: dict[str, Colour] = {"red": "red", "green": "green", "blue": "blue", "nir": "near infrared"}
_CODES: dict[str, Colour] = {
    "r": "red", "g": "green", "b": "blue", "n": "near infrared", "n1": "near infrared", "n2": "near infrared",
    "c": "other", "y": "other", "re": "other", "p": "other", "a": "other",
}  # fmt: skip
"""Maxar writes BAND_C, BAND_B, BAND_G, BAND_Y, BAND_R, BAND_RE, BAND_N, BAND_N2; NAIP writes R, G, B, N."""

_OTHER_WORDS = frozenset((
    "edge", "rededge", "coastal", "aerosol", "yellow", "cirrus", "swir", "tir", "lwir", "mwir", "thermal",
    "pan", "panchromatic", "alpha", "mask", "qa", "scl", "udm", "cloud", "haze", "ndvi", "vv", "vh", "hh",
    "hv", "dem", "elevation", "height", "infra", "infrared", "shortwave", "near",
))  # fmt: skip
"""Words that make a band another one, also beside a colour: `red edge`, `coastal blue`, `near infrared`."""

_NUMBERED = re.compile(r"^(?:sr_|toa_|st_)?b(?:and)?[ _]?(0?)(\d{1,2})(a?)(?=$|[\s,:(\-])", re.IGNORECASE)
"""`B04`, `B8A`, `SR_B4`, `band4`, `B4, central wavelength 665 nm`."""

_COUNTED = re.compile(r"^(?:band|layer|channel)?[ _]?(\d{1,4})$", re.IGNORECASE)
"""`Band 1`, `Band_1`, `1`: what programs write when they know no name."""

_NEW_NUMBERS: dict[str, Colour] = {"2": "blue", "3": "green", "4": "red"}
"""Sentinel-2, and Landsat 8 and 9."""

_OLD_NUMBERS: dict[str, Colour] = {"1": "blue", "2": "green", "3": "red", "4": "near infrared"}
"""Landsat 4 to 7."""


def is_name(text: str | None, index: int) -> bool:
    """Whether a description has a meaning: `Band 3` of the third band (1-based `index`) has none."""
    if text is None or not text.strip():
        return False
    counted = _COUNTED.match(text.strip())
    return counted is None or int(counted[1]) != index


def colour_of(name: str) -> Colour | None:
    """Read one name. None: it does not say what the band shows."""
    numbered = re.findall(r"[a-z]+\d*", name.lower().replace("_", " "))
    numbered = [word for word in numbered if word not in ("band", "i", "ii")]
    words = {word.rstrip("0123456789") for word in numbered}
    if {"near", "infrared"} <= words or "nir" in words:
        return "near infrared"
    if words & _OTHER_WORDS:
        return "other"
    colours = {_WORDS[word] for word in words if word in _WORDS}
    if len(colours) == 1:
        return colours.pop()
    return _CODES.get(numbered[0]) if len(numbered) == 1 else None


def band_colours(names: Sequence[str | None]) -> tuple[Colour | None, ...]:
    """Read the names of all bands of a file, in file order. None: a name does not say what its band shows.

    A name that is a colour alone beats one that has more to it: `green` beats Planet's `green_i`.
    """
    found = [colour_of(name) if name else None for name in names]
    plain = [name.strip().lower() if name else "" for name in names]
    for colour in ("red", "green", "blue"):
        if plain.count(colour) == 1:
            found = [
                "other" if own == colour and word != colour else own
                for own, word in zip(found, plain, strict=True)
            ]
    numbers = _numbers(names)
    table = _table(numbers)
    if table is not None and not {"red", "green", "blue"} & set(found):
        found = [
            own or (table.get(number.lstrip("0"), "other") if number else None)
            for own, number in zip(found, numbers, strict=True)
        ]
    return tuple(found)


def _numbers(names: Sequence[str | None]) -> list[str]:
    """Read the band's number in each name as it is written: `04`, `8a`. Empty: none."""
    matches = [_NUMBERED.match(name.strip()) if name else None for name in names]
    return [f"{match[1]}{match[2]}{match[3].lower()}" if match else "" for match in matches]


def _table(numbers: Sequence[str]) -> dict[str, Colour] | None:
    """Choose what numbers mean. None: the list does not say whose they are.

    Only the new numbering writes `B04` with a zero and has bands 8A and 9 to 12. Bands 2, 3 and 4, or these
    with 8, are what people stack of it. The old one has six reflective bands, 1 to 5 and 7.
    """
    seen = Counter(number.lstrip("0") for number in numbers if number)
    if not seen or max(seen.values()) > 1:
        return None
    have = set(seen)
    padded = any(number.startswith("0") for number in numbers)
    if padded or have & {"8a", "9", "10", "11", "12"} or have in ({"2", "3", "4"}, {"2", "3", "4", "8"}):
        return _NEW_NUMBERS
    if {"1", "2", "3", "4", "5", "6", "7"} <= have:  # Landsat 8 and 9; of older ones 6 is thermal and apart
        return _NEW_NUMBERS
    if have == {"1", "2", "3", "4", "5", "7"}:
        return _OLD_NUMBERS
    return None
