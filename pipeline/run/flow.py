"""The wiring of a run: plan -> blocks -> {read -> prompt -> segment -> commit} -> merge -> publish.

1. `plan_run` plans and checks the run, and `claim` takes the output directory. A dry run stops before.
   Scenes of several CRSs become zones, each of them a run like any other (pipeline.run.zones).
2. `run_blocks` sends the blocks without a committed record through the steps, on Ray (`_run_on_ray`) or in
   this process (`_run_here`).
3. `publish` turns the records into the results. `restitch_region` does this alone; no model is needed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.files.raster_access import PROCESS_CACHE_MB, SMALL_CACHE_MB, set_process_defaults
from pipeline.prompt.looks.verifier import LooksAt
from pipeline.run.closing import Imagery, MergedRun, close_run
from pipeline.run.config import Runner, RunnerChoice
from pipeline.run.imagery_text import imagery_text
from pipeline.run.infer.actors import PromptActor, ReadActor, SegmentActor
from pipeline.run.infer.attempts import AttemptJournal
from pipeline.run.infer.block_rows import block_to_row, image_row_bytes
from pipeline.run.infer.progress import BlockSummary, Progress
from pipeline.run.infer.steps import ATTEMPTS, PromptStep, ReadStep, RunContext, SegmentStep
from pipeline.run.merge.merge_job import TaskRunner, run_here
from pipeline.run.merge.publish import publish, publish_merge
from pipeline.run.prepare import (
    PlannedRun,
    RunRequest,
    Todo,
    claim,
    find_imagery,
    plan_run,
    rehearse,
    todo,
)
from pipeline.run.ray_engine import ActorStage, run_actors, run_tasks_ray
from pipeline.run.restitch import RestitchRequest, claim_restitch, imagery_of, plan_restitch
from pipeline.run.screen import Say, Screen, patient, quiet_screen
from pipeline.run.summary import closing_entry, notice_box, plan_text, result_table
from pipeline.run.zones.zone_flow import FinishedRun, divided, run_zones, zone_config
from pipeline.schema.tiling import BlockSpec
from pipeline.segment.build_segmenter import check_device
from pipeline.write.run_dir import RunDir
from pipeline.write.run_lock import alone_in

BLOCKS_IN_FLIGHT = 2
"""Blocks a prompter works on at once: enough to fill the engine's batch, few enough to bound memory."""


def run_region(request: RunRequest, *, say: Say = print) -> int:
    """Plan, run and publish one request. Returns the exit code: 0, or 3 when tiles failed. `say` prints a
    line. Raises TerraqueryError.
    """
    started = time.monotonic()
    say = patient(say)
    _set_cache(request.runner)
    found = find_imagery(request)
    zones = divided(request, found, say=say)
    if len(zones) > 1:
        return run_zones(request, found, zones, run_one=run_planned, say=say)
    if zones:
        found = found.of(zones[0].scenes, found.aoi)
        request = replace(request, config=zone_config(request.config, zones[0].name))
    run = run_planned(plan_run(request, found), say=say, started=started)
    return 3 if run is not None and run.published.conservation.failed else 0


def run_planned(planned: PlannedRun, *, say: Say, started: float | None = None) -> FinishedRun | None:
    """Run and publish a request that is planned. None: it was a dry run. Raises TerraqueryError.

    `started`: when its planning began, by `time.monotonic`. None: now.
    """
    started = time.monotonic() if started is None else started
    request = planned.request
    runner = planned.runner.name
    _set_cache(runner)
    if request.config.preset.notice:
        say(notice_box(request.config.preset.notice))
    say(plan_text(planned))
    if request.dry_run:
        say(rehearse(planned))
        return None
    if runner == "local":
        check_device(request.config.segmenter)
    with alone_in(Path(request.out)) as require_still_alone:
        context = claim(planned)
        say(imagery_text([source.to_dict() for source in context.scene_sources]))
        with quiet_screen(RunDir(context.run_dir).log, say) as screen:
            left = todo(context, retry_failed=request.retry_failed)
            for text in left.notes:
                screen.say(f"note: {text}")
            AttemptJournal(Path(context.run_dir) / ATTEMPTS).reset()
            infer(context, left, runner=runner, screen=screen)
            inferred = time.monotonic()
            require_still_alone()
            published = publish(context, note=screen.say, run_tasks=task_runner(runner))
            timings = {
                "inference": inferred - started,
                "publish": published.elapsed_s,
                "total": time.monotonic() - started,
            }
            screen.say("Writing report and catalogue item")
            run_dir = RunDir(context.run_dir)
            merged = MergedRun(
                run_dir=run_dir,
                info=closing_entry(run_dir, context.fingerprint, published, timings),
                record_fingerprint=context.fingerprint,
                conservation=published.conservation,
                inside=context.plan.inside,
                imagery=lambda: Imagery(sources=context.scene_sources, load=context.config.load),
            )
            info = close_run(merged, say=screen.say)
    say(result_table(info, context.run_dir, published))
    return FinishedRun(info=info, published=published)


def restitch_region(request: RestitchRequest, *, say: Say = print) -> int:
    """Merge and publish stored block records again. Returns the exit code as `run_region` does. Raises
    TerraqueryError.
    """
    started = time.monotonic()
    say = patient(say)
    _set_cache(request.runner)
    plan = plan_restitch(request)
    runner = plan.runner.name
    _set_cache(runner)
    say(f"runner: {plan.runner}")
    with alone_in(plan.run_dir.path):
        claim_restitch(plan)
        with quiet_screen(plan.run_dir.log, say) as screen:
            published = publish_merge(plan.job, note=screen.say, run_tasks=task_runner(runner))
            timings = {"publish": published.elapsed_s, "total": time.monotonic() - started}
            screen.say("Writing report and catalogue item")
            merged = MergedRun(
                run_dir=plan.run_dir,
                info=closing_entry(plan.run_dir, plan.job.fingerprint, published, timings),
                record_fingerprint=plan.job.fingerprint,
                conservation=published.conservation,
                inside=plan.job.inside,
                imagery=lambda: imagery_of(plan),
            )
            info = close_run(merged, say=screen.say)
    say(result_table(info, str(plan.run_dir.path), published))
    return 3 if published.conservation.failed else 0


def _set_cache(runner: RunnerChoice) -> None:
    """GDAL's cache of this process: small where other processes read the imagery."""
    set_process_defaults(SMALL_CACHE_MB if runner == "ray" else PROCESS_CACHE_MB)


def infer(context: RunContext, left: Todo, *, runner: Runner, screen: Screen) -> None:
    """Do phase one, and show how far it is."""
    n_tiles = sum(len(block.tiles) for block in left.blocks)
    progress = Progress(n_tiles, done_before=left.done_tiles, stream=screen.out)
    run_blocks(context, left.blocks, progress.add, runner=runner, screen=screen)


def run_blocks(
    context: RunContext,
    blocks: Sequence[BlockSpec],
    on_done: Callable[[BlockSummary], None],
    *,
    runner: Runner,
    screen: Screen,
) -> None:
    """Work through `blocks`; calls `on_done` in this process for each that is committed.

    Raises ModelError when a model does not load or its engine dies.
    """
    if not blocks:
        return
    work = _run_on_ray if runner == "ray" else _run_here
    for summary in work(context, blocks, screen):
        on_done(summary)


def _run_here(context: RunContext, blocks: Sequence[BlockSpec], screen: Screen) -> Iterator[BlockSummary]:
    """One process, one block at a time; the prompter's requests of a block still run concurrently."""
    reader = ReadStep(context)
    with screen.loading(f"prompter {_model(context, 'prompter')}"):
        prompter = PromptStep(context)
    try:
        with asyncio.Runner() as loop:
            with screen.loading(f"segmenter {_model(context, 'segmenter')}"):
                verifier = prompter.verifier()
                looks = None if verifier is None else LooksAt(verifier=verifier, run=loop.run)
                segmenter = SegmentStep(context, looks=looks)
            for block in blocks:
                image = reader.read(block)
                answers = loop.run(prompter.prompt(image))
                yield segmenter.commit(image, answers)
    finally:
        prompter.close()


def _run_on_ray(context: RunContext, blocks: Sequence[BlockSpec], screen: Screen) -> Iterator[BlockSummary]:
    """Each step in actors of its own, many blocks on their way at once."""
    pools = context.config.resources
    stages = (
        ActorStage(actor=ReadActor, pool=pools.reader),
        ActorStage(actor=PromptActor, pool=pools.prompter, concurrent=BLOCKS_IN_FLIGHT),
        ActorStage(actor=SegmentActor, pool=pools.segmenter),
    )
    rows = [block_to_row(block) for block in blocks]
    weight = image_row_bytes(context.lattice)
    models = f"prompter {_model(context, 'prompter')} and segmenter {_model(context, 'segmenter')}"
    with screen.waiting(
        f"Ray starts, and its actors are loading {models}", "the first block came through after"
    ) as came:
        for row in run_actors(rows, stages, context, pools, row_bytes=weight):
            came()
            yield BlockSummary(**row)


def _model(context: RunContext, role: str) -> str:
    """Kind and name of a model, without the hash of its content."""
    return context.model_ids[role].partition("@")[0]


def task_runner(runner: Runner) -> TaskRunner:
    """Choose who runs the tasks of phase two."""
    return run_tasks_ray if runner == "ray" else run_here
