"""Queries are added to a run of several zones: zone by zone, and the result of all last.

1. `zones_again` makes the zones from run.json of the whole, and from that of each.
2. Every zone is planned as a run on one grid is (`plan_added`). Zones that an interrupted start has brought
   to their end are looked at again, and nothing of them is asked.
3. `zone_flow.run_planned_zones` does the rest, as for any run of zones.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import shapely

from pipeline.geo.globe import cut_at_180, polygonal, to_lonlat
from pipeline.grid.aoi import Aoi
from pipeline.run.added.plan_added import AddRequest, plan_added
from pipeline.run.prepare import PlannedRun
from pipeline.run.screen import Say
from pipeline.run.summary import plan_text
from pipeline.run.zones.kept_zones import zones_in
from pipeline.run.zones.zone_flow import PlannedZones, RunTogether, run_planned_zones
from pipeline.run.zones.zone_plan import Zone, cover_of
from pipeline.write.run_dir import RunDir
from pipeline.write.run_json import RunInfo, read_run_json
from pipeline.write.zoned.zoned_json import ZonedInfo, ZoneEntry


def run_added_zones(
    request: AddRequest,
    info: ZonedInfo,
    added: tuple[str, ...],
    *,
    run_together: RunTogether,
    rehearse: Callable[[PlannedRun], str],
    say: Say,
) -> int:
    """Ask all zones more, and publish the result of all. Returns the exit code. Raises TerraqueryError."""
    started = time.monotonic()
    planned = plan_added_zones(request, info, added)
    if request.dry_run:
        for zone, plan in zip(planned.zones, planned.plans, strict=True):
            say(f"\nzone {zone.name}\n{plan_text(plan)}\n{rehearse(plan)}")
        return 0
    return run_planned_zones(planned, run_together=run_together, say=say, started=started)


def plan_added_zones(request: AddRequest, info: ZonedInfo, added: tuple[str, ...]) -> PlannedZones:
    """Plan and check all zones. Raises InputError. Writes nothing."""
    root = RunDir(request.out)
    queries = (*info.queries, *added)
    zones = []
    plans = []
    for entry in info.zones:
        place = RunDir(root.path / entry.path)
        own = read_run_json(place.run_json)
        zones.append(zone_again(entry, own))
        plans.append(plan_added(request, own, queries, root=place))
    first = plans[0].request
    whole = replace(
        first,
        out=str(root.path),
        config=replace(first.config, min_area_m2=info.parameters["min_area_m2"]),
    )
    return PlannedZones(
        request=whole,
        zones=tuple(zones),
        plans=tuple(plans),
        kept=zones_in(str(root.path), goes_on=True),
        parameters={
            **info.parameters,
            "queries": list(queries),
            "zones": {zone.name: plan.fingerprint for zone, plan in zip(zones, plans, strict=True)},
        },
        scenes=(),
        before=info,
    )


def zone_again(entry: ZoneEntry, info: RunInfo) -> Zone:
    """Make a zone as run.json of the whole (`entry`) and its own have it.

    Its area comes back from the zone's own CRS, and so to a rounding of degrees. It says around which ground
    objects of two zones are compared, with the tiles around that, and not how.
    """
    crs_wkt = str(info.lattice.grid.crs_wkt)
    owned = shapely.from_wkb(bytes.fromhex(entry.owned_wkb))
    area = owned
    if info.aoi_wkb:
        on_grid = shapely.from_wkb(bytes.fromhex(info.aoi_wkb))
        area = polygonal(cut_at_180(to_lonlat(on_grid, crs_wkt)))
    return Zone(
        name=entry.name,
        crs_wkt=crs_wkt,
        scenes=info.scenes,
        cover=cover_of(info.scenes),
        owned=owned,
        area=Aoi(geometry=area, source=f"the run's own area, zone {entry.name}"),
    )
