"""The wiring of a run: plan -> blocks -> {read -> prompt -> segment -> commit} -> merge -> publish.

1. `plan_run` plans and checks the run, and `claim` takes the output directory. A dry run stops before.
   Scenes of several CRSs become zones, each of them a run like any other (pipeline.run.zones).
2. `run_blocks` sends the blocks without a committed record through the steps, on Ray (`_run_on_ray`) or in
   this process (`_run_here`). The blocks of all zones go through one flow, so that models are loaded once.
3. `publish` turns the records into the results. `restitch_region` does this alone; no model is needed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from pipeline.errors import BudgetSpentError
from pipeline.files.raster_access import PROCESS_CACHE_MB, SMALL_CACHE_MB, set_process_defaults
from pipeline.files.run_times import fixed_time
from pipeline.run.added.asked_before import parts_of
from pipeline.run.added.claim_added import claim_added
from pipeline.run.added.plan_added import asked_before
from pipeline.run.budget import Budget, SpendingOptions, open_budget
from pipeline.run.closing import MergedRun, close_run
from pipeline.run.config import Runner, RunnerChoice
from pipeline.run.events.event_log import EventLog, read_events, told_to_its_end
from pipeline.run.events.explain_run import cost_text
from pipeline.run.events.run_costs import RunCosts, costs_of, write_costs
from pipeline.run.events.run_events import block_event, pools_event
from pipeline.run.events.run_metrics import RunMetrics
from pipeline.run.examples.training import with_ranker
from pipeline.run.forecast import find_measurement, forecast, what_is_ahead
from pipeline.run.imagery_text import imagery_text
from pipeline.run.infer.actors import RUN, PromptActor, ReadActor, SegmentActor
from pipeline.run.infer.block_rows import block_to_row, image_row_bytes
from pipeline.run.infer.intake import ALWAYS, Intake
from pipeline.run.infer.local_steps import Work, run_local
from pipeline.run.infer.progress import BlockSummary, Progress
from pipeline.run.infer.run_breaker import RunBreaker
from pipeline.run.infer.steps import RunContext
from pipeline.run.merge.merge_job import TaskRunner, run_here, whole_tasks
from pipeline.run.merge.publish import publish, publish_merge
from pipeline.run.pool_sizes import Node, PoolSizes, cluster_text
from pipeline.run.prepare import (
    ClaimedRun,
    PlannedRun,
    RunRequest,
    claim,
    find_imagery,
    plan_run,
    with_commits,
)
from pipeline.run.ray_engine import ActorStage, RayMeters, on_one_machine, run_actors, run_tasks_ray
from pipeline.run.rehearsal import rehearse
from pipeline.run.report_imagery import Imagery
from pipeline.run.restitch import RestitchRequest, claim_restitch, imagery_of, plan_restitch
from pipeline.run.screen import Say, Screen, patient, quiet_screen
from pipeline.run.sole_driver import sole_driver
from pipeline.run.summary import closing_code, closing_entry, notice_box, plan_text, result_table
from pipeline.run.todo import Todo, todo
from pipeline.run.zones.kept_zones import kept_zones
from pipeline.run.zones.zone_flow import (
    FinishedRun,
    divided,
    is_zoned,
    run_zones,
    unneeded,
    zone_config,
)
from pipeline.segment.build_segmenter import check_device
from pipeline.write.run_dir import RunDir

BLOCKS_IN_FLIGHT = 2
"""Blocks a prompter works on at once: enough to fill the engine's batch, few enough to bound memory."""


def run_region(request: RunRequest, *, say: Say = print) -> int:
    """Plan, run and publish one request. Returns the exit code: 0, or 3 when more tiles failed than may.
    `say` prints a line. Raises TerraqueryError.
    """
    started = time.monotonic()
    say = patient(say)
    _set_cache(request.runner)
    request = with_commits(request)
    found = find_imagery(request)
    kept = kept_zones(request)
    zones = divided(request.config, found, kept=kept, say=say)
    if is_zoned(request.config, zones, kept):
        return run_zones(request, found, zones, kept=kept, run_together=run_together, say=say)
    if zones:
        chosen = found.scenes_in(zones[0].crs_wkt)
        found = found.of(chosen, found.aoi, reasons=unneeded(found, zones))
        request = replace(request, config=zone_config(request.config, zones[0].name))
    run = run_planned(plan_run(request, found), say=say, started=started)
    return 0 if run is None else closing_code(run.info.counters, request.max_failed_share)


def run_planned(planned: PlannedRun, *, say: Say, started: float | None = None) -> FinishedRun | None:
    """Run and publish a request that is planned. None: it was a dry run. Raises TerraqueryError.

    `started`: when its planning began, by `time.monotonic`. None: now.
    """
    started = time.monotonic() if started is None else started
    request = planned.request
    _set_cache(planned.runner.name)
    if request.config.preset.notice:
        say(notice_box(request.config.preset.notice))
    say(plan_text(planned))
    if request.dry_run:
        measured = find_measurement([planned], RunDir(request.out), request.measured_by)
        rehearsal = rehearse(planned)
        say(forecast(what_is_ahead([planned], [rehearsal]), measured, request.spending))
        say(rehearsal.text)
        return None
    (run,) = run_together([planned], root=RunDir(request.out), say=say, started=started)
    return run


def run_together(
    plans: Sequence[PlannedRun], *, root: RunDir, say: Say, started: float | None = None
) -> list[FinishedRun]:
    """Run and publish what is planned: one run, or those of all zones of a region, which share their models.

    All blocks go through one flow, and then each run is published. `root`: the directory of the run, or of
    all zones; its log takes what libraries print. `started`: as in `run_planned`. Raises TerraqueryError.
    """
    started = time.monotonic() if started is None else started
    runner = plans[0].runner.name
    _set_cache(runner)
    if runner == "local":
        check_device(plans[0].request.config.segmenter)
    names = [f"{Path(plan.request.out).name}: " if len(plans) > 1 else "" for plan in plans]
    with ExitStack() as stack:
        locks = [stack.enter_context(sole_driver(plan.request.out, say=say)) for plan in plans]
        claimed = []
        for name, plan in zip(names, plans, strict=True):
            claimed.append((claim if plan.before is None else claim_added)(plan, say=say))
            text = imagery_text([source.to_dict() for source in claimed[-1].context.scene_sources])
            say(f"\n{name}\n{text}" if name else text)
        contexts = [each.context for each in claimed]
        prints = [plan.fingerprint for plan in plans]
        budget = open_budget(plans[0].request.spending, lambda: read_events(root), prints)
        with (
            _priced(root, budget.options, say),
            _logged(root, say) as screen,
            told_to_its_end(root, runner=runner, runs=prints) as events,
        ):
            work = []
            for name, plan, context in zip(names, plans, contexts, strict=True):
                request = plan.request
                asked = asked_before(plan)
                left = todo(
                    context,
                    retry_failed=request.retry_failed,
                    update=request.update,
                    before=None if asked is None else asked.keys,
                )
                for note in left.notes:
                    screen.say(f"note: {name}{note}")
                if left.blocks:
                    context = with_ranker(context, plan.parameters, screen.say)
                work += parts_of(replace(context, redone=left.redone), left, asked)
            infer(work, runner=runner, screen=screen, events=events, budget=budget)
            inference_s = time.monotonic() - started
            runs = []
            for name, each, require_still_alone in zip(names, claimed, locks, strict=True):
                require_still_alone()
                events.tell("publishing", run=name.removesuffix(": "))
                runs.append(_published(each, name, runner, screen, started, inference_s))
                events.tell_traffic("publishing")
                events.tell("published", run=name.removesuffix(": "), snapshot=runs[-1].info.snapshot)
        costs = _costs(root, budget.options)
    for name, run, context in zip(names, runs, contexts, strict=True):
        text = result_table(run.info, context.run_dir, run.published)
        say(f"\n{name}\n{text}" if name else text)
    if costs is not None:
        say(cost_text(costs))
    return runs


@contextmanager
def _priced(root: RunDir, options: SpendingOptions, say: Say) -> Iterator[None]:
    """Say what a run has cost, and write it down, when the body is stopped for that."""
    try:
        yield
    except BudgetSpentError:
        if (costs := _costs(root, options)) is not None:
            say(cost_text(costs))
        raise


def _costs(root: RunDir, options: SpendingOptions) -> RunCosts | None:
    """Sum up what all starts of a run cost, and write it down. None: times are fixed, or logs do not come."""
    if fixed_time() is not None:
        return None
    try:
        costs = costs_of(root, read_events(root), price_per_hour=options.price_per_hour)
    except OSError:
        return None
    write_costs(root, costs)
    return costs


@contextmanager
def _logged(run_dir: RunDir, say: Say) -> Iterator[Screen]:
    """`quiet_screen` with the log of a run, which is kept also when the run fails."""
    try:
        with quiet_screen(run_dir.log, say, place=str(run_dir.path)) as screen:
            yield screen
    finally:
        run_dir.keep_log()


def _published(
    claimed: ClaimedRun, name: str, runner: Runner, screen: Screen, started: float, inference_s: float
) -> FinishedRun:
    """Publish and close one run. `name`: of its zone; empty where it is the only run."""
    context = claimed.context
    published = publish(
        context,
        note=lambda text: screen.say(f"{name}{text}"),
        run_tasks=task_runner(runner),
        one_machine=is_one_machine(runner),
    )
    timings = {"inference of all zones" if name else "inference": inference_s, "publish": published.elapsed_s}
    if not name:
        timings["total"] = time.monotonic() - started
    screen.say(f"{name}Writing report and catalogue item")
    merged = MergedRun(
        run_dir=published.run_dir,
        shards=published.shards,
        info=closing_entry(claimed.info, published, timings),
        keys=published.keys,
        conservation=published.conservation,
        inside=context.plan.inside,
        imagery=lambda: Imagery(sources=context.scene_sources, load=context.config.load),
    )
    info = close_run(merged, say=screen.say)
    return FinishedRun(info=info, published=published, imagery=merged.imagery(), inference_s=inference_s)


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
    with sole_driver(plan.run_dir.path, say=say):
        begun = claim_restitch(plan)
        with _logged(plan.run_dir, say) as screen:
            published = publish_merge(
                plan.job,
                note=screen.say,
                run_tasks=task_runner(runner),
                one_machine=is_one_machine(runner),
            )
            timings = {"publish": published.elapsed_s, "total": time.monotonic() - started}
            screen.say("Writing report and catalogue item")
            merged = MergedRun(
                run_dir=published.run_dir,
                shards=published.shards,
                info=closing_entry(begun, published, timings),
                keys=published.keys,
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


def infer(
    work: Sequence[tuple[RunContext, Todo]],
    *,
    runner: Runner,
    screen: Screen,
    events: EventLog,
    budget: Budget,
) -> None:
    """Do phase one of all runs, show how far it is, and tell its events.

    Raises StoppedRunError when tile after tile fails, and BudgetSpentError when the budget did not last.
    """
    blocks = [(context, left.blocks) for context, left in work if left.blocks]
    n_tiles = sum(len(block.tiles) for _, some in blocks for block in some)
    done_before = sum(left.done_tiles for _, left in work)
    progress = Progress(n_tiles, done_before=done_before, stream=screen.out)
    breaker = RunBreaker(work[0][0].config.limits, sum(len(context.plan.scenes) for context, _ in work))

    events.tell_traffic("planning")
    events.tell("inference", blocks=sum(len(some) for _, some in blocks), tiles=n_tiles, done=done_before)

    n_blocks = sum(len(some) for _, some in blocks)
    stay = sum(left.changes.n_stay for _, left in work)
    if n_blocks and (told := budget.left_text()):
        screen.say(told)

    committed = 0

    def count(block: BlockSummary) -> None:
        nonlocal committed
        committed += 1
        events.tell("block", **block_event(block))
        progress.add(block)
        if progress.done < progress.total:  # there is something to stop
            breaker.add(block)

    if budget.intake.is_open:
        run_blocks(blocks, count, runner=runner, screen=screen, events=events, intake=budget.intake)
        events.tell_traffic("inference")
        events.tell("inferred")
    for context, _ in work:
        context.journal.reset()  # a process that died with its record committed has left a note
    if committed < n_blocks:
        raise budget.stopped(done=stay + committed, left=n_blocks - committed)


def run_blocks(
    work: Sequence[Work],
    on_done: Callable[[BlockSummary], None],
    *,
    runner: Runner,
    screen: Screen,
    events: EventLog,
    intake: Intake = ALWAYS,
) -> None:
    """Work through the blocks of all runs; calls `on_done` in this process for each that is committed. Once
    `intake` is closed, no block is begun.

    Raises ModelError when a model does not load or its engine dies.
    """
    if not work:
        return
    flow = _run_on_ray(work, screen, events, intake) if runner == "ray" else _run_here(work, screen, intake)
    for summary in flow:
        on_done(summary)


def _run_here(work: Sequence[Work], screen: Screen, intake: Intake) -> Iterator[BlockSummary]:
    """One process, one block at a time; another one for what this one does not survive."""
    yield from run_local(work, screen, intake=intake)


def _run_on_ray(
    work: Sequence[Work], screen: Screen, events: EventLog, intake: Intake
) -> Iterator[BlockSummary]:
    """Each step in actors of its own, many blocks on their way at once."""
    for context, _ in work:
        context.journal.reset()
    contexts = tuple(context for context, _ in work)
    first = contexts[0]
    pools = first.config.resources
    stages = (
        ActorStage(actor=ReadActor, role="reader"),
        ActorStage(actor=PromptActor, role="prompter", concurrent=BLOCKS_IN_FLIGHT),
        ActorStage(actor=SegmentActor, role="segmenter"),
    )
    rows = [block_to_row(block) | {RUN: run} for run, (_, blocks) in enumerate(work) for block in blocks]
    weight = max(image_row_bytes(context.lattice) for context in contexts)
    models = f"prompter {_model(first, 'prompter')} and segmenter {_model(first, 'segmenter')}"

    metrics = RunMetrics(RayMeters(), first.fingerprint)
    events.let_hear(metrics.heard)

    def sized(nodes: Sequence[Node], sizes: PoolSizes) -> None:
        events.tell("pools", **pools_event(pools, nodes, sizes))
        if any(pool.actors == "auto" for pool in pools.pools().values()):
            screen.say(cluster_text(nodes, sizes))

    with (
        metrics.beating(),
        screen.waiting(
            f"Ray starts, and its actors are loading {models}", "the first block came through after"
        ) as came,
    ):
        flow = run_actors(rows, stages, contexts, pools, row_bytes=weight, on_sized=sized, intake=intake)
        for row in flow:
            came()
            yield BlockSummary(**row)


def _model(context: RunContext, role: str) -> str:
    """Kind and name of a model, without the hash of its content."""
    return context.model_ids[role].partition("@")[0]


def task_runner(runner: Runner) -> TaskRunner:
    """Choose who runs the tasks of phase two. A signal stops them at the end of one."""
    return whole_tasks(run_tasks_ray if runner == "ray" else run_here)


def is_one_machine(runner: Runner) -> bool:
    """Whether the tasks of phase two run on this machine alone."""
    return runner == "local" or on_one_machine()
