"""A small world of three zones with a run that grows: at first it looks at a part of two of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import geopandas as gpd
import pytest
import shapely
from growing_worlds import interrupt_at
from job_files import load_job
from zone_worlds import LONLAT, Frame, draw_world, local_to_lonlat

from pipeline.write.records import block_records

WEST = Frame("EPSG:26917", -78.0005, 36.62, 120, 120)
EAST = Frame("EPSG:26918", -77.9995, 36.62, 120, 120)
FAR = Frame("EPSG:32618", -77.9983, 36.62, 120, 120)
"""Beside EAST, in a CRS of its own."""
AREAS = {
    "part": (-78.0012, 36.6194, -77.9992, 36.6199),
    "all": (-78.0012, 36.6194, -77.9977, 36.6206),
}
"""West, south, east, north. `part`: the south of the first two zones."""
MORE = "EPSG_26918_more"
"""A scene of a corner of EAST."""


@dataclass(frozen=True)
class GrowingZones:
    folder: Path

    def words(self, aoi: str, *names: str) -> list[object]:
        """A command line. `names`: of the scenes, in order; none: one of each zone."""
        scenes = names or (WEST.name, EAST.name, FAR.name)
        sources = [word for name in scenes for word in ("--source", self.folder / f"{name}.tif")]
        place = ["--aoi", self.folder / f"{aoi}.gpkg", "--grid-area", self.folder / "all.gpkg"]
        models = ["--query", "anything", "--models", f"oracle:{self.folder}/labels/labels_{{zone}}.tif"]
        return [*sources, *place, *models, "--runner", "local", "--tile", 40, "--halo", 8, "--block", 2]


def make_growing_zones(folder: Path) -> GrowingZones:
    """Write scenes, areas, and labels with room for the grid."""
    houses = [shapely.box(x, y, x + 9, y + 7) for x in range(-100, 220, 14) for y in range(-58, 58, 12)]
    objects = local_to_lonlat(houses, -78.0, 36.62)
    frames = (WEST, EAST, FAR)
    draw_world(folder, frames, objects)
    draw_world(folder / "labels", [replace(frame, width=700, height=400) for frame in frames], objects)
    corner = replace(EAST, lon=-77.9991, lat=36.6203, width=40, height=30)
    more = draw_world(folder / "more", (corner,), objects).scenes[0]
    more.rename(folder / f"{MORE}.tif")
    for name, edges in AREAS.items():
        gpd.GeoDataFrame(geometry=[shapely.box(*edges)], crs=LONLAT).to_file(folder / f"{name}.gpkg")
    return GrowingZones(folder=folder)


def run_zones_job(*words: object) -> int:
    code: int = load_job("segment_region").main([str(word) for word in words])
    return code


def interrupt_update(world: GrowingZones, out: Path, *, after: int) -> None:
    """Look at a part, and interrupt the update to all of it after some blocks."""
    assert run_zones_job(*world.words("part"), "--out", out) == 0
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, block_records, "after_block_record", after=after - 1)
        assert run_zones_job(*world.words("all"), "--out", out, "--update") == 130
