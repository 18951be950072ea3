"""The wiring of a run: plan -> blocks -> {read -> prompt -> segment -> commit} -> merge -> publish.

1. `prepare` plans the run, checks every input and every checkpoint's header, claims the output directory and
   writes plan.parquet and run.json. No model is loaded. `--dry-run` stops before the claim and writes a plan
   at most.
2. `run_blocks` sends the blocks without a committed record through the three steps. Two runners share the
   step objects: `_run_on_ray` (Ray Data, pipeline.run.ray_engine) and `_run_here` (this process).
3. The block record is the hinge. It is written once, whole; after it no model is needed. `publish` turns the
   records into rasters, instances, coverage and report. It is a pure function of them: `restitch_region` does
   this alone.

Ray carries one row per block: scalars and bytes (pipeline.run.infer.block_rows).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa

from pipeline.errors import InputError, SourceError
from pipeline.files.raster_access import PROCESS_CACHE_MB, SMALL_CACHE_MB, set_process_defaults
from pipeline.prompt.looks.verifier import LooksAt
from pipeline.run.config import Runner
from pipeline.run.infer.attempts import AttemptJournal
from pipeline.run.infer.block_rows import (
    block_to_row,
    bytes_to_prompts,
    image_row_bytes,
    image_to_table,
    prompts_to_bytes,
    row_to_block,
    table_to_image,
)
from pipeline.run.infer.progress import BlockSummary, Progress
from pipeline.run.infer.steps import ATTEMPTS, PromptStep, ReadStep, RunContext, SegmentStep
from pipeline.run.merge.merge_job import TaskRunner, run_here
from pipeline.run.merge.publish import illustrate, illustrate_run, publish, publish_merge
from pipeline.run.prepare import RunRequest, Todo, claim, plan_request, rehearse, todo
from pipeline.run.ray_engine import ActorStage, dying_with_its_engine, run_actors, run_tasks_ray
from pipeline.run.restitch import RestitchRequest, claim_restitch, imagery_of, plan_restitch
from pipeline.run.summary import close_run, final_table, finish, notice_box, plan_text, result_table
from pipeline.schema import BlockSpec
from pipeline.segment.build_segmenter import check_device
from pipeline.write.run_lock import alone_in

BLOCKS_IN_FLIGHT = 2
"""Blocks a prompter works on at once: enough to keep the engine's batch full, small enough to bound memory."""


def run_region(request: RunRequest, *, say: Callable[[str], None] = print) -> int:
    """Plan, run and publish one request; returns the exit code (0, or 3 when tiles failed). `say` prints a
    line. Raises TerraqueryError.
    """
    started = time.monotonic()
    set_process_defaults(PROCESS_CACHE_MB if request.runner == "local" else SMALL_CACHE_MB)
    planned = plan_request(request)
    if request.config.preset.notice:
        say(notice_box(request.config.preset.notice))
    say(plan_text(planned))
    if request.dry_run:
        say(rehearse(planned))
        return 0
    if request.runner == "local":
        check_device(request.config.segmenter)
    with alone_in(Path(request.out)) as require_still_alone:
        context = claim(planned)
        left = todo(context, retry_failed=request.retry_failed)
        for text in left.notes:
            say(f"note: {text}")
        AttemptJournal(Path(context.run_dir) / ATTEMPTS).reset()
        infer(context, left, runner=request.runner)
        inferred = time.monotonic()
        require_still_alone()
        published = publish(context, note=say, run_tasks=task_runner(request.runner))
        timings = {
            "inference": inferred - started,
            "publish": published.elapsed_s,
            "total": time.monotonic() - started,
        }
        info = finish(planned, context, published, timings)
        say("writing report and catalogue item")
        illustrate(context, info, published.conservation)
    say(final_table(context, published, timings, info.gate))
    return 3 if published.conservation.failed else 0


def restitch_region(request: RestitchRequest, *, say: Callable[[str], None] = print) -> int:
    """Phase two alone on stored block records; returns the exit code as `run_region` does. Raises
    TerraqueryError.
    """
    started = time.monotonic()
    set_process_defaults(PROCESS_CACHE_MB if request.runner == "local" else SMALL_CACHE_MB)
    plan = plan_restitch(request)
    with alone_in(plan.run_dir.path):
        claim_restitch(plan)
        published = publish_merge(plan.job, note=say, run_tasks=task_runner(request.runner))
        timings = {"publish": published.elapsed_s, "total": time.monotonic() - started}
        info = close_run(plan.run_dir, plan.job.fingerprint, published, timings)
        try:
            illustrate_run(
                plan.run_dir, info, published.conservation, imagery=imagery_of(plan), inside=plan.job.inside
            )
        except (SourceError, InputError) as error:
            say(
                f"note: report.html and item.json were not written, because the run's imagery cannot be opened: {error}"
            )
    say(result_table(info.queries, str(plan.run_dir.path), published, timings, info.gate))
    return 3 if published.conservation.failed else 0


def infer(context: RunContext, left: Todo, *, runner: Runner) -> None:
    """Phase one, with progress."""
    progress = Progress(sum(len(block.tiles) for block in left.blocks), done_before=left.done_tiles)
    run_blocks(context, left.blocks, progress.add, runner=runner)


def run_blocks(
    context: RunContext,
    blocks: Iterable[BlockSpec],
    on_done: Callable[[BlockSummary], None],
    *,
    runner: Runner,
) -> None:
    """Work through `blocks`, committing each; `on_done` is called on the driver per committed block.

    `runner` is "ray" or "local". Raises ModelError when a model does not load or its engine dies.
    """
    todo = list(blocks)
    if not todo:
        return
    summaries = _run_on_ray(context, todo) if runner == "ray" else _run_here(context, todo)
    for summary in summaries:
        on_done(summary)


def _run_here(context: RunContext, blocks: list[BlockSpec]) -> Iterator[BlockSummary]:
    """One process, one block at a time; the prompter's requests of a block still run concurrently."""
    reader = ReadStep(context)
    prompter = PromptStep(context)
    try:
        with asyncio.Runner() as loop:
            verifier = prompter.verifier()
            segmenter = SegmentStep(
                context, looks=None if verifier is None else LooksAt(verifier=verifier, run=loop.run)
            )
            for block in blocks:
                image = reader.read(block)
                yield segmenter.commit(image, loop.run(prompter.prompt(image)))
    finally:
        prompter.close()


def task_runner(runner: Runner) -> TaskRunner:
    """Who runs the tasks of phase two."""
    return run_tasks_ray if runner == "ray" else run_here


class _ReadActor:
    def __init__(self, context: RunContext) -> None:
        set_process_defaults(PROCESS_CACHE_MB)
        self._context = context
        self._step = ReadStep(context)

    def __call__(self, batch: pa.Table) -> pa.Table:
        (row,) = batch.to_pylist()
        return image_to_table(self._step.read(row_to_block(row, self._context.lattice)))


class _PromptActor:
    def __init__(self, context: RunContext) -> None:
        set_process_defaults(SMALL_CACHE_MB)
        self._context = context
        self._step = PromptStep(context)

    async def __call__(self, batch: pa.Table) -> AsyncIterator[pa.Table]:
        with dying_with_its_engine():
            answers = await self._step.prompt(table_to_image(batch, self._context.lattice))
        yield batch.append_column("answers", pa.array([prompts_to_bytes(answers)], type=pa.large_binary()))


class _SegmentActor:
    def __init__(self, context: RunContext) -> None:
        set_process_defaults(SMALL_CACHE_MB)
        self._context = context
        self._step = SegmentStep(context)

    def __call__(self, batch: pa.Table) -> pa.Table:
        with dying_with_its_engine():
            summary = self._step.commit(
                table_to_image(batch, self._context.lattice), bytes_to_prompts(batch["answers"][0].as_py())
            )
        return pa.Table.from_pylist([asdict(summary)])


def _run_on_ray(context: RunContext, blocks: list[BlockSpec]) -> Iterator[BlockSummary]:
    pools = context.config.resources
    stages = (
        ActorStage(actor=_ReadActor, pool=pools.reader),
        ActorStage(actor=_PromptActor, pool=pools.prompter, concurrent=BLOCKS_IN_FLIGHT),
        ActorStage(actor=_SegmentActor, pool=pools.segmenter),
    )
    weight = image_row_bytes(context.lattice)
    for row in run_actors(
        [block_to_row(block) for block in blocks], stages, context, pools, row_bytes=weight
    ):
        yield BlockSummary(**row)
