"""Which three bands of a raster are red, green and blue.

The first of these that says so decides:

1. --bands: 1-based numbers, names of band descriptions or colour interpretations, or colours;
2. band descriptions, as providers write them (`band_names`);
3. the file's colour interpretation;
4. the order, in a file with three or four bands without names.

More than four bands without names are refused. So are names of which none says which band is red, because a
guess would look like an answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import PurePath

from pipeline.errors import InputError
from pipeline.grid.band_files import band_option
from pipeline.grid.band_names import Colour, band_colours, colour_of, is_name

RGB_NAMES: tuple[Colour, Colour, Colour] = ("red", "green", "blue")
_REMEDY = "choose three with --bands, e.g. --bands 3,2,1 or --bands 1,1,1 for a single grey band"
_COLOUR_WORDS = {"nir": "near infrared", "r": "red", "g": "green", "b": "blue"}
"""Other words for a colour in --bands."""

_MAX_LISTED = 30
"""Bands that a message lists."""


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

    @property
    def names(self) -> tuple[str | None, ...]:
        """Descriptions with a meaning; None for `Band 3` of the third band and the like."""
        return tuple(
            text.strip() if text and is_name(text, index) else None
            for index, text in enumerate(self.descriptions, start=1)
        )

    def label(self, index: int) -> str:
        """Name of a 1-based band for people: its description, else its colour interpretation."""
        return self.names[index - 1] or self.interpretations[index - 1]

    def __str__(self) -> str:
        shown = [f"{i}={self.label(i)}" for i in range(1, min(self.count, _MAX_LISTED) + 1)]
        return ", ".join(shown) + (
            f" and {self.count - _MAX_LISTED} more" if self.count > _MAX_LISTED else ""
        )


@dataclass(frozen=True, kw_only=True)
class ChosenBands:
    """Three bands, and who said that they are red, green and blue."""

    indexes: tuple[int, int, int]
    """1-based."""
    names: tuple[str, str, str]
    """For people, as `BandTable.label` gives them."""
    chosen_by: str
    """`--bands`, `descriptions`, `colour interpretation` or `order`."""

    def __str__(self) -> str:
        named = [
            f"{colour} = {index}" + (f" ({name})" if name not in ("undefined", colour) else "")
            for colour, index, name in zip(RGB_NAMES, self.indexes, self.names, strict=True)
        ]
        others = [
            colour_of(name) not in (None, colour) for colour, name in zip(RGB_NAMES, self.names, strict=True)
        ]
        return f"{', '.join(named)}, by {self.chosen_by}{' (not true colours)' if any(others) else ''}"


def choose_rgb_bands(
    table: BandTable, wanted: Sequence[str | int] | None, *, files: Sequence[str] = ()
) -> ChosenBands:
    """Choose red, green and blue.

    `wanted`: what --bands says. `files`: all sources of the run, for the remedy of single-band files. Raises
    InputError when the file does not have them or does not say which they are.
    """
    if "palette" in table.interpretations:
        raise InputError(
            f"{table.href} must have red, green and blue bands",
            came="a colour table",
            remedy="expand it with `gdal_translate -expand rgb in.tif out.tif`",
        )
    if wanted is None:
        chosen, chosen_by = _own_bands(table, files)
    else:
        chosen = _wanted_bands(table, wanted)
        chosen_by = "--bands"
    require_one_type(table, chosen)
    red, green, blue = (table.label(index) for index in chosen)
    return ChosenBands(indexes=chosen, names=(red, green, blue), chosen_by=chosen_by)


def require_one_type(table: BandTable, chosen: tuple[int, int, int]) -> None:
    """Check that the three bands hold real numbers of one data type. Raises InputError."""
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
        hits = [
            i
            for i, own in enumerate(band_colours(table.names), start=1)
            if own == _COLOUR_WORDS.get(text, text)
        ]
        if len(hits) == 1:
            return hits[0]
    raise InputError(
        f"--bands must name bands of {table.href}", came=f"{name!r}; the file has {table}", remedy=_REMEDY
    )


def _own_bands(table: BandTable, files: Sequence[str]) -> tuple[tuple[int, int, int], str]:
    """The bands that the file calls red, green and blue (it may be stored B, G, R, A), else the first three.

    RGB and RGB + near-infrared images without names are stored in that order. More unnamed bands are a
    multispectral stack in an unknown order.
    """
    for colours, who in (
        (band_colours(table.names), "descriptions"),
        (table.interpretations, "colour interpretation"),
    ):
        if all(tuple(colours).count(colour) == 1 for colour in RGB_NAMES):
            red, green, blue = (colours.index(colour) + 1 for colour in RGB_NAMES)
            return (red, green, blue), who
    usable = [index for index, name in enumerate(table.interpretations, start=1) if name != "alpha"]
    if len(usable) < 3:
        raise InputError(
            f"{table.href} must have at least three bands when --bands is not given",
            came=str(table),
            remedy=_stack_remedy(files) if table.count == 1 else _REMEDY,
        )
    if len(usable) > 4 or any(table.names[index - 1] for index in usable):
        raise InputError(
            f"{table.href} does not say which of its {table.count} bands are red, green and blue",
            came=str(table),
            remedy=_REMEDY,
        )
    return (usable[0], usable[1], usable[2]), "order"


def _stack_remedy(files: Sequence[str]) -> str:
    """What to do with single-band files, which are often the bands of one scene.

    The files of the run are put in order where their names tell their colours.
    """
    bands = separate_bands(files) or ("red.tif", "green.tif", "blue.tif")
    return (
        "if red, green and blue of one scene are separate files, name them as one source: "
        f"{band_option(bands)}; or give --bands 1,1,1 for a single grey band"
    )


def separate_bands(files: Sequence[str]) -> tuple[str, str, str] | None:
    """Find red, green and blue among files of one band each, by their names: `T33_B04.tif`, `x_red.tif`.

    The word in which the names differ tells the band. None: the names do not say, or there is more than one
    scene among them.
    """
    stems = [PurePath(file.partition("?")[0]).stem for file in files]
    words = zip_longest(*(re.split(r"[-_]", stem)[::-1] for stem in stems), fillvalue="")
    differing = [own for own in words if len(set(own)) > 1]
    colours = band_colours(differing[0]) if len(differing) == 1 else ()
    if any(colours.count(colour) != 1 for colour in RGB_NAMES):
        return None
    red, green, blue = (files[colours.index(colour)] for colour in RGB_NAMES)
    return red, green, blue
