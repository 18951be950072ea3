"""Rasters whose coordinates their CRS can hold, and rasters whose it cannot."""

from __future__ import annotations

import pytest
from affine import Affine
from pyproj import CRS

from pipeline.errors import InputError
from pipeline.grid.extent import require_possible


def check(code: str, x: float, y: float, pixel: float, side: int = 300) -> None:
    wkt = CRS.from_user_input(code).to_wkt()
    require_possible("s.tif", wkt, Affine(pixel, 0, x, 0, -pixel, y), side, side)


@pytest.mark.parametrize(
    ("code", "x", "y", "pixel"),
    [
        ("EPSG:32633", 500_000, 5_500_000, 1),
        ("EPSG:32633", 500_000, 5_500_000, 0.01),
        ("EPSG:4326", 179.998, -16.998, 1e-5),
        ("EPSG:4326", 359.9, 10, 1e-3),
        ("EPSG:4326", -0.3, 90.3, 0.6),  # a global grid, centred on the pole
        ("EPSG:4807", 170, 95, 0.01),  # gradians
        ("EPSG:3857", 20_037_308, 1_000_000, 1),
        ("EPSG:2232", 3_000_000, 1_700_000, 0.5),  # feet
        ("EPSG:3031", -1e6, 1e6, 1000),
    ],
)
def test_possible_places_pass(code: str, x: float, y: float, pixel: float) -> None:
    check(code, x, y, pixel)


def test_a_picture_of_the_disc_has_corners_in_space() -> None:
    check("+proj=geos +h=35785831 +lon_0=0 +ellps=WGS84", -5_500_000, 5_500_000, 11_000_000 / 300)


@pytest.mark.parametrize(
    ("code", "x", "y", "pixel", "said"),
    [
        ("EPSG:4326", 500_000, 5_500_000, 1, "latitudes from -90 to 90.*x from 500000 to 500300.*metres"),
        ("EPSG:4326", 49.65, 150.0, 1e-5, "latitudes from -90 to 90.*latitude before longitude"),
        ("EPSG:4326", 600, 10, 1e-5, "longitudes from -180 to 180"),
        ("EPSG:32633", 15.0, 49.65, 1e-5, "look like degrees"),
        ("EPSG:3857", -122.4, 37.8, 5e-6, "look like degrees"),
        (
            "+proj=geos +h=35785831 +lon_0=0 +ellps=WGS84",
            9_000_000,
            9_000_000,
            1000,
            "none of it has a place on Earth",
        ),
    ],
)
def test_impossible_places_are_refused_with_both_extents(
    code: str, x: float, y: float, pixel: float, said: str
) -> None:
    with pytest.raises(InputError, match=said) as caught:
        check(code, x, y, pixel)
    assert "s.tif" in str(caught.value)
    assert "gdal_translate -a_srs" in str(caught.value)


def test_a_projection_without_an_inverse_is_let_through() -> None:
    """PROJ cannot say where its places are."""
    check("+proj=airy +ellps=WGS84", 0, 0, 1000)
