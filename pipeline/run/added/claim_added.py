"""Take the directory of a run to which queries are added. Its plan stays as it is.

run.json keeps saying what was published, and names in `update` what the run becomes: readers see the earlier
result until the new one is whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

from pipeline.load.prepare_scenes import SceneSource, prepare_scenes
from pipeline.load.unjudged import PlannedArea
from pipeline.run.added.run_again import require_same_imagery
from pipeline.run.block_inputs import aim_of, inputs_of_plan, shared_fingerprint
from pipeline.run.prepare import ClaimedRun, PlannedRun, run_context
from pipeline.write.run_dir import RunDir
from pipeline.write.run_document import begin
from pipeline.write.run_json import RunInfo, collect_versions


def claim_added(planned: PlannedRun, *, say: Callable[[str], None] | None = None) -> ClaimedRun:
    """Check the imagery and take the directory. Raises RunMismatchError where the imagery or the run is
    another one by now. `say`: tells what it waits for.
    """
    run_dir = RunDir(planned.request.out)
    sources = sources_again(planned)
    run_dir.claim(planned.parameters, update=True, adds_queries=True, say=say)
    keys = inputs_of_plan(planned.parameters, planned.plan)
    info = begin(
        run_dir,
        added_info(planned, sources),
        update=True,
        aim={**aim_of(planned.fingerprint, keys), "queries": list(planned.request.config.queries)},
    )
    return ClaimedRun(context=run_context(planned, sources), info=info)


def sources_again(planned: PlannedRun) -> tuple[SceneSource, ...]:
    """Prepare the scenes of a run again; they must show what they showed. Raises RunMismatchError for others,
    and SourceError for one that a user named and that cannot be read.
    """
    assert planned.before is not None
    run_dir = RunDir(planned.request.out)
    plan = planned.plan
    run_dir.check(planned.parameters, update=True, adds_queries=True)
    sources = prepare_scenes(
        plan.scenes,
        planned.request.config.load,
        offsets=plan.offsets,
        windows=plan.scene_windows,
        area=PlannedArea(lattice=plan.lattice, inside=plan.inside),
    )
    require_same_imagery(run_dir, planned.before, sources)
    return sources


def added_info(planned: PlannedRun, sources: Sequence[SceneSource]) -> RunInfo:
    """Make run.json as it stands when the start begins: what the run says of its ground stays."""
    before = planned.before
    assert before is not None
    preset = planned.request.config.preset
    unread = {source.scene.scene_id for source in sources if source.scene.failure}
    settings = {
        **before.settings,
        "runner": planned.runner.name,
        "resources": asdict(preset.resources),
        "limits": asdict(preset.limits),
        "open_files": preset.load.open_files,
    }
    return replace(
        before,
        run_id=planned.fingerprint[:16],
        fingerprint=planned.fingerprint,
        status="running",
        parameters=planned.parameters,
        queries=planned.request.config.queries,
        records_share=shared_fingerprint(planned.parameters),
        unread=tuple(sorted(unread | set(before.unread))),
        settings=settings,
        models={"prompter": asdict(preset.prompter), "segmenter": asdict(preset.segmenter)},
        versions=collect_versions(),
        counters={
            "tiles_planned": int(planned.plan.inside.size),
            "tiles_outside": planned.plan.n_tiles_outside,
        },
        timings_s={},
        reasons={},
        searched={},
        qa={},
        gate={},
        notes=(),
        outputs={},
        ended="",
    )
