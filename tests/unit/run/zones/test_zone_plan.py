"""Every place of the covers has one owner, and zones look a little further."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS
from shapely.geometry.base import BaseGeometry

from pipeline.grid.aoi import aoi_from_bbox
from pipeline.run.zones.zone_plan import (
    SNAP_DEG,
    central_meridian,
    cover_of,
    grown,
    imagery_of,
    owned_by_imagery,
    owned_parts,
    zones_of,
)
from pipeline.schema.imagery import Scene

rectangles = st.builds(
    lambda x, y, w, h: shapely.box(x, y, x + w, y + h),
    st.integers(-30, 20),
    st.integers(-20, 15),
    st.integers(1, 30),
    st.integers(1, 20),
)
covers = st.lists(
    st.lists(rectangles, min_size=1, max_size=3).map(lambda parts: shapely.union_all(parts)),
    min_size=1,
    max_size=4,
)


def scene(crs: str, x: float, y: float, side_px: int, pixel: float = 10.0) -> Scene:
    return Scene(
        scene_id=f"{crs} {x} {y}",
        href="s.tif",
        crs_wkt=CRS.from_user_input(crs).to_wkt(),
        transform=(pixel, 0.0, x, 0.0, -pixel, y),
        width=side_px,
        height=side_px,
        count=3,
        dtype="uint8",
        rgb_bands=(1, 2, 3),
        nodata=None,
    )


@settings(max_examples=150, deadline=None)
@given(
    covers=covers,
    kinds=st.lists(st.sampled_from([None, -15.0, -9.0, -3.0, 3.0, 9.0]), min_size=4, max_size=4),
)
def test_owned_parts_share_the_covers_without_gap_or_overlap(
    covers: list[BaseGeometry], kinds: list[float | None]
) -> None:
    parts = owned_parts(covers, kinds[: len(covers)])
    rounding = 1e3 * SNAP_DEG
    whole = shapely.union_all(covers)
    assert shapely.area(parts).sum() == pytest.approx(whole.area, abs=rounding)
    assert shapely.symmetric_difference(shapely.union_all(parts), whole).area < rounding
    for cover, part in zip(covers, parts, strict=True):
        assert shapely.difference(part, cover).area < rounding  # nobody owns what it does not see


def test_imagery_is_divided_before_empty_corners_of_scenes() -> None:
    """The western scene reaches to 77 W, and its swath to 78.5 W."""
    west = shapely.box(-80, 30, -77, 31)
    east = shapely.box(-79, 30, -76, 31)
    swath = shapely.box(-80, 30, -78.5, 31)
    parts = owned_by_imagery([west, east], [swath, east], [-81.0, -75.0])
    assert parts[0].equals(swath)
    assert parts[1].equals(shapely.box(-78.5, 30, -76, 31))
    small = shapely.box(-80, 30, -79.5, 31)
    parts = owned_by_imagery([west, east], [small, east], [-81.0, -75.0])
    assert shapely.union_all(parts).equals(shapely.box(-80, 30, -76, 31))  # a footprint that is too small
    assert shapely.area(parts).sum() == pytest.approx(4)


def test_a_footprint_outside_its_scene_and_a_scene_without_one() -> None:
    scenes = [scene("EPSG:32633", 5e5, 5e6, 100), scene("EPSG:32633", 5e5 + 1000, 5e6, 100)]
    cover = cover_of(scenes)
    assert imagery_of(scenes, cover, {}) is cover
    half = shapely.box(-180, -90, cover.centroid.x - 0.005, 90)
    found = imagery_of(scenes, cover, {scenes[0].scene_id: half})
    assert shapely.difference(found, cover).area < SNAP_DEG
    assert shapely.covers(found.buffer(1e-8), cover_of(scenes[1:]))
    assert found.area < cover.area


def test_between_two_meridians_the_middle_is_the_border() -> None:
    both = shapely.box(-79, 30, -77, 31)
    west, east = owned_parts([both, both], [-81.0, -75.0])
    assert west.equals(shapely.box(-79, 30, -78, 31))
    assert east.equals(shapely.box(-78, 30, -77, 31))


def test_between_zones_60_and_1_the_border_is_the_antimeridian() -> None:
    both = shapely.union_all([shapely.box(179, 0, 180, 1), shapely.box(-180, 0, -179, 1)])
    east, west = owned_parts([both, both], [177.0, -177.0])
    assert east.equals(shapely.box(179, 0, 180, 1))
    assert west.equals(shapely.box(-180, 0, -179, 1))


def test_without_a_meridian_the_first_owns_what_it_covers() -> None:
    first, second = owned_parts([shapely.box(0, 0, 2, 1), shapely.box(1, 0, 3, 1)], [None, 3.0])
    assert first.equals(shapely.box(0, 0, 2, 1))
    assert second.equals(shapely.box(2, 0, 3, 1))


def test_zones_do_not_interleave_where_each_lies_on_the_other_s_side() -> None:
    """By the meridians alone the strip that both cover would be swapped: 18, 17, 18, 17 from west to east."""
    eighteen = shapely.box(-78.3, 36, -77.9, 37)
    seventeen = shapely.box(-78.1, 36, -77.7, 37)
    west, east = owned_parts([eighteen, seventeen], [-75.0, -81.0])
    assert west.equals(shapely.box(-78.3, 36, -78.0, 37))
    assert east.equals(shapely.box(-78.0, 36, -77.7, 37))


@pytest.mark.parametrize(
    ("crs", "meridian"),
    [
        ("EPSG:26917", -81.0),
        ("EPSG:32701", -177.0),
        ("EPSG:3857", None),
        ("EPSG:4326", None),
        ("EPSG:3413", None),
    ],
)
def test_only_transverse_mercator_has_a_central_meridian(crs: str, meridian: float | None) -> None:
    found = central_meridian(CRS.from_user_input(crs).to_wkt())
    assert found is None if meridian is None else found == pytest.approx(meridian)


def test_ground_grows_by_metres_in_every_direction() -> None:
    ground = shapely.box(14.99, 59.99, 15.01, 60.01)
    wide = grown(ground, CRS.from_epsg(3857).to_wkt(), metres=1000)
    west, _, _, north = wide.bounds
    assert (ground.bounds[0] - west) * 55_800 == pytest.approx(1000, rel=0.01)  # metres per degree at 60 N
    assert (north - ground.bounds[3]) * 111_400 == pytest.approx(1000, rel=0.01)
    assert shapely.covers(wide, ground)
    over = grown(shapely.box(179.99, 10, 180, 10.01), CRS.from_epsg(32660).to_wkt(), metres=2000)
    assert over.bounds[0] == -180.0
    assert over.bounds[2] == 180.0
    assert over.area < 0.01


def test_a_cover_over_180_stays_small() -> None:
    cover = cover_of([scene("EPSG:32601", 170_000.0, 1_000_000.0, 1000)])
    assert shapely.get_num_geometries(cover) == 2
    assert cover.area == pytest.approx((10_000 / 111_000) ** 2, rel=0.05)


class TestZones:
    west = scene("EPSG:26917", 760_000.0, 4_060_000.0, 1000)
    east = scene("EPSG:26918", 230_000.0, 4_060_000.0, 1000)

    def test_each_looks_at_its_own_part_and_a_band_around_it(self) -> None:
        zones = zones_of([self.west, self.east], None, band_px=96)
        assert [zone.name for zone in zones] == ["EPSG_26917", "EPSG_26918"]
        assert [zone.scenes for zone in zones] == [(self.west,), (self.east,)]
        both = shapely.intersection(zones[0].area.geometry, zones[1].area.geometry)
        middle = shapely.intersection(both, shapely.box(-180, 36.62, 180, 36.63))
        assert (middle.bounds[2] - middle.bounds[0]) * 89_400 == pytest.approx(2 * 960, rel=0.05)

    def test_the_area_of_interest_bounds_every_zone(self) -> None:
        aoi = aoi_from_bbox(-78.01, 36.62, -77.99, 36.63)
        zones = zones_of([self.west, self.east], aoi, band_px=96)
        assert len(zones) == 2
        for zone in zones:
            assert shapely.difference(zone.area.geometry, aoi.geometry).area < SNAP_DEG
        united = shapely.union_all([zone.area.geometry for zone in zones])
        assert united.area == pytest.approx(aoi.geometry.area)

    def test_a_zone_without_ground_of_its_own_is_left_out(self) -> None:
        aoi = aoi_from_bbox(-78.03, 36.62, -78.02, 36.63)
        assert [zone.name for zone in zones_of([self.east, self.west], aoi, band_px=96)] == ["EPSG_26917"]

    def test_crss_without_a_code_are_told_apart(self) -> None:
        places = ["+proj=laea +lon_0=-78 +lat_0=36", "+proj=laea +lon_0=-77 +lat_0=36"]
        zones = zones_of(
            [scene(place, -9e4 * n, 1e4, 100) for n, place in enumerate(places)], None, band_px=1
        )
        assert len({zone.name for zone in zones}) == 2
        assert all(zone.name.isascii() for zone in zones)
        assert np.prod([zone.owned.area for zone in zones]) > 0
