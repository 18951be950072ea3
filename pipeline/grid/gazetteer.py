"""Areas of interest by name, from a file that the user has: districts, parks, concessions.

1. Names are looked for in the columns whose own name begins with `name`, or is one of `_NAMES`. Their values
   may be texts, or hold texts by language, as in Overture's divisions.
2. A place is written as `NAME` or `NAME, MORE, ...`. NAME must be a whole name, which may have commas itself:
   the longest that is known counts. Every MORE must be a whole value of some column of the same row.
   Capitals, accents and blanks at the ends do not matter.
3. Exactly one feature must be left. Else the message lists what there is, and what tells it apart.

No service is asked, and nothing is guessed.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import InputError
from pipeline.files.vector_file import POLYGONS, Features, read_features
from pipeline.grid.aoi import Aoi, area_lonlat

_NAMES = frozenset({"label", "title", "shapename", "admin", "place", "district", "region"})
_WHAT = "the gazetteer"
_LISTED = 5
"""How many features are listed when several have a name."""


def find_place(place: str, path: str | Path) -> Aoi:
    """Find the area of a place in a vector file. `place`: as step 2 says.

    Raises InputError when the file is missing, unreadable, holds other geometries than polygons or no column
    of names, when no feature or several have the name, and when its area is not sound.
    """
    features = read_features(Path(path), what=_WHAT, kinds=POLYGONS)
    parts = [plain_name(part) for part in place.split(",")]
    if not all(parts):
        raise InputError(
            "--place must be a name", came=repr(place), remedy="write a name, without a comma at its end"
        )
    rows = [dict(row) for row in features.attributes]
    columns = sorted({column for row in rows for column in row if _is_name(column)})
    if not columns:
        has = ", ".join(sorted({column for row in rows for column in row})) or "none"
        raise InputError(
            f"{_WHAT} must have a column of names (name, NAME_1, label, ...)",
            came=f"the columns {has} in {path}",
            remedy="rename the column that holds the names to `name`",
        )
    names = [set(_plain_texts([row.get(column) for column in columns])) for row in rows]
    named, more = _named(parts, names)
    found = [number for number in named if set(more) <= set(_plain_texts(rows[number].values()))]
    if not found:
        raise _unknown(place, path, [rows[number] for number in named], names)
    if len(found) > 1:
        raise _several(place, path, [rows[number] for number in found])
    return Aoi(geometry=area_lonlat(_one_of(features, found[0]), _WHAT), source=f"{place} in {path}")


def plain_name(text: str) -> str:
    """A name without capitals, accents, and blanks at its ends."""
    bare = "".join(mark for mark in unicodedata.normalize("NFKD", text) if not unicodedata.combining(mark))
    return " ".join(bare.casefold().split())


def _named(parts: Sequence[str], names: Sequence[set[str]]) -> tuple[list[int], Sequence[str]]:
    """Rows with the longest name that the parts begin with, and the parts after it."""
    for length in range(len(parts), 0, -1):
        name = ", ".join(parts[:length])
        if named := [number for number, own in enumerate(names) if name in own]:
            return named, parts[length:]
    return [], ()


def _is_name(column: str) -> bool:
    return column.casefold().startswith("name") or column.casefold() in _NAMES


def _plain_texts(values: Any) -> Iterator[str]:
    """All texts in values, also those inside lists and mappings; numbers as they are written."""
    for value in values:
        if isinstance(value, str):
            yield plain_name(value)
        elif isinstance(value, bool | int):
            yield str(value)
        elif isinstance(value, Mapping):
            yield from _plain_texts(value.values())
        elif isinstance(value, Sequence) and not isinstance(value, bytes):
            yield from _plain_texts(value)


def _one_of(features: Features, number: int) -> Features:
    here = slice(number, number + 1)
    return replace(
        features,
        geometries=features.geometries[here],
        ids=features.ids[here],
        places=np.asarray(features.places[here]),
        attributes=list(features.attributes[here]),
    )


def _unknown(
    place: str, path: str | Path, named: list[dict[str, Any]], names: Sequence[set[str]]
) -> InputError:
    if named:
        return InputError(
            "--place must be one area of --gazetteer, with every word after a comma in its row",
            came=f"{place!r}; of that name {path} has {_listed(named)}",
            remedy="write one of these values after the comma",
        )
    every = sorted({name for own in names for name in own})
    near = difflib.get_close_matches(plain_name(place.split(",")[0]), every, n=3)
    remedy = f"did you mean {' or '.join(map(repr, near))}?" if near else "look up how it is written there"
    return InputError(
        "--place must be a name in --gazetteer", came=f"{place!r}, not in {path}", remedy=remedy
    )


def _several(place: str, path: str | Path, rows: list[dict[str, Any]]) -> InputError:
    return InputError(
        "--place must be one area of --gazetteer",
        came=f"{place!r}, of which {path} has {len(rows)}: {_listed(rows)}",
        remedy=f'add a value that only one of them has, as in --place "{place.split(",")[0]}, VALUE"',
    )


def _listed(rows: list[dict[str, Any]]) -> str:
    """Rows by the values in which they differ."""
    columns = [one for one in rows[0] if len(rows) == 1 or len({repr(row.get(one)) for row in rows}) > 1]
    texts = [
        " | ".join(str(row[column]) for column in columns if isinstance(row.get(column), str | int))[:120]
        for row in rows[:_LISTED]
    ]
    more = f"; and {len(rows) - _LISTED} more" if len(rows) > _LISTED else ""
    return "; ".join(f"({text})" for text in texts) + more
