"""Holes of scenes that lie on ground of another zone. Oracle: the pixels that were emptied."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from zone_worlds import Frame, draw_world, local_to_lonlat

from pipeline.geo.globe import to_lonlat
from pipeline.grid.aoi import aoi_from_bbox
from pipeline.grid.source import SourceOptions, open_scenes
from pipeline.load.first_look import NotAloneError
from pipeline.load.prepare_scenes import LoadOptions
from pipeline.run.zones import zone_imagery
from pipeline.run.zones.zone_imagery import contested_scenes, imagery_footprints
from pipeline.run.zones.zone_plan import cover_of, zones_of
from pipeline.schema.imagery import Scene

FRAMES = (
    Frame("EPSG:26917", -78.0006, 36.62, 220, 220),
    Frame("EPSG:26918", -77.9994, 36.62, 220, 220),
)
PIXEL_DEG = 1 / 89_000


def opened(paths: Sequence[str]) -> tuple[Scene, ...]:
    return open_scenes(SourceOptions(hrefs=tuple(paths)))


def world(folder: Path) -> tuple[Scene, ...]:
    drawn = draw_world(folder, FRAMES, local_to_lonlat([shapely.box(0, 0, 9, 9)], -78, 36.62))
    return opened([str(path) for path in drawn.scenes])


@pytest.fixture
def scenes(tmp_path: Path) -> tuple[Scene, ...]:
    return world(tmp_path)


def empty(scene: Scene, first_col: int, last_col: int) -> shapely.Geometry:
    """Take the imagery out of columns; returns their ground in degrees."""
    with rasterio.open(scene.href, "r+") as file:
        pixels = file.read()
        pixels[pixels == 0] = 1
        pixels[:, :, first_col:last_col] = 0
        file.write(pixels)
        file.nodata = 0
        corners = [file.transform @ (col, row) for col in (first_col, last_col) for row in (0, scene.height)]
    ground = shapely.MultiPoint(corners).convex_hull
    return to_lonlat(shapely.segmentize(ground, 10), str(scene.crs_wkt))


def test_scenes_without_holes_keep_what_is_known_of_them(scenes: tuple[Scene, ...]) -> None:
    assert imagery_footprints(scenes, None, {}, LoadOptions()) == {}
    known = {scenes[0].scene_id: shapely.box(-78.001, 36.619, -78, 36.621)}
    assert imagery_footprints(scenes, None, known, LoadOptions()) == known


def test_a_hole_is_cut_out_of_the_scene_and_goes_to_the_other_zone(scenes: tuple[Scene, ...]) -> None:
    hole = empty(scenes[0], 110, 160)
    scenes = opened([scene.href for scene in scenes])
    found = imagery_footprints(scenes, None, {}, LoadOptions())
    assert list(found) == [scenes[0].scene_id]
    drawn = found[scenes[0].scene_id]
    own = cover_of([scenes[0]])
    assert shapely.intersection(drawn, hole).area == pytest.approx(0, abs=1e-12)
    rest = own.difference(hole.buffer(3 * PIXEL_DEG, join_style="mitre"))
    assert shapely.covers(drawn.buffer(1e-9), rest)
    before = zones_of(scenes, None, band_px=20)
    after = zones_of(scenes, None, band_px=20, footprints=found)
    east = cover_of([scenes[1]])
    shown = shapely.intersection_all([hole, east, own, shapely.box(-79, 36, -78.0003, 37)])
    assert shown.area > 0.2 * own.area * 50 / 220
    assert shapely.covers(before[0].owned.buffer(1e-8), shown)
    assert shapely.covers(after[1].owned.buffer(1e-8), shown)
    whole = shapely.union_all([zone.owned for zone in after])
    assert whole.area == pytest.approx(shapely.union(own, east).area, rel=1e-9)


def test_a_footprint_of_the_catalogue_stays_a_limit(scenes: tuple[Scene, ...]) -> None:
    hole = empty(scenes[0], 110, 160)
    scenes = opened([scene.href for scene in scenes])
    told = shapely.box(-78.002, 36.62, -77.99, 36.63)
    found = imagery_footprints(scenes, None, {scenes[0].scene_id: told}, LoadOptions())
    drawn = found[scenes[0].scene_id]
    assert shapely.covers(told.buffer(1e-9), drawn)
    assert shapely.intersection(drawn, hole).area == pytest.approx(0, abs=1e-12)
    assert drawn.area > 0


def test_only_scenes_on_ground_of_another_zone_are_looked_at(
    tmp_path: Path, scenes: tuple[Scene, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    far = draw_world(
        tmp_path / "far",
        [Frame("EPSG:26917", -78.02, 36.62, 60, 60)],
        local_to_lonlat([shapely.box(0, 0, 9, 9)], -78.02, 36.62),
    )
    (lone,) = opened([str(far.scenes[0])])
    everything = (*scenes, lone)
    assert contested_scenes(everything, None) == list(scenes)
    beside = aoi_from_bbox(-78.0030, 36.615, -78.0014, 36.63)  # of the western scene alone
    assert contested_scenes(everything, beside) == []
    looked: list[str] = []

    def looking(scene: Scene, *_: object, **__: object) -> None:
        looked.append(scene.scene_id)

    monkeypatch.setattr(zone_imagery, "imagery_outline", looking)
    imagery_footprints(everything, None, {}, LoadOptions())
    assert sorted(looked) == sorted(scene.scene_id for scene in scenes)


def test_scenes_that_must_be_read_alone_are(
    scenes: tuple[Scene, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are looked at when no thread is at work any more, and answers stay with their scenes."""
    asked: list[tuple[str, bool]] = []

    def looking(scene: Scene, _: object, *, alone: bool) -> shapely.Geometry | None:
        asked.append((scene.scene_id, alone))
        if scene is scenes[1] and not alone:
            raise NotAloneError
        return shapely.box(0, 0, 110, 220) if scene is scenes[1] else None

    monkeypatch.setattr(zone_imagery, "imagery_outline", looking)
    found = imagery_footprints(scenes, None, {}, LoadOptions())
    assert sorted(asked) == sorted([(scenes[0].scene_id, False), (scenes[1].scene_id, False), asked[-1]])
    assert asked[-1] == (scenes[1].scene_id, True)
    assert list(found) == [scenes[1].scene_id]
    assert found[scenes[1].scene_id].area == pytest.approx(cover_of([scenes[1]]).area / 2, rel=1e-3)


def test_a_turned_scene_is_placed_by_its_transform(tmp_path: Path) -> None:
    """Rows of a raster that was turned by 30 degrees: the hole's ground is that of its pixels."""
    angle = np.deg2rad(30)
    wkt = world(tmp_path)[0].crs_wkt
    transform = (np.cos(angle), np.sin(angle), 768_000.0, np.sin(angle), -np.cos(angle), 4_057_000.0)
    scene = Scene(
        scene_id="turned",
        href="none.tif",
        crs_wkt=wkt,
        transform=tuple(float(value) for value in transform),
        width=100,
        height=80,
        count=3,
        dtype="uint8",
        rgb_bands=(1, 2, 3),
        nodata=0.0,
    )
    placed = zone_imagery._lonlat(scene, shapely.box(0, 0, 100, 80))
    assert placed.symmetric_difference(cover_of([scene])).area < 1e-3 * placed.area
