"""Names of bands. The lists are those that providers publish with their products."""

from __future__ import annotations

import pytest

from pipeline.grid.band_names import band_colours, colour_of, is_name

SENTINEL_2 = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12"]
LANDSAT_8 = [f"SR_B{number}" for number in range(1, 8)]
LANDSAT_5 = ["SR_B1", "SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B7"]
SUPERDOVE = ["coastal_blue", "blue", "green_i", "green", "yellow", "red", "rededge", "nir"]
WORLDVIEW_3 = ["BAND_C", "BAND_B", "BAND_G", "BAND_Y", "BAND_R", "BAND_RE", "BAND_N", "BAND_N2"]
WORLDS = ["Coastal", "Blue", "Green", "Yellow", "Red", "Red Edge", "NIR1", "NIR2"]
GDAL_SENTINEL = [
    "B4, central wavelength 665 nm",
    "B3, central wavelength 560 nm",
    "B2, central wavelength 490 nm",
    "B8, central wavelength 842 nm",
]


@pytest.mark.parametrize(
    ("names", "rgb"),
    [
        (SENTINEL_2, (4, 3, 2)),
        ([name.replace("B0", "B") for name in SENTINEL_2], (4, 3, 2)),
        (GDAL_SENTINEL, (1, 2, 3)),
        (LANDSAT_8, (4, 3, 2)),
        (LANDSAT_5, (3, 2, 1)),
        (SUPERDOVE, (6, 4, 2)),
        (WORLDVIEW_3, (5, 3, 2)),
        (WORLDS, (5, 3, 2)),
        (["R", "G", "B", "N"], (1, 2, 3)),
        (["Red", "Green", "Blue", "NIR"], (1, 2, 3)),
        (["B02", "B03", "B04", "B05"], (3, 2, 1)),
        (["B4", "B3", "B2"], (1, 2, 3)),
        (["Band 2 - Blue", "Band 3 - Green", "Band 4 - Red", "Band 5 - NIR"], (3, 2, 1)),
        (["sr_red", "sr_green", "sr_blue", "sr_nir08", "sr_swir16"], (1, 2, 3)),
        (["Blue (B2)", "Green (B3)", "Red (B4)", "Vegetation red edge 1"], (3, 2, 1)),
    ],
)
def test_lists_of_providers(names: list[str], rgb: tuple[int, int, int]) -> None:
    colours = band_colours(names)
    assert [colours.count(colour) for colour in ("red", "green", "blue")] == [1, 1, 1]
    assert tuple(colours.index(colour) + 1 for colour in ("red", "green", "blue")) == rgb


@pytest.mark.parametrize(
    "names",
    [
        ["B1", "B2", "B3", "B4"],
        ["B3", "B4", "B5", "B6"],
        ["sur_refl_b01", "sur_refl_b02", "sur_refl_b03", "sur_refl_b04"],
        ["B04", "B04", "B03", "B02"],
        ["VV", "VH", "angle"],
        [None, None, None],
        ["nir", "red", "green"],
    ],
)
def test_lists_that_leave_a_doubt_have_no_red_green_and_blue(names: list[str | None]) -> None:
    colours = band_colours(names)
    assert any(colours.count(colour) != 1 for colour in ("red", "green", "blue"))


@pytest.mark.parametrize(
    ("name", "colour"),
    [
        ("RED", "red"),
        ("red_edge_1", "other"),
        ("RedEdge2", "other"),
        ("Near Infrared", "near infrared"),
        ("nir08", "near infrared"),
        ("infra-red", "other"),
        ("Short Wave Infrared 1", "other"),
        ("Coastal Aerosol", "other"),
        ("Alpha", "other"),
        ("ratio", None),
        ("red and blue", None),
        ("", None),
    ],
)
def test_single_names(name: str, colour: str | None) -> None:
    assert colour_of(name) == colour


def test_a_name_that_only_counts_says_nothing() -> None:
    assert not any(is_name(name, 3) for name in (None, "", " ", "Band 3", "band_3", "3", "Layer_3"))
    assert all(is_name(name, 3) for name in ("Band 4", "B3", "nir", "Band 3 - red"))
