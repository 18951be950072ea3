"""Which three bands of a raster are red, green and blue.

The first of these that says so decides:

1. --bands: 1-based numbers, or names of band descriptions or colour interpretations;
2. the file's colour interpretation;
3. band descriptions with these names;
4. the order, in a file with three or four bands.

More unnamed bands are refused: a guess would look like an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import InputError

RGB_NAMES = ("red", "green", "blue")
_REMEDY = "choose three with --bands, e.g. --bands 3,2,1 or --bands 1,1,1 for a single grey band"


@dataclass(frozen=True, kw_only=True)
class BandTable:
    """What a header says about a file's bands, in file order."""

    href: str
    interpretations: tuple[str, ...]
    """GDAL colour interpretation names, lower case."""
    descriptions: tuple[str | None, ...]
    dtypes: tuple[str, ...]

    @property
    def count(self) -> int:
        return len(self.interpretations)

    def __str__(self) -> str:
        names = (self.descriptions[i] or self.interpretations[i] for i in range(self.count))
        return ", ".join(f"{i + 1}={name}" for i, name in enumerate(names))


def choose_rgb_bands(table: BandTable, wanted: Sequence[str | int] | None) -> tuple[int, int, int]:
    """Choose the 1-based indexes of red, green and blue; `wanted` is what --bands says.

    Raises InputError when the file does not have them or does not say which they are.
    """
    chosen = _wanted_bands(table, wanted) if wanted is not None else _own_bands(table)
    kinds = {table.dtypes[index - 1] for index in chosen}
    if len(kinds) > 1:
        raise InputError(
            f"The three bands of {table.href} must have one data type",
            came=", ".join(sorted(kinds)),
            remedy=_REMEDY,
        )
    if next(iter(kinds)).startswith("complex"):
        raise InputError(
            f"The bands of {table.href} must be real numbers",
            came="complex values",
            remedy="convert to amplitude first",
        )
    return chosen


def _wanted_bands(table: BandTable, wanted: Sequence[str | int]) -> tuple[int, int, int]:
    if len(wanted) != 3:
        raise InputError(
            "--bands must name three bands: red, green, blue", came=",".join(map(str, wanted)), remedy=_REMEDY
        )
    red, green, blue = (_one_band(table, name) for name in wanted)
    return red, green, blue


def _one_band(table: BandTable, name: str | int) -> int:
    text = str(name).strip().lower()
    if text.lstrip("-").isdigit():
        index = int(text)
        if 1 <= index <= table.count:
            return index
    else:
        for names in (table.descriptions, table.interpretations):
            hits = [
                index for index, own in enumerate(names, start=1) if own is not None and own.lower() == text
            ]
            if len(hits) == 1:
                return hits[0]
    raise InputError(
        f"--bands must name bands of {table.href}", came=f"{name!r}; the file has {table}", remedy=_REMEDY
    )


def _own_bands(table: BandTable) -> tuple[int, int, int]:
    """The bands that the file calls red, green and blue (it may be stored B, G, R, A), else the first three.

    RGB and RGB + near-infrared images without tags are stored in that order. More unnamed bands are a
    multispectral stack in an unknown order.
    """
    for names in (table.interpretations, table.descriptions):
        lowered = [name.lower() if name else "" for name in names]
        if all(lowered.count(colour) == 1 for colour in RGB_NAMES):
            red, green, blue = (lowered.index(colour) + 1 for colour in RGB_NAMES)
            return red, green, blue
    if "palette" in table.interpretations:
        raise InputError(
            f"{table.href} must have red, green and blue bands",
            came="a colour table",
            remedy="expand it with `gdal_translate -expand rgb in.tif out.tif`",
        )
    usable = [index for index, name in enumerate(table.interpretations, start=1) if name != "alpha"]
    if len(usable) < 3:
        raise InputError(
            f"{table.href} must have at least three bands when --bands is not given",
            came=str(table),
            remedy=_REMEDY,
        )
    if len(usable) > 4:
        raise InputError(
            f"{table.href} does not say which of its {table.count} bands are red, green and blue",
            came=str(table),
            remedy=_REMEDY,
        )
    return usable[0], usable[1], usable[2]
