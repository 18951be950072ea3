"""Zones that a run goes on with (`--update`), or takes over from another run (`--grid-of`).

1. What was added to the ids of a zone stays, so that objects keep their ids. Zones stay in their order, and
   new ones come after all others. Those that fell out of the area are remembered.
2. Every zone goes on with its own grid, or takes over that of its name.
3. The grid of a new zone covers the part of `--grid-area` that its CRS is made for, whatever its scenes are.
   So a run that grows into the zone and one that has it from the beginning have the same pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import shapely
from pyproj import CRS
from shapely.geometry.base import BaseGeometry

from pipeline.errors import InputError
from pipeline.geo.globe import cut_at_180, polygonal
from pipeline.grid.aoi import Aoi, read_aoi
from pipeline.run.config import GridChoice
from pipeline.run.prepare import RunRequest
from pipeline.run.zones.zone_plan import SNAP_DEG, Zone, grown
from pipeline.write.run_dir import RunDir
from pipeline.write.run_json import read_run_json
from pipeline.write.zoned.zoned_json import ZonedInfo, ZoneEntry, read_any_run

_BEYOND_M = 110_000.0
"""How far scenes reach beyond what their CRS is made for: the side of a tile of Sentinel-2."""


@dataclass(frozen=True, kw_only=True)
class KeptZones:
    """The zones of an earlier run."""

    run: str
    """Its directory."""
    entries: tuple[ZoneEntry, ...]
    """All that it has and had, by their ids."""
    end: int
    """The first number that no zone adds to its ids, nor reaches with them."""
    goes_on: bool
    """Whether the run itself goes on. Else its grids are taken over."""

    def offset_of(self, name: str) -> int | None:
        """What is added to the ids of a zone. None: it is a new one."""
        return next((entry.id_offset for entry in self.entries if entry.name == name), None)

    def ordered(self, zones: Sequence[Zone]) -> tuple[Zone, ...]:
        """Bring zones into the order that they have, new ones last."""
        offsets = {zone.name: self.offset_of(zone.name) for zone in zones}

        def place(zone: Zone) -> float:
            offset = offsets[zone.name]
            return math.inf if offset is None else offset

        return tuple(sorted(zones, key=place))

    def left(self, zones: Sequence[Zone]) -> tuple[ZoneEntry, ...]:
        """Those that the run had and has no more, so that their ids stay theirs."""
        names = {zone.name for zone in zones}
        return tuple(entry for entry in self.entries if self.goes_on and entry.name not in names)


def kept_zones(request: RunRequest) -> KeptZones | None:
    """Find the zones that a request goes on with, or takes over. None: there are none. Raises InputError."""
    if request.update and not request.new_run:
        kept = zones_in(request.out, goes_on=True)
        if kept is not None:
            return kept
    return taken_zones(request.config.grid)


def taken_zones(choice: GridChoice) -> KeptZones | None:
    """Find the zones of another run that a request takes over. None: there are none. Raises InputError."""
    return None if choice.of_run is None else zones_in(choice.of_run, goes_on=False)


def zones_in(run: str, *, goes_on: bool) -> KeptZones | None:
    """Find the zones of a run. `goes_on`: that run itself. None: there are none. Raises InputError."""
    run_dir = RunDir(run)
    info = read_any_run(run_dir.run_json) if run_dir.has_run() else None
    if not isinstance(info, ZonedInfo):
        return None
    entries = tuple(sorted((*info.zones, *info.left_zones), key=lambda entry: entry.id_offset))
    grids = [read_run_json(run_dir.path / entry.path / "run.json").lattice.grid for entry in entries]
    ends = [entry.id_offset + grid.window.area_px for entry, grid in zip(entries, grids, strict=True)]
    return KeptZones(run=run, entries=entries, end=max(ends, default=0), goes_on=goes_on)


def require_zoned_run(request: RunRequest, zones: Sequence[Zone], kept: KeptZones | None) -> None:
    """Refuse an update that would make a run of several zones of one on one grid. Raises InputError."""
    goes_on = kept is not None and kept.goes_on
    if request.update and not goes_on and RunDir(request.out).has_run():
        raise InputError(
            "--update goes on with a run on one grid as it is",
            came=f"scenes of several CRSs, which make zones ({', '.join(zone.name for zone in zones)})",
            remedy="leave out scenes of other CRSs, or begin another run: with --crs it has one grid, and "
            "with --grid-area zones to which others can be added",
        )


def id_offsets(names: Sequence[str], n_px: Sequence[int], kept: KeptZones | None) -> list[int]:
    """What is added to the ids of each zone, so that no two have the same. `n_px`: pixels of its grid."""
    free = 0 if kept is None else kept.end
    offsets = []
    for name, own in zip(names, n_px, strict=True):
        known = None if kept is None else kept.offset_of(name)
        offsets.append(free if known is None else known)
        free += own if known is None else 0
    return offsets


def zone_grid(choice: GridChoice, zone: Zone, kept: KeptZones | None) -> GridChoice:
    """What the user says of the run grid, for one zone. Raises InputError for a --grid-area that cannot be
    read.
    """
    if choice.of_run is not None:
        known = kept is not None and kept.offset_of(zone.name) is not None
        run = str(RunDir(choice.of_run).zones / zone.name)
        return replace(choice, of_run=run if known else None)
    if choice.area is None:
        return choice
    area = choice.area if isinstance(choice.area, Aoi) else read_aoi(choice.area, what="--grid-area")
    return replace(choice, area=room_of(zone, area))


def room_of(zone: Zone, area: Aoi) -> Aoi:
    """The part of a region that the zone's CRS is made for, and a scene's side around it, by longitudes.

    All of the region where the zone looks elsewhere, or nobody says what its CRS is made for.
    """
    made_for = _made_for(zone.crs_wkt)
    part = polygonal(shapely.intersection(area.geometry, made_for))
    if part.is_empty:
        return area
    near = polygonal(shapely.intersection(grown(part, zone.crs_wkt, metres=_BEYOND_M), area.geometry))
    asked = polygonal(shapely.intersection(zone.area.geometry, area.geometry))
    if not shapely.difference(asked, near, grid_size=SNAP_DEG).is_empty:
        return area
    return Aoi(geometry=near, source=f"{area.source}, zone {zone.name}")


def _made_for(crs_wkt: str) -> BaseGeometry:
    """The longitudes of the area of use of a CRS, in degrees, cut at 180; the globe where it has none."""
    code = CRS.from_wkt(crs_wkt).to_epsg()
    use = None if code is None else CRS.from_epsg(code).area_of_use
    if use is None or use.east == use.west:
        return shapely.box(-180.0, -90.0, 180.0, 90.0)
    east = use.east + (360.0 if use.east < use.west else 0.0)
    return cut_at_180(shapely.box(use.west, -90.0, east, 90.0))
