from __future__ import annotations

import pytest

from pipeline.errors import InputError
from pipeline.grid.bands import BandTable, choose_rgb_bands, separate_bands


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
        (table("gray undefined undefined undefined", "B02 B03 B04 B08"), None, (3, 2, 1)),
        (table("red green blue", "B02 B03 B04"), None, (3, 2, 1)),
        (table("red green blue", "NIR red green"), None, (1, 2, 3)),
        (table("gray undefined undefined", "Band_1 Band_2 Band_3"), None, (1, 2, 3)),
        (table("gray " + "undefined " * 4, "B02 B03 B04 B08 SCL"), ("red", "g", "blue"), (3, 2, 1)),
        (table("gray " + "undefined " * 3, "blue green red nir"), ("NIR", "red", "green"), (4, 3, 2)),
    ],
)
def test_chooses(
    bands: BandTable, wanted: tuple[str | int, ...] | None, expected: tuple[int, int, int]
) -> None:
    assert choose_rgb_bands(bands, wanted).indexes == expected


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
        (table("palette"), (1, 1, 1), "expand rgb"),
        (table("gray undefined undefined", "VV VH ratio"), None, "1=VV, 2=VH, 3=ratio"),
        (table("gray undefined undefined undefined", "B1 B2 B3 B4"), None, "does not say which"),
        (table("undefined " * 200), None, "and 170 more"),
    ],
)
def test_refuses(bands: BandTable, wanted: tuple[str | int, ...] | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        choose_rgb_bands(bands, wanted)


@pytest.mark.parametrize(
    ("bands", "wanted", "said"),
    [
        (table("red green blue"), None, "red = 1, green = 2, blue = 3, by colour interpretation"),
        (
            table("gray undefined undefined", "B04 B03 B02"),
            None,
            "red = 1 (B04), green = 2 (B03), blue = 3 (B02), by descriptions",
        ),
        (table("undefined undefined undefined"), None, "red = 1, green = 2, blue = 3, by order"),
        (table("gray"), (1, 1, 1), "red = 1 (gray), green = 1 (gray), blue = 1 (gray), by --bands"),
        (
            table("red green blue", "NIR red green"),
            None,
            "red = 1 (NIR), green = 2 (red), blue = 3 (green), by colour interpretation (not true colours)",
        ),
    ],
)
def test_who_said_which_bands_they_are(
    bands: BandTable, wanted: tuple[str | int, ...] | None, said: str
) -> None:
    assert str(choose_rgb_bands(bands, wanted)) == said


def test_bands_in_files_of_their_own_are_to_be_named_as_one_source() -> None:
    """The remedy is an option, in the order red, green, blue, and quoted for the shell."""
    files = ["in/T33 B02.tif", "in/T33 B03.tif", "in/T33 B04.tif"]
    with pytest.raises(InputError, match=r"--source red=red.tif,green=green.tif,blue=blue.tif;"):
        choose_rgb_bands(table("gray"), None, files=files)
    files = [name.replace("T33 B", "my T33_B") for name in files]
    with pytest.raises(InputError, match=r"--source 'red=in/my T33_B04.tif,green=in/my T33_B03.tif,blue=in"):
        choose_rgb_bands(table("gray"), None, files=files)


@pytest.mark.parametrize(
    ("files", "order"),
    [
        (["a_blue.tif", "a_green.tif", "a_nir.tif", "a_red.tif"], (3, 1, 0)),
        (["LC08_SR_B2.TIF", "LC08_SR_B3.TIF", "LC08_SR_B4.TIF"], (2, 1, 0)),
        (["https://x/B04.tif?token=1", "https://x/B03.tif?token=1", "https://x/B02.tif?token=1"], (0, 1, 2)),
        (["east.tif", "west.tif"], None),
        (["a_B04.tif", "b_B04.tif", "a_B03.tif", "a_B02.tif"], None),
        (["L8-B4-Elkton-VA.tiff", "L8-B3-Elkton-VA.tiff", "L8-B2-Elkton-VA.tiff"], (0, 1, 2)),
        (["a_red_2020.tif", "a_green_2021.tif", "a_blue_2022.tif"], None),
        (["one.tif"], None),
        ([], None),
    ],
)
def test_names_of_files_tell_bands(files: list[str], order: tuple[int, int, int] | None) -> None:
    assert separate_bands(files) == (order and tuple(files[index] for index in order))
