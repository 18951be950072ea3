from __future__ import annotations

import pytest

from pipeline.errors import InputError
from pipeline.grid.bands import BandTable, choose_rgb_bands


def table(interpretations: str, descriptions: str = "", dtypes: str = "") -> BandTable:
    kinds = tuple(interpretations.split())
    return BandTable(
        href="x.tif",
        interpretations=kinds,
        descriptions=tuple(name if name != "-" else None for name in descriptions.split())
        or (None,) * len(kinds),
        dtypes=tuple(dtypes.split()) or ("uint8",) * len(kinds),
    )


@pytest.mark.parametrize(
    ("bands", "wanted", "expected"),
    [
        (table("red green blue"), None, (1, 2, 3)),
        (table("blue green red alpha"), None, (3, 2, 1)),
        (table("undefined undefined undefined"), None, (1, 2, 3)),
        (table("gray undefined undefined undefined"), None, (1, 2, 3)),
        (table("gray undefined undefined alpha"), None, (1, 2, 3)),
        (
            table("gray undefined undefined undefined undefined", "Coastal Blue Green Red NIR"),
            None,
            (4, 3, 2),
        ),
        (table("red green blue undefined", "B4 B3 B2 NIR"), ("NIR", 1, "green"), (4, 1, 2)),
        (table("gray"), (1, 1, 1), (1, 1, 1)),
        (table("gray undefined"), ("2", "1", "2"), (2, 1, 2)),
        (table("undefined " * 13, dtypes="uint16 " * 13), (4, 3, 2), (4, 3, 2)),
    ],
)
def test_chooses(
    bands: BandTable, wanted: tuple[str | int, ...] | None, expected: tuple[int, int, int]
) -> None:
    assert choose_rgb_bands(bands, wanted) == expected


@pytest.mark.parametrize(
    ("bands", "wanted", "message"),
    [
        (table("gray"), None, "at least three bands"),
        (table("gray alpha"), None, "at least three bands"),
        (table("gray undefined alpha"), None, "at least three bands"),
        (table("palette"), None, "expand rgb"),
        (table("undefined " * 6), None, "does not say which"),
        (table("red green blue"), (1, 2), "three bands"),
        (table("red green blue"), (0, 1, 2), "'?0'?; the file has 1=red"),
        (table("red green blue"), (1, 2, 4), "4; the file has"),
        (table("red green blue"), ("red", "green", "nir"), "'nir'"),
        (table("red red blue"), ("red", 1, 2), "'red'"),
        (table("red green blue", dtypes="uint8 uint16 uint8"), None, "one data type"),
        (table("gray", dtypes="complex64"), (1, 1, 1), "complex"),
    ],
)
def test_refuses(bands: BandTable, wanted: tuple[str | int, ...] | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        choose_rgb_bands(bands, wanted)
