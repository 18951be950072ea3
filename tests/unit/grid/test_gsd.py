"""A ground sampling distance means metres on the ground, whatever the CRS."""

from __future__ import annotations

import pytest
import shapely
from pyproj import CRS, Geod, Transformer

from pipeline.errors import InputError
from pipeline.grid.aoi import aoi_from_bbox
from pipeline.grid.gsd import resolution_of_gsd
from pipeline.grid.tiles import GridOptions, plan_tiles
from pipeline.schema.imagery import Scene

GEOD = Geod(ellps="WGS84")


def scene(crs: str | None, lon: float, lat: float, pixel: float, *, side: int = 400) -> Scene:
    """A scene with a place in the middle, by its header alone."""
    x, y = (0.0, 0.0)
    if crs is not None:
        x, y = Transformer.from_crs("OGC:CRS84", crs, always_xy=True).transform(lon, lat)
    half = side / 2 * pixel
    return Scene(
        scene_id="s",
        href="s.tif",
        crs_wkt=None if crs is None else CRS.from_user_input(crs).to_wkt(),
        transform=(pixel, 0.0, x - half, 0.0, -pixel, y + half),
        width=side,
        height=side,
        count=3,
        dtype="uint8",
        rgb_bands=(1, 2, 3),
        nodata=None,
    )


def ground_m2(crs: str, x: float, y: float, side: float) -> float:
    """Geodesic area of a square of the CRS."""
    move = Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)
    box = shapely.box(x - side / 2, y - side / 2, x + side / 2, y + side / 2)
    lon, lat = move.transform(*zip(*box.exterior.coords, strict=True))
    return abs(GEOD.polygon_area_perimeter(lon, lat)[0])


@pytest.mark.parametrize(
    ("crs", "lat", "pixel"),
    [
        ("EPSG:3857", 60.0, 0.5),
        ("EPSG:4326", 60.0, 5e-6),
        ("EPSG:2263", 40.7, 1.0),
        ("EPSG:32633", 48.0, 0.3),
        ("EPSG:3413", 75.0, 15.0),
    ],
)
def test_a_pixel_has_the_ground_that_was_asked_for(crs: str, lat: float, pixel: float) -> None:
    lon = -73.9 if crs == "EPSG:2263" else 13.0
    here = scene(crs, lon, lat, pixel)
    side = resolution_of_gsd([here], None, 7.5, bounds_lonlat=None)
    x, y = Transformer.from_crs("OGC:CRS84", crs, always_xy=True).transform(lon, lat)
    assert ground_m2(crs, x, y, side) == pytest.approx(7.5**2, rel=1e-4)


def test_a_plan_in_web_mercator_at_60_north_has_metres_on_the_ground() -> None:
    plan = plan_tiles(
        None, [scene("EPSG:3857", 10.0, 60.0, 0.5)], GridOptions(tile_px=96, halo_px=16, gsd_m=2.0)
    )
    a = plan.grid.transform[0]
    assert a == pytest.approx(4.0, rel=0.01)  # 2 m there are 4 of its metres
    x = plan.grid.transform[2] + a * plan.grid.width / 2
    y = plan.grid.transform[5] - a * plan.grid.height / 2
    assert ground_m2("EPSG:3857", x, y, a) == pytest.approx(4.0, rel=1e-3)


def test_it_is_measured_where_the_run_looks() -> None:
    """A scene from 0 to 70 N; the area lies in its north."""
    tall = scene("EPSG:3857", 10.0, 45.0, 10_000.0, side=800)
    whole = resolution_of_gsd([tall], None, 10_000.0, bounds_lonlat=None)
    north = resolution_of_gsd(
        [tall], None, 10_000.0, bounds_lonlat=aoi_from_bbox(9, 69, 11, 70).bounds_lonlat
    )
    assert north > 1.9 * whole


@pytest.mark.parametrize(("asked", "own"), [(10.0, True), (10.05, True), (10.2, False)])
def test_pixels_within_one_per_cent_are_read_as_they_are(asked: float, own: bool) -> None:
    """Ten metres of UTM at the edge of a zone are some centimetres off; nobody wants them resampled."""
    here = scene("EPSG:32633", 17.9, 48.0, 10.0)
    assert (resolution_of_gsd([here], None, asked, bounds_lonlat=None) == 10.0) is own


def test_a_crs_without_metres_is_refused() -> None:
    local = 'LOCAL_CS["here",UNIT["metre",1],AXIS["x",EAST],AXIS["y",NORTH]]'
    for crs in (None, local):
        with pytest.raises(InputError, match=r"--gsd|measured on the ground"):
            resolution_of_gsd(
                [scene(crs, 0, 0, 1.0) if crs is None else _local(crs)], None, 1.0, bounds_lonlat=None
            )


def _local(wkt: str) -> Scene:
    from dataclasses import replace

    return replace(scene(None, 0, 0, 1.0), crs_wkt=CRS.from_wkt(wkt).to_wkt())
