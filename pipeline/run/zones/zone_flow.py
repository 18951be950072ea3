"""A run per zone, then one result of all.

1. `divided` says whether the scenes need zones: they have several CRSs, and no --crs says into which one they
   are to be warped.
2. `run_zones` plans every zone before the first one is started, so that bad input is found before any model
   is loaded.
3. Every zone is a run in its own directory below `zones/`. All are done in one flow, which loads models
   once. A zone that is complete is not inferred again. Objects are dropped for their size only once they are
   whole.
4. `publish_zones` makes instances, ledger and plan of all zones, `close_zones` the report, the catalogue item
   and run.json.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from pipeline.errors import InputError
from pipeline.files.fingerprint import fingerprint
from pipeline.files.run_times import moment
from pipeline.geo.globe import LONLAT_CRS
from pipeline.geo.planet import body_of
from pipeline.grid.lattice import crs_name
from pipeline.grid.pixel_size import unit_of
from pipeline.grid.tiles import relevant_scenes
from pipeline.run.choose_runner import choose_runner
from pipeline.run.config import RunConfig
from pipeline.run.forecast import find_measurement, forecast, what_is_ahead
from pipeline.run.merge.publish import Published
from pipeline.run.plan_imagery import FoundImagery, scene_rows
from pipeline.run.prepare import PlannedRun, RunRequest, check_engines, plan_run
from pipeline.run.rehearsal import rehearse
from pipeline.run.report_imagery import Imagery
from pipeline.run.screen import Say
from pipeline.run.sole_driver import sole_driver
from pipeline.run.summary import closing_code, notice_box, plan_text, table
from pipeline.run.zones.kept_zones import KeptZones, id_offsets, require_zoned_run, zone_grid
from pipeline.run.zones.zone_closing import close_zones, zoned_result_table
from pipeline.run.zones.zone_imagery import imagery_footprints
from pipeline.run.zones.zone_objects import ZoneResult
from pipeline.run.zones.zone_plan import Zone, by_crs, zones_of
from pipeline.run.zones.zone_publish import publish_zones
from pipeline.write.run_dir import RunDir
from pipeline.write.run_document import begin
from pipeline.write.run_json import RunInfo, collect_versions
from pipeline.write.scene_table import SceneRow
from pipeline.write.zoned.zoned_json import ZonedInfo, ZoneEntry
from pipeline.write.zoned.zoned_tables import write_zoned_plan, write_zoned_scenes

ZONE_MARK = "{zone}"
"""Stands for the zone's name in the path of an oracle's label raster."""

_MOST_NAMED = 4
"""Zones that a message names."""


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """A run that was published and closed."""

    info: RunInfo
    published: Published
    imagery: Imagery
    inference_s: float
    """Seconds until all blocks were committed; those of all zones together."""


class RunTogether(Protocol):
    """Does planned runs in one flow, with models that are loaded once. Returns them in order."""

    def __call__(
        self, plans: Sequence[PlannedRun], *, root: RunDir, say: Say, started: float
    ) -> list[FinishedRun]: ...


@dataclass(frozen=True, kw_only=True)
class PlannedZones:
    """Zones whose runs are planned and checked."""

    request: RunRequest
    zones: tuple[Zone, ...]
    plans: tuple[PlannedRun, ...]
    kept: KeptZones | None
    """The zones of the run that goes on."""
    parameters: Mapping[str, Any]
    scenes: tuple[tuple[str | None, SceneRow], ...]
    """Every scene and item found, once, with the zone that looks at it. None: none does."""
    before: ZonedInfo | None = None
    """run.json of the finished run to which queries are added (pipeline.run.added). None: none are."""

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.parameters)

    @property
    def aim(self) -> dict[str, Any]:
        """What run.json names while the run goes on in another way and has not ended."""
        aim = {"fingerprint": self.fingerprint, "zones": self.parameters["zones"]}
        return aim if self.before is None else {**aim, "queries": self.parameters["queries"]}


def divided(
    config: RunConfig, found: FoundImagery, *, kept: KeptZones | None = None, say: Say
) -> tuple[Zone, ...]:
    """Divide scenes of several CRSs into zones. Empty: one grid serves all, or nothing can be divided.

    One zone: it covers all of the area, and says so. `kept`: zones of an earlier run; then one CRS is a zone,
    too. Raises InputError for scenes outside the AOI, and for a --resolution that would mean another length
    in each zone; SourceError (retryable) when a server does not answer.
    """
    grid = config.grid
    is_open = grid.crs is None and (grid.of_run is None or kept is not None)
    groups = by_crs(found.scenes) if is_open else []
    if len(groups) < (2 if kept is None else 1) or any(group[0].crs_wkt is None for group in groups):
        return ()
    crss = [str(group[0].crs_wkt) for group in groups]
    if any(body_of(wkt) != "earth" for wkt in crss):
        return ()
    units = {unit_of(wkt)[0] for wkt in crss}
    if grid.resolution is not None and len(units) > 1:
        raise InputError(
            "--resolution must mean one length where sources have several CRSs",
            came=f"{grid.resolution:g} for CRSs in {' and '.join(sorted(units))}",
            remedy="give --gsd in metres on the ground, or --crs for one grid",
        )
    tiles = config.tiles
    footprints = imagery_footprints(found.scenes, found.aoi, found.found.footprints.decoded(), config.load)
    zones = zones_of(found.scenes, found.aoi, band_px=tiles.px - tiles.halo_px, footprints=footprints)
    if len(zones) == 1 and not is_zoned(config, zones, kept):
        say(
            f"note: {zones[0].name} alone is used: its scenes cover all of the area that is nearest to them, "
            f"and those of {len(groups) - 1} other CRSs would add nothing"
        )
    return zones if kept is None else kept.ordered(zones)


def is_zoned(config: RunConfig, zones: Sequence[Zone], kept: KeptZones | None) -> bool:
    """Whether there is a run per zone below one of all: for a single zone, too, where the run has zones, or
    is to have room for others.
    """
    return len(zones) > 1 or (len(zones) == 1 and (kept is not None or config.grid.area is not None))


def run_zones(
    request: RunRequest,
    found: FoundImagery,
    zones: Sequence[Zone],
    *,
    kept: KeptZones | None = None,
    run_together: RunTogether,
    say: Say,
) -> int:
    """Plan, run and publish all zones. Returns the exit code: 0, or 3 when more tiles failed than may. Raises
    TerraqueryError.
    """
    started = time.monotonic()
    require_zoned_run(request, zones, kept)
    planned = plan_zones(request, found, zones, kept)
    return run_planned_zones(planned, run_together=run_together, say=say, started=started)


def run_planned_zones(planned: PlannedZones, *, run_together: RunTogether, say: Say, started: float) -> int:
    """Run and publish zones that are planned. `started`: when their planning began, by `time.monotonic`.
    Returns the exit code, and raises, as `run_zones` does.
    """
    request = planned.request
    adds = planned.before is not None
    root = RunDir(request.out)
    if request.config.preset.notice:
        say(notice_box(request.config.preset.notice))
    say(zones_text(planned))
    for place, parameters in [(root, planned.parameters), *_directories(planned)]:
        place.check(parameters, new_run=request.new_run, update=request.update, adds_queries=adds)
    if request.dry_run:
        return _rehearse(planned, root, say)
    with sole_driver(root.path, say=say) as require_still_alone:
        root.claim(
            planned.parameters, new_run=request.new_run, update=request.update, adds_queries=adds, say=say
        )
        info = begin(
            root,
            start_zoned(planned),
            new_run=request.new_run,
            update=request.update,
            aim=planned.aim,
        )
        if request.new_run:
            root.clear()
        if not adds:
            write_zoned_scenes(root.scenes, planned.scenes)
        for zone, plan in _pairs(planned):
            say(f"\nzone {zone.name}\n{plan_text(plan)}")
        runs = run_together(planned.plans, root=root, say=say, started=started)
        results = [
            ZoneResult(
                zone=zone,
                run_dir=RunDir(plan.request.out).in_snapshot(run.info.snapshot),
                info=run.info,
                id_offset=entry.id_offset,
                conservation=run.published.conservation,
                imagery=run.imagery,
            )
            for zone, plan, entry, run in zip(planned.zones, planned.plans, info.zones, runs, strict=True)
        ]
        require_still_alone()
        done = time.monotonic()
        say("\nall zones: joining objects over their seams")
        published = publish_zones(root, results, min_area_m2=request.config.min_area_m2, info=info)
        timings = {
            "inference": runs[0].inference_s,
            "zones": done - started - runs[0].inference_s,
            "publish": time.monotonic() - done,
            "total": time.monotonic() - started,
        }
        info = close_zones(info, results, published, timings_s=timings, say=say)
    say(zoned_result_table(info, published, root))
    return closing_code(info.counters, request.max_failed_share)


def plan_zones(
    request: RunRequest, found: FoundImagery, zones: Sequence[Zone], kept: KeptZones | None = None
) -> PlannedZones:
    """Plan and check the run of every zone; writes nothing. Raises InputError or SourceError."""
    _require_zone_labels(request.config, zones)
    _require_no_examples(request.config, zones)
    reasons = unneeded(found, zones)
    plans = []
    for zone in zones:
        config = zone_config(request.config, zone.name)
        grid = zone_grid(config.grid, zone, kept)
        own = replace(
            request,
            out=str(RunDir(request.out).zones / zone.name),
            config=replace(config, grid=grid, min_area_m2=0.0),
        )
        others = {
            scene.scene_id: f"is of zone {other.name}"
            for other in zones
            if other is not zone
            for scene in other.scenes
        }
        chosen = found.scenes_in(zone.crs_wkt)
        plans.append(plan_run(own, found.of(chosen, zone.area, reasons=reasons | others)))
    runner = choose_runner(request.runner, sum(plan.plan.n_tiles for plan in plans))
    check_engines(request.config.preset, runner.name)
    return PlannedZones(
        request=request,
        zones=tuple(zones),
        plans=tuple(replace(plan, runner=runner) for plan in plans),
        kept=kept,
        parameters=zoned_parameters(request.config, zones, plans),
        scenes=tuple(_scene_rows(found.of((), found.aoi, reasons=reasons), zones, plans)),
    )


def unneeded(found: FoundImagery, zones: Sequence[Zone]) -> dict[str, str]:
    """Find the scenes of the area that no zone has: scene_id -> reason, for tables of scenes."""
    near = [scene.scene_id for scene in relevant_scenes(found.scenes, found.aoi)]
    needed = {scene.scene_id for zone in zones for scene in zone.scenes}
    reason = "is of another CRS, and scenes of others cover all of its ground"
    return {name: reason for name in near if name not in needed}


def _scene_rows(
    found: FoundImagery, zones: Sequence[Zone], plans: Sequence[PlannedRun]
) -> Iterator[tuple[str | None, SceneRow]]:
    """Those that are taken, zone by zone, then the others in order of priority, then items that were left."""
    taken = [
        (zone.name, row)
        for zone, plan in zip(zones, plans, strict=True)
        for row in plan.found
        if row.order is not None
    ]
    yield from taken
    names = {row.scene_id for _, row in taken}
    rows = scene_rows(found, ())
    n_scenes = len(found.found.scenes)
    yield from ((None, row) for row in rows[:n_scenes] if row.scene_id not in names)
    beside = {(row.collection, row.scene_id) for _, row in taken if row.reason}
    yield from ((None, row) for row in rows[n_scenes:] if (row.collection, row.scene_id) not in beside)


def zone_config(config: RunConfig, name: str) -> RunConfig:
    """The configuration of one zone: an oracle answers from the zone's own labels."""
    preset = config.preset
    prompter = replace(preset.prompter, model=preset.prompter.model.replace(ZONE_MARK, name))
    segmenter = replace(preset.segmenter, checkpoint=preset.segmenter.checkpoint.replace(ZONE_MARK, name))
    return replace(config, preset=replace(preset, prompter=prompter, segmenter=segmenter))


def _require_zone_labels(config: RunConfig, zones: Sequence[Zone]) -> None:
    """Refuse one label raster for several zones: it lies on the pixels of one of them. Raises InputError."""
    models = {config.prompter.kind: config.prompter.model, config.segmenter.kind: config.segmenter.checkpoint}
    labels = models.get("oracle")
    if labels is not None and ZONE_MARK not in labels:
        files = ", ".join(f"labels_{zone.name}.tif" for zone in zones[:_MOST_NAMED])
        more = ", ..." if len(zones) > _MOST_NAMED else ""
        raise InputError(
            "an oracle needs a label raster for every zone, on the zone's own pixels",
            came=labels,
            remedy=f"write {ZONE_MARK} for the zone's name, as in oracle:labels_{ZONE_MARK}.tif (files "
            f"{files}{more}), or give --crs for one grid",
        )


def _require_no_examples(config: RunConfig, zones: Sequence[Zone]) -> None:
    """Refuse marks for several zones: one classifier is trained on one grid. Raises InputError."""
    if config.preset.examples.on:
        raise InputError(
            "--examples needs imagery of one CRS",
            came=f"scenes of {len(zones)} zones ({', '.join(zone.name for zone in zones[:_MOST_NAMED])})",
            remedy="give --crs for one grid",
        )


def zoned_parameters(config: RunConfig, zones: Sequence[Zone], plans: Sequence[PlannedRun]) -> dict[str, Any]:
    """Collect what pins the result of all zones: what they share, and the fingerprint of each."""
    first, *others = [plan.parameters for plan in plans]
    shared = {
        key: value
        for key, value in first.items()
        if all(key in other and other[key] == value for other in others)
    }
    return {
        **shared,
        "min_area_m2": config.min_area_m2,
        "crs": LONLAT_CRS,
        "zones": {zone.name: plan.fingerprint for zone, plan in zip(zones, plans, strict=True)},
    }


def start_zoned(planned: PlannedZones) -> ZonedInfo:
    """Make run.json as it stands when the run starts."""
    key = planned.fingerprint
    names = [zone.name for zone in planned.zones]
    offsets = id_offsets(names, [plan.plan.grid.window.area_px for plan in planned.plans], planned.kept)
    entries = []
    for (zone, plan), offset in zip(_pairs(planned), offsets, strict=True):
        entries.append(
            ZoneEntry(
                name=zone.name,
                crs=crs_name(zone.crs_wkt),
                path=f"zones/{zone.name}",
                fingerprint=plan.fingerprint,
                id_offset=offset,
                n_scenes=len(plan.plan.scenes),
                n_tiles=plan.plan.n_tiles,
                owned_wkb=zone.owned.wkb_hex,
            )
        )
    return ZonedInfo(
        run_id=key[:16],
        fingerprint=key,
        status="running",
        parameters=planned.parameters,
        queries=planned.request.config.queries,
        crs=LONLAT_CRS,
        zones=tuple(entries),
        left_zones=() if planned.kept is None else planned.kept.left(planned.zones),
        searches=planned.plans[0].searches,
        settings={"preset": planned.request.config.preset_name},
        versions=collect_versions(),
        started=moment(),
    )


def zones_text(planned: PlannedZones) -> str:
    """Tell the division in a few lines."""
    rows = {"run": f"{planned.fingerprint[:16]}, in {len(planned.zones)} zones with pixels of their own"}
    for zone, plan in zip(planned.zones, planned.plans, strict=True):
        rows[zone.name] = (
            f"{len(plan.plan.scenes)} scenes, {plan.plan.n_tiles} tiles, {crs_name(zone.crs_wkt)}"
        )
    rows["result"] = f"{RunDir(planned.request.out).path}, in {LONLAT_CRS}"
    return table(rows)


def _rehearse(planned: PlannedZones, root: RunDir, say: Say) -> int:
    is_new = not root.run_json.exists()
    request = planned.request
    measured = find_measurement(planned.plans, root, request.measured_by)
    rehearsals = []
    for zone, plan in _pairs(planned):
        say(f"\nzone {zone.name}")
        say(plan_text(plan))
        rehearsals.append(rehearse(plan, leave_plan=is_new))
        say(rehearsals[-1].text)
    for entry in () if planned.kept is None else planned.kept.left(planned.zones):
        say(f"\nzone {entry.name} falls out: its block records are kept, and count when the area reaches it")
    say(f"\nall zones\n{forecast(what_is_ahead(planned.plans, rehearsals), measured, request.spending)}")
    if is_new:
        write_zoned_plan(root.plan, [(zone.name, RunDir(plan.request.out)) for zone, plan in _pairs(planned)])
        write_zoned_scenes(root.scenes, planned.scenes)
    return 0


def _directories(planned: PlannedZones) -> list[tuple[RunDir, Mapping[str, Any]]]:
    """The zones' own runs, and what pins each."""
    return [(RunDir(plan.request.out), plan.parameters) for plan in planned.plans]


def _pairs(planned: PlannedZones) -> list[tuple[Zone, PlannedRun]]:
    return list(zip(planned.zones, planned.plans, strict=True))
