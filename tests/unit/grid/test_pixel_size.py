"""Units of pixels. Oracle: lengths of units that one can look up."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from pyproj import CRS, Geod, Proj, Transformer

from pipeline.errors import InputError
from pipeline.grid.lattice_choice import choose_lattice
from pipeline.grid.pixel_size import check_pixel_size, ground_side_m, pixel_side, pixel_text, unit_of
from pipeline.schema.imagery import Scene

MakeScene = Callable[..., Scene]


def wkt(text: str) -> str:
    return str(CRS.from_user_input(text).to_wkt())


@pytest.mark.parametrize(
    ("crs", "name", "metres"),
    [
        ("EPSG:32633", "metre", 1.0),
        ("EPSG:4326", "degree", 111319.49),
        ("EPSG:2263", "US survey foot", 1200 / 3937),
        ("EPSG:2222", "foot", 0.3048),
        ("EPSG:4807", "grad", 2 * math.pi * 6378249.2 / 400),
        ("IAU_2015:49900", "degree", 2 * math.pi * 3396190 / 360),
        ('LOCAL_CS["site",UNIT["metre",1]]', "metre", 1.0),
    ],
)
def test_units_have_their_length(crs: str, name: str, metres: float) -> None:
    found, length = unit_of(wkt(crs))
    assert (found, length) == (name, pytest.approx(metres, rel=1e-6))


def test_a_pixel_says_its_unit_and_metres() -> None:
    assert pixel_text(0.3, wkt("EPSG:32633")) == "0.3 m"
    assert pixel_text(0.5, wkt("EPSG:4326")) == "0.5 degree (55.7 km)"
    assert pixel_text(1.0, wkt("EPSG:2263")) == "1 US survey foot (0.305 m)"
    assert pixel_side((0.0, 2.0, 5.0, -0.5, 0.0, 9.0)) == 1.0


@pytest.mark.parametrize(
    ("crs", "size", "wanted", "words"),
    [
        ("EPSG:4326", 1e-5, 0.5, ["(degree)", "55.7 km", "1e-05 degree (1.11 m)", "0.5 m would be 4.49e-06"]),
        ("EPSG:32633", 0.5, 4.5e-6, ["(metre)", "4.5e-06 m", "0.5 m"]),
        ("EPSG:2263", 1.0, 3000.0, ["(US survey foot)", "914 m", "3000 m would be 9.84e+03"]),
        ("EPSG:32633", 0.5, 500.0, ["the largest scene measures 200 m"]),
    ],
)
def test_a_pixel_of_another_unit_is_refused_with_the_unit(
    make_scene: MakeScene, crs: str, size: float, wanted: float, words: list[str]
) -> None:
    """400 x 300 px, so that 500 times the pixel is more than the scene."""
    scene = make_scene(crs=crs, transform=(size, 0.0, 13.0, 0.0, -size, 50.0))
    with pytest.raises(InputError) as refused:
        choose_lattice([scene], None, wanted)
    for word in words:
        assert word in str(refused.value)


@pytest.mark.parametrize("factor", [0.02, 0.3, 1.0, 3.28, 60.0, 399.0])
def test_what_can_be_meant_is_taken(make_scene: MakeScene, factor: float) -> None:
    scene = make_scene()
    assert choose_lattice([scene], None, 0.5 * factor).grid.transform[0] == 0.5 * factor


@pytest.mark.parametrize("wanted", [0.0, -1.0, math.nan, math.inf])
def test_no_number_is_refused_with_the_unit(wanted: float) -> None:
    with pytest.raises(InputError, match="foot"):
        check_pixel_size(wanted, 1.0, wkt("EPSG:2263"), extent=100.0)


def test_a_scene_of_one_pixel_keeps_its_own() -> None:
    check_pixel_size(10.0, 10.0, wkt("EPSG:32633"), extent=10.0)
    with pytest.raises(InputError, match="largest scene"):
        check_pixel_size(10.1, 10.0, wkt("EPSG:32633"), extent=10.0)


@pytest.mark.parametrize("latitude", [0.0, 30.0, 60.0, 80.0])
def test_a_unit_on_the_ground_is_what_the_projection_s_scale_says(latitude: float) -> None:
    """Scale factors of PROJ, and of a degree its parallel and its meridian."""
    for crs in ("EPSG:3857", "EPSG:32633", "EPSG:3035"):
        x, y = Transformer.from_crs("OGC:CRS84", crs, always_xy=True).transform(13.0, latitude)
        areal = Proj(crs).get_factors(13.0, latitude).areal_scale
        if crs == "EPSG:3857":  # a sphere's formulas on an ellipsoid: PROJ's factors are the sphere's
            areal = 1 / math.cos(math.radians(latitude)) ** 2
        assert ground_side_m(wkt(crs), x, y) == pytest.approx(areal**-0.5, rel=4e-3)
    degree = ground_side_m(wkt("EPSG:4326"), 13.0, latitude)
    geod = Geod(ellps="WGS84")
    along = geod.inv(13.0, latitude, 13.001, latitude)[2] * 1000
    up = geod.inv(13.0, latitude - 0.0005, 13.0, latitude + 0.0005)[2] * 1000
    assert degree == pytest.approx(math.sqrt(along * up), rel=1e-4)


def test_ground_beside_the_body_has_no_length() -> None:
    with pytest.raises(ValueError, match="no ground"):
        ground_side_m(wkt("ESRI:102038"), 1e9, 1e9)  # an orthographic view of the Earth
