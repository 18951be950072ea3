"""Phase two alone, on the block records of an earlier run: checked here, before anything is written.

1. `plan_restitch` reads run.json and the plan, refuses another tiling, and checks that every planned block
   has a whole record of that run. It needs no model and no imagery.
2. Thresholds not given stay those of the run; others want a directory of their own.
3. `claim_restitch` takes the output directory; pipeline.run.flow then publishes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.files.fingerprint import fingerprint
from pipeline.files.run_times import moment
from pipeline.files.store.store_path import store_path
from pipeline.geo.planet import require_proj
from pipeline.load.prepare_scenes import prepare_scenes
from pipeline.options import parse_table
from pipeline.run.block_inputs import keys_of_run
from pipeline.run.choose_runner import ChosenRunner, choose_runner
from pipeline.run.config import MergeMode, RunnerChoice, check_min_area, require_areas
from pipeline.run.merge.merge_job import MergeJob
from pipeline.run.report_imagery import Imagery
from pipeline.run.scenes_again import scenes_again
from pipeline.schema.tiling import block_id
from pipeline.stitch.stitch_options import MergeOptions, StitchOptions
from pipeline.write.instances import InstanceMeta
from pipeline.write.plan_table import planned_blocks, read_inside
from pipeline.write.records.done_records import done_blocks
from pipeline.write.records.record_keys import RecordKeys
from pipeline.write.run_dir import RunDir
from pipeline.write.run_document import begin
from pipeline.write.run_json import RunInfo, collect_versions, read_run_json
from pipeline.write.run_lock import take

AGAIN = (
    "start segment_region.py again with the run's own command: it does only the blocks that are missing, "
    "then merge again"
)


@dataclass(frozen=True, kw_only=True)
class RestitchRequest:
    """What to merge again, and how. None: as the run has it."""

    run: str
    out: str | None = None
    runner: RunnerChoice = "auto"
    super_tile: int | None = None
    """Side of a super-tile in tiles; does not change the result."""
    thresholds: Mapping[str, Any]
    """Fields of `StitchOptions` that are to change."""
    merge_mode: MergeMode | None = None
    min_area_m2: float | None = None
    tiling: Mapping[str, int]
    """tile_px, halo_px, block_tiles as the user believes them; refused when the records differ."""


@dataclass(frozen=True, kw_only=True)
class RestitchPlan:
    """A checked request."""

    request: RestitchRequest
    job: MergeJob
    info: RunInfo
    """run.json of the directory that will be written, as it stands before merging."""
    in_place: bool
    runner: ChosenRunner

    @property
    def run_dir(self) -> RunDir:
        return self.job.run_dir


def plan_restitch(request: RestitchRequest) -> RestitchPlan:
    """Check everything that can be wrong; writes nothing. Raises InputError.

    A run directory holds what its run.json says, so other thresholds go into one of their own. Its
    fingerprint names the run that the records come from.
    """
    require_proj()
    source = RunDir(request.run)
    if not source.run_json.is_file():
        remedy = "give the --out directory of a run of segment_region.py"
        raise InputError(
            "--run must be a run directory", came=f"{source.path} without a run.json", remedy=remedy
        )
    info = read_run_json(source.run_json)
    _require_no_addition(source, info)
    _require_tiling(info, request.tiling)
    _require_restitchable(info)
    inside = read_inside(source.plan, info.lattice)
    stitch, parameters = changed_parameters(request, info)
    in_place = request.out is None or store_path(request.out) == source.path
    if in_place and fingerprint(parameters) != info.fingerprint:
        raise InputError(
            "other thresholds need a directory of their own, so that the run's directory keeps holding "
            "what its run.json says",
            came=f"changed parameters and {'no --out' if request.out is None else 'the run itself as --out'}",
            remedy="add --out DIR",
        )
    keys = keys_of_run(info, inside)
    require_records(source, info, inside, keys)
    if not in_place:
        parameters["merged_from"] = info.fingerprint
    written = info if in_place else _written_info(info, parameters, source)
    out = source.path if request.out is None else store_path(request.out)
    options = (
        MergeOptions()
        if request.super_tile is None
        else parse_table(MergeOptions, {"super_tile_tiles": request.super_tile}, "merge")
    )
    job = MergeJob(
        records_dir=str(source.blocks),
        out_dir=str(out),
        keys=keys,
        lattice=info.lattice,
        inside=inside,
        aoi_grid=shapely.from_wkb(bytes.fromhex(info.aoi_wkb)) if info.aoi_wkb else None,
        scenes=info.scenes,
        meta=InstanceMeta(
            queries=info.queries,
            prompter_id=info.model_ids["prompter"],
            segmenter_id=info.model_ids["segmenter"],
            run_id=written.run_id,
            verified=bool({"verifier", "examples"} & parameters.keys()),
            known_locations=parameters["prompter"]["kind"] == "vector",
        ),
        stitch=stitch,
        mode=parameters["merge_mode"],
        min_area_m2=parameters["min_area_m2"],
        super_tile_tiles=options.super_tile_tiles,
        gated="gate" in parameters,
        masked=any(scene.quality is not None for scene in info.scenes),
    )
    runner = choose_runner(request.runner, int(np.count_nonzero(inside)))
    return RestitchPlan(request=request, job=job, info=written, in_place=in_place, runner=runner)


def changed_parameters(request: RestitchRequest, info: RunInfo) -> tuple[StitchOptions, dict[str, Any]]:
    """Lay the request over the run. Returns the options of the merge and the parameters of the result. Raises
    InputError for values that make no sense.
    """
    recorded = dict(info.parameters["stitch"])
    stitch = parse_table(StitchOptions, {**recorded, **request.thresholds}, "the merge's thresholds")
    parameters = dict(info.parameters)
    parameters["stitch"] = {**recorded, **request.thresholds}
    if request.merge_mode is not None:
        parameters["merge_mode"] = request.merge_mode
    if request.min_area_m2 is not None:
        parameters["min_area_m2"] = request.min_area_m2
    check_min_area(parameters["min_area_m2"])
    require_areas(parameters["min_area_m2"], info.lattice.grid, remedy="use --min-area-px")
    return stitch, parameters


def require_records(source: RunDir, info: RunInfo, inside: NDArray[np.bool_], keys: RecordKeys) -> None:
    """Check that every planned block has a whole record of this run. Raises InputError, which names those
    that have not.
    """
    planned = [block_id(*block) for block in planned_blocks(info.lattice, inside)]
    found = done_blocks(source, keys, planned)
    missing = [
        block_id for block_id in planned if block_id not in found.done and block_id not in found.unusable
    ]
    bad = [f"{block_id}: {why.partition(' To fix:')[0]}" for block_id, why in found.unusable.items()]
    bad += [f"{block_id} is missing" for block_id in missing]
    if bad:
        shown = "; ".join(bad[:3]) + (f"; and {len(bad) - 3} more" if len(bad) > 3 else "")
        raise InputError(
            f"all {len(planned)} block records of {source.blocks} must be whole and of this run",
            came=shown,
            remedy=AGAIN,
        )


def claim_restitch(plan: RestitchPlan) -> RunInfo:
    """Take the output directory: its lock, run.json (running) and the plan. Returns run.json as it counts.

    Raises InputError for a foreign directory, RunBusyError for one in which another driver is at work.
    """
    if plan.in_place:
        take(plan.run_dir.path)
    else:
        plan.run_dir.claim(plan.info.parameters)
        source = RunDir(plan.request.run)
        for name in ("plan", "scenes"):  # merging again plans nothing
            if (planned := getattr(source, name)).is_file():
                getattr(plan.run_dir, name).write_bytes(planned.read_bytes())
    return begin(plan.run_dir, replace(plan.info, status="running"))


def imagery_of(plan: RestitchPlan) -> Imagery:
    """Open the run's scenes again, for pictures alone. Raises SourceError or InputError."""
    placed = scenes_again(plan.info)
    sources = prepare_scenes(placed.scenes, placed.load, offsets=placed.offsets, windows=placed.windows)
    return Imagery(sources=sources, load=placed.load)


def _require_no_addition(source: RunDir, info: RunInfo) -> None:
    """Refuse a run to which queries are being added: some of its records have their answers, and some have
    not. Raises InputError.
    """
    if coming := info.update.get("queries"):
        added = ", ".join(map(repr, coming[len(info.queries) :]))
        raise InputError(
            "merging again needs a run whose --add-query has ended",
            came=f"{source.path}, to which {added} is being added",
            remedy="start that command again, then this one",
        )


def _require_tiling(info: RunInfo, tiling: Mapping[str, int]) -> None:
    lattice = info.lattice
    for name, wanted in tiling.items():
        have = getattr(lattice, name)
        if wanted != have:
            raise InputError(
                f"merging again keeps the tiling that the models saw: {name} is {have} in {info.run_id}",
                came=str(wanted),
                remedy=(
                    "leave the option out, or run segment_region.py with the new tiling on an --out of its "
                    f"own ({name} = {wanted})"
                ),
            )


def _require_restitchable(info: RunInfo) -> None:
    missing = [
        name
        for name in ("stitch", "merge_mode", "min_area_m2", "load", "area")
        if name not in info.parameters
    ]
    if missing or not info.model_ids or (info.parameters["area"] != "whole scene" and not info.aoi_wkb):
        raise InputError(
            "run.json must say the run's area, models and thresholds",
            came=f"one written by an earlier version ({', '.join(missing) or 'no area or no model ids'})",
            remedy=(
                "start segment_region.py again with the run's own command: it records them and does no "
                "finished block again"
            ),
        )


def _written_info(info: RunInfo, parameters: Mapping[str, Any], source: RunDir) -> RunInfo:
    key = fingerprint(parameters)
    return replace(
        info,
        run_id=key[:16],
        fingerprint=key,
        parameters=parameters,
        settings={
            **info.settings,
            "merged_from": {"run": str(source.path), "fingerprint": info.fingerprint},
        },
        versions=collect_versions(),
        qa={},
        ended="",
        started=moment(),
    )
