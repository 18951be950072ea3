"""Zones of a run that goes on: their ids, their order, and the room that their grids have."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from pyproj import CRS
from zone_results import zoned_info

from pipeline.errors import InputError
from pipeline.grid.aoi import Aoi
from pipeline.run.config import GridChoice
from pipeline.run.prepare import RunRequest
from pipeline.run.zones.kept_zones import (
    KeptZones,
    id_offsets,
    kept_zones,
    require_zoned_run,
    room_of,
    zone_grid,
)
from pipeline.run.zones.zone_plan import Zone
from pipeline.schema.tiling import RunGrid, TileLattice
from pipeline.write.run_dir import RunDir
from pipeline.write.run_json import RunInfo, write_run_json
from pipeline.write.zoned.zoned_json import ZoneEntry, write_zoned_json

NAMES = ("a", "b", "c", "d", "e")
PX = {"a": 10, "b": 200, "c": 3000, "d": 40_000, "e": 500_000}


def entry(name: str, offset: int) -> ZoneEntry:
    return ZoneEntry(
        name=name,
        crs="",
        path=f"zones/{name}",
        fingerprint="",
        id_offset=offset,
        n_scenes=1,
        n_tiles=1,
        owned_wkb="",
    )


def zone(name: str, *, crs: str = "EPSG:32633", looks_at: Any = None) -> Zone:
    ground = looks_at or shapely.box(14.9, 50.0, 15.0, 50.1)
    return Zone(
        name=name,
        crs_wkt=CRS.from_user_input(crs).to_wkt(),
        scenes=(),
        cover=ground,
        owned=ground,
        area=Aoi(geometry=ground, source="drawn"),
    )


def kept_of(run: list[str], offsets: dict[str, int]) -> KeptZones:
    entries = tuple(entry(name, offsets[name]) for name in sorted(run, key=offsets.__getitem__))
    end = max((offsets[name] + PX[name] for name in run), default=0)
    return KeptZones(run="run", entries=entries, end=end, goes_on=True)


@given(st.lists(st.lists(st.sampled_from(NAMES), min_size=1, unique=True), min_size=1, max_size=6))
def test_ids_of_a_zone_stay_and_never_meet_those_of_another(runs: list[list[str]]) -> None:
    """Whatever zones a run has, one start after the other."""
    offsets: dict[str, int] = {}
    kept: KeptZones | None = None
    for names in runs:
        zones = [zone(name) for name in names]
        ordered = [each.name for each in (zones if kept is None else kept.ordered(zones))]
        assert sorted(ordered) == sorted(names)
        known = [name for name in ordered if name in offsets]
        assert ordered[: len(known)] == sorted(known, key=offsets.__getitem__)
        assert ordered[len(known) :] == [name for name in names if name not in offsets]
        found = dict(zip(ordered, id_offsets(ordered, [PX[name] for name in ordered], kept), strict=True))
        assert all(offsets.get(name, offset) == offset for name, offset in found.items())
        left = () if kept is None else kept.left(zones)
        assert {each.name for each in left} == offsets.keys() - set(names)
        offsets |= found
        reached = sorted((offset, offset + PX[name]) for name, offset in offsets.items())
        assert all(end <= start for (_, end), (start, _) in pairwise(reached))
        kept = kept_of(list(offsets), offsets)


def test_the_first_zones_of_a_run_begin_where_those_before_them_end() -> None:
    assert id_offsets(["a", "b", "c"], [10, 200, 3000], None) == [0, 10, 210]


def write_run(folder: Path, names: tuple[str, ...], left: tuple[str, ...] = ()) -> None:
    offset = 0
    entries = {}
    for number, name in enumerate((*left, *names), start=1):
        grid = RunGrid(crs_wkt=None, transform=(1, 0, 0, 0, -1, 0), width=10 * number, height=10)
        info = RunInfo(
            run_id="",
            fingerprint="",
            status="complete",
            parameters={},
            queries=("q",),
            lattice=TileLattice(grid=grid, tile_px=64, halo_px=8, block_tiles=1),
            scenes=(),
        )
        write_run_json(folder / "zones" / name / "run.json", info)
        entries[name] = entry(name, offset)
        offset += 100 * number
    info = replace(
        zoned_info({}),
        zones=tuple(entries[name] for name in names),
        left_zones=tuple(entries[name] for name in left),
    )
    write_zoned_json(folder / "run.json", info)


def request(out: Path, *, update: bool = False, of_run: Path | None = None) -> RunRequest:
    grid = GridChoice(of_run=None if of_run is None else str(of_run))
    asked = SimpleNamespace(out=str(out), update=update, new_run=False, config=SimpleNamespace(grid=grid))
    return cast("RunRequest", asked)


def test_they_are_read_from_the_run_that_goes_on_or_is_named(tmp_path: Path) -> None:
    write_run(tmp_path / "run", ("b", "c"), left=("a",))
    kept = kept_zones(request(tmp_path / "run", update=True))
    assert kept is not None
    assert [(each.name, each.id_offset) for each in kept.entries] == [("a", 0), ("b", 100), ("c", 300)]
    assert (kept.end, kept.goes_on) == (600, True)
    assert kept_zones(request(tmp_path / "run")) is None
    assert kept_zones(request(tmp_path / "new", update=True)) is None
    named = kept_zones(request(tmp_path / "new", of_run=tmp_path / "run"))
    assert named == replace(kept, goes_on=False)
    assert named.left([zone("b")]) == ()
    choice = GridChoice(of_run=str(tmp_path / "run"))
    assert zone_grid(choice, zone("b"), named).of_run == str(tmp_path / "run" / "zones" / "b")
    assert zone_grid(choice, zone("new"), named).of_run is None


def test_a_run_on_one_grid_does_not_become_one_of_zones(tmp_path: Path) -> None:
    asked = request(tmp_path, update=True)
    require_zoned_run(asked, [zone("a"), zone("b")], None)  # nothing is there
    RunDir(tmp_path).run_json.write_bytes(b"{}")
    with pytest.raises(InputError, match=r"run on one grid as it is.*zones \(a, b\)"):
        require_zoned_run(asked, [zone("a"), zone("b")], None)
    require_zoned_run(asked, [zone("a")], kept_of(["a"], {"a": 0}))
    require_zoned_run(request(tmp_path), [zone("a")], None)


class TestRoom:
    europe = Aoi(geometry=shapely.box(0.0, 49.0, 30.0, 51.0), source="region.gpkg")

    def test_it_is_what_the_crs_is_made_for_and_a_scene_around_it(self) -> None:
        """UTM zone 33 is made for 12 to 18 degrees east; 110 km are 1.5 degrees at 50 N."""
        west, south, east, north = room_of(zone("a"), self.europe).geometry.bounds
        assert (south, north) == (49.0, 51.0)
        assert 10.4 < west < 10.6
        assert 19.4 < east < 19.6

    def test_it_is_the_same_whatever_the_scenes_show(self) -> None:
        one = room_of(zone("a"), self.europe)
        other = room_of(zone("a", looks_at=shapely.box(12.0, 49.5, 18.5, 50.5)), self.europe)
        assert one.geometry.equals(other.geometry)

    def test_where_scenes_reach_further_it_is_all_of_the_region(self) -> None:
        far = zone("a", looks_at=shapely.box(20.0, 50.0, 25.0, 50.1))
        assert room_of(far, self.europe) == self.europe
        nameless = zone("a", crs="+proj=tmerc +lon_0=15 +datum=WGS84")
        assert room_of(nameless, self.europe).geometry.equals(self.europe.geometry)
        beside = Aoi(geometry=shapely.box(40.0, 49.0, 50.0, 51.0), source="region.gpkg")
        assert room_of(zone("a"), beside) == beside

    def test_it_goes_over_the_antimeridian(self) -> None:
        """UTM zone 60 ends where zone 1 begins."""
        region = shapely.multipolygons(
            [shapely.box(170.0, -20.0, 180.0, -10.0), shapely.box(-180.0, -20.0, -170.0, -10.0)]
        )
        looks_at = shapely.box(179.0, -15.0, 179.5, -14.0)
        last = zone("a", crs="EPSG:32760", looks_at=looks_at)
        parts = shapely.get_parts(room_of(last, Aoi(geometry=region, source="r")).geometry)
        edges = sorted((part.bounds[0], part.bounds[2]) for part in parts)
        assert [round(west) for west, _ in edges] == [-180, 173]
        assert -179.1 < edges[0][1] < -178.9

    def test_each_zone_is_given_its_own(self) -> None:
        choice = zone_grid(GridChoice(area=self.europe), zone("a"), None)
        assert isinstance(choice.area, Aoi)
        assert choice.area.geometry.equals(room_of(zone("a"), self.europe).geometry)
        assert zone_grid(GridChoice(), zone("a"), None) == GridChoice()
