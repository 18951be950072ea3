"""The grid under all zones, and imagery on it. Oracle: pyproj, and rasters whose colours are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from pyproj import CRS, Transformer
from zone_results import two_zones
from zone_worlds import Frame, draw_world, geodesic_m2, local_to_lonlat

from pipeline.geo.globe import cut_at_180
from pipeline.grid.aoi import Aoi
from pipeline.grid.source import SourceOptions, open_scenes
from pipeline.load.prepare_scenes import LoadOptions, prepare_scenes
from pipeline.run.closing_notes import Notes
from pipeline.run.report_imagery import Imagery
from pipeline.run.zones.zone_objects import ZoneResult
from pipeline.run.zones.zone_pictures import picture_grid, sources_on, zoned_pictures
from pipeline.schema.tiling import RunGrid, Window

UTM = (Frame("EPSG:26917", -78.0006, 36.62, 220, 220), Frame("EPSG:26918", -77.9994, 36.62, 220, 220))


def owning(result: ZoneResult, ground: shapely.Geometry) -> ZoneResult:
    area = Aoi(geometry=ground, source="test")
    return replace(result, zone=replace(result.zone, owned=ground, cover=ground, area=area))


def place(grid: RunGrid, lon: float, lat: float) -> tuple[float, float]:
    """(column, row) of a place."""
    x, y = Transformer.from_crs("OGC:CRS84", CRS.from_wkt(str(grid.crs_wkt)), always_xy=True).transform(
        lon, lat
    )
    a, _, c, _, e, f = grid.transform
    return (x - c) / a, (y - f) / e


@pytest.mark.parametrize(
    ("west", "south", "east", "north"),
    [(-0.001, 44.999, 0.001, 45.001), (179.5, -17.2, 180.6, -16.8), (-180.0, 84.0, 180.0, 90.0)],
    ids=["anywhere", "antimeridian", "polar cap"],
)
def test_all_ground_lies_on_the_grid_and_fills_it(
    tmp_path: Path, west: float, south: float, east: float, north: float
) -> None:
    ground = cut_at_180(shapely.box(west, south, east, north))
    one, other = two_zones(tmp_path, [], [])
    grid = picture_grid([owning(one, ground), owning(other, ground)])
    rng = np.random.default_rng(1)
    points = np.column_stack([rng.uniform(west, east, 300), rng.uniform(south, north, 300)])
    cells = np.array([place(grid, *point) for point in points])
    assert (cells > -0.002 * max(grid.width, grid.height)).all()
    assert (cells < np.array([grid.width, grid.height]) + 0.002 * max(grid.width, grid.height)).all()
    if north < 90:
        side = grid.transform[0]
        assert grid.width * grid.height * side**2 == pytest.approx(geodesic_m2(ground), rel=0.03)


def test_pixels_are_those_of_the_finest_zone(tmp_path: Path) -> None:
    one, other = two_zones(tmp_path, [], [])
    lattice = other.info.lattice
    a, _, c, _, e, f = lattice.grid.transform
    half = replace(lattice.grid, transform=(a / 2, 0.0, c, 0.0, e / 2, f))
    fine = replace(other, info=replace(other.info, lattice=replace(lattice, grid=half)))
    assert picture_grid([one, fine]).transform[0] == pytest.approx(0.5, rel=2e-3)
    assert picture_grid([one, other]).transform[0] == pytest.approx(1.0, rel=2e-3)


def test_imagery_of_both_zones_is_read_where_it_is(tmp_path: Path) -> None:
    """A house west of the seam and one east of it, each in the colour that its scene has."""
    houses = local_to_lonlat([shapely.box(-90, -10, -70, 10), shapely.box(70, -10, 90, 10)], -78.0, 36.62)
    world = draw_world(tmp_path, UTM, houses)
    scenes = open_scenes(SourceOptions(hrefs=tuple(map(str, world.scenes))))
    whole = Window(row0=0, col0=0, row1=220, col1=220)
    imagery = [
        Imagery(
            sources=prepare_scenes([scene], LoadOptions(), offsets=[(0, 0)], windows=[whole]),
            load=LoadOptions(),
        )
        for scene in scenes
    ]
    ground = shapely.box(-78.0012, 36.6195, -77.9988, 36.6205)
    results = [
        replace(owning(each, ground), imagery=own)
        for each, own in zip(two_zones(tmp_path / "run", [], []), imagery, strict=True)
    ]
    grid = picture_grid(results)
    assert [source.offset_rc for source in sources_on(imagery, grid)] == [None, None]
    notes = Notes(print, tmp_path / "log")
    with zoned_pictures(results, notes) as pictures:
        assert pictures.overview_rgb is not None
        assert pictures.read_rgb is not None
        for house, scene in zip(houses, world.scenes, strict=True):
            col, row = (int(value) for value in place(grid, house.centroid.x, house.centroid.y))
            with rasterio.open(scene) as file:
                move = Transformer.from_crs("OGC:CRS84", file.crs, always_xy=True)
                own = file.index(*move.transform(house.centroid.x, house.centroid.y))
                colour = file.read()[:, own[0], own[1]]
            near = Window(row0=row - 2, col0=col - 2, row1=row + 2, col1=col + 2)
            assert np.abs(pictures.read_rgb(near).astype(int) - colour).max() <= 1
            assert np.abs(pictures.overview_rgb[row, col].astype(int) - colour).max() <= 1
    assert notes.texts == []


def test_scenes_that_cannot_be_placed_cost_the_pictures_alone(tmp_path: Path) -> None:
    results = two_zones(tmp_path, [], [])
    notes = Notes(print, tmp_path / "log")
    with zoned_pictures(results, notes) as pictures:
        assert pictures.overview_rgb is None
        assert list(pictures.zones) == ["EPSG_32630", "EPSG_32631"]
    broken = replace(results[0], imagery=Imagery(sources=(None,), load=LoadOptions()))  # type: ignore[arg-type]
    with zoned_pictures([broken, results[1]], notes) as pictures:
        assert pictures.read_rgb is None
    assert len(notes.texts) == 1
    assert notes.texts[0].startswith("pictures of the imagery could not be made")
