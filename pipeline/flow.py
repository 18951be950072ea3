"""The wiring: plan -> blocks -> {read -> prompt -> segment -> commit} -> publish. The only module that imports ray.

1. `prepare` plans the run, checks every input and every checkpoint's header, claims the output directory and writes
   plan.parquet and run.json. No model is loaded; `--dry-run` stops here.
2. `run_blocks` sends the blocks that have no committed record yet through the three steps, with one of two runners over
   the same step objects: `_run_ray` (Ray Data, fixed-size actor pools) or `_run_local` (this process).
3. `publish` turns the committed records into rasters, instances, coverage and report (pipeline.publish); it is a pure
   function of the records and can be repeated.

Ray carries one row per block: scalars and bytes (pipeline.rows). Pools are of fixed size and the plan refuses to ask
for more GPUs or CPUs than the cluster has, because an oversubscribed pool silently stops streaming.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.attempts import AttemptJournal
from pipeline.config import Pool, Runner
from pipeline.errors import InputError, ModelError, TerraqueryError
from pipeline.prepare import RunRequest, Todo, claim, plan_request, todo
from pipeline.progress import BlockSummary, Progress
from pipeline.publish import illustrate, publish
from pipeline.raster_access import set_process_defaults
from pipeline.rows import (
    block_to_row,
    bytes_to_prompts,
    image_to_row,
    prompts_to_bytes,
    row_to_block,
    row_to_image,
)
from pipeline.schema import BlockSpec
from pipeline.steps import ATTEMPTS, PromptStep, ReadStep, RunContext, SegmentStep
from pipeline.summary import final_table, finish, notice_box, plan_text

BLOCKS_IN_FLIGHT = 2
"""Blocks a prompter works on at once: enough to keep the engine's batch full, small enough to bound memory."""


def run_region(request: RunRequest, *, say: Callable[[str], None] = print) -> int:
    """Plan, run and publish one request; returns the exit code (0, or 3 when tiles failed). `say` prints a line. Raises TerraqueryError."""
    started = time.monotonic()
    set_process_defaults()
    planned = plan_request(request)
    if request.config.preset.notice:
        say(notice_box(request.config.preset.notice))
    say(plan_text(planned))
    context = claim(planned)
    if request.dry_run:
        say(f"dry run: no model was loaded; the plan is {context.run_dir}/plan.parquet")
        return 0
    left = todo(context, retry_failed=request.retry_failed)
    for text in left.notes:
        say(f"note: {text}")
    AttemptJournal(Path(context.run_dir) / ATTEMPTS).reset()
    infer(context, left, runner=request.runner)
    inferred = time.monotonic()
    published = publish(context, note=say)
    timings = {"inference": inferred - started, "publish": published.elapsed_s, "total": time.monotonic() - started}
    info = finish(planned, context, published, timings)
    say("writing report and catalogue item")
    illustrate(context, info, published.conservation)
    say(final_table(context, published, timings))
    return 3 if published.conservation.failed else 0


def infer(context: RunContext, left: Todo, *, runner: Runner) -> None:
    """Phase one, with progress."""
    progress = Progress(sum(len(block.tiles) for block in left.blocks), done_before=left.done_tiles)
    run_blocks(context, left.blocks, progress.add, runner=runner)


def run_blocks(context: RunContext, blocks: Iterable[BlockSpec], on_done: Callable[[BlockSummary], None], *, runner: Runner) -> None:
    """Work through `blocks`, committing each; `on_done` is called on the driver per committed block.

    `runner` is "ray" or "local". Raises ModelError when a model does not load or its engine dies.
    """
    todo = list(blocks)
    if not todo:
        return
    summaries = _run_ray(context, todo) if runner == "ray" else _run_local(context, todo)
    for summary in summaries:
        on_done(summary)


def _run_local(context: RunContext, blocks: list[BlockSpec]) -> Iterator[BlockSummary]:
    """One process, one block at a time; the prompter's requests of a block still run concurrently."""
    reader, prompter, segmenter = ReadStep(context), PromptStep(context), SegmentStep(context)
    try:
        with asyncio.Runner() as loop:
            for block in blocks:
                image = reader.read(block)
                yield segmenter.commit(image, loop.run(prompter.prompt(image)))
    finally:
        prompter.close()


# --- Ray ---------------------------------------------------------------------------------------------------------------


class _ReadActor:
    def __init__(self, context: RunContext) -> None:
        self._context, self._step = context, ReadStep(context)

    def __call__(self, batch: pa.Table) -> pa.Table:
        rows = (self._step.read(row_to_block(row, self._context.lattice)) for row in batch.to_pylist())
        return pa.Table.from_pylist([image_to_row(image) for image in rows])


class _PromptActor:
    def __init__(self, context: RunContext) -> None:
        self._context, self._step = context, PromptStep(context)

    async def __call__(self, batch: pa.Table) -> AsyncIterator[pa.Table]:
        for row in batch.to_pylist():
            try:
                answers = await self._step.prompt(row_to_image(row, self._context.lattice))
            except ModelError as error:
                if error.retryable:
                    os._exit(1)  # a dead engine does not heal: Ray starts a fresh actor and tries the block again
                raise
            yield pa.Table.from_pylist([{**row, "answers": prompts_to_bytes(answers)}])


class _SegmentActor:
    def __init__(self, context: RunContext) -> None:
        self._context, self._step = context, SegmentStep(context)

    def __call__(self, batch: pa.Table) -> pa.Table:
        done = (self._step.commit(row_to_image(row, self._context.lattice), bytes_to_prompts(row["answers"])) for row in batch.to_pylist())
        return pa.Table.from_pylist([asdict(summary) for summary in done])


def _run_ray(context: RunContext, blocks: list[BlockSpec]) -> Iterator[BlockSummary]:
    import ray.data

    pools = context.config.resources
    _connect(context)
    _configure_data()
    dataset = ray.data.read_datasource(_block_source(blocks), override_num_blocks=len(blocks), num_cpus=pools.plan_cpus)
    dataset = _stage(dataset, _ReadActor, context, pools.reader)
    dataset = _stage(dataset, _PromptActor, context, pools.prompter, concurrent=BLOCKS_IN_FLIGHT)
    dataset = _stage(dataset, _SegmentActor, context, pools.segmenter)
    try:
        for row in dataset.iter_rows():
            yield BlockSummary(**row)
    except ray.exceptions.RayError as error:
        raise _readable(error) from error


def _stage(dataset: Any, actor: type, context: RunContext, pool: Pool, *, concurrent: int | None = None) -> Any:
    from ray.data import ActorPoolStrategy

    return dataset.map_batches(
        actor,
        batch_size=1,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(
            size=pool.actors,
            max_concurrent_calls_per_actor=concurrent,
            max_tasks_in_flight_per_actor=2 * concurrent if concurrent else 2,
        ),
        fn_constructor_kwargs={"context": context},
        num_cpus=pool.cpus,
        num_gpus=pool.gpus or None,
        udf_modifying_row_count=False,
    )


def _block_source(blocks: list[BlockSpec]) -> Any:
    """A lazy Ray Datasource with one read task per block; `from_items` would materialise and hide the read operator."""
    from ray.data.block import BlockMetadata
    from ray.data.datasource import Datasource, ReadTask

    rows = [block_to_row(block) for block in blocks]

    class BlockSource(Datasource):
        def get_name(self) -> str:
            return "Blocks"

        def estimate_inmemory_data_size(self) -> int:
            return sum(len(row["tiles"]) + 16 for row in rows)

        def get_read_tasks(self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None) -> list[Any]:
            return [_read_task(row) for row in rows]

    def _read_task(row: dict[str, Any]) -> Any:
        metadata = BlockMetadata(num_rows=1, size_bytes=len(row["tiles"]) + 16, exec_stats=None)
        return ReadTask(lambda: [pa.Table.from_pylist([row])], metadata)

    return BlockSource()


def _connect(context: RunContext) -> None:
    """Join the cluster this driver runs in, or start Ray in this machine; refuse to oversubscribe it."""
    import ray

    if not ray.is_initialized():
        # Without RAY_ADDRESS (set by `ray job submit`; `auto` joins a running head) this run starts a Ray of its own: the
        # address that an earlier head left behind on this machine may be dead, and joining it would wait for ever.
        own = {} if "RAY_ADDRESS" in os.environ else {"address": "local", "include_dashboard": False}
        ray.init(log_to_driver=False, logging_level="WARNING", **own)
    have = ray.cluster_resources()
    pools = context.config.resources
    need_cpus = pools.plan_cpus + sum(pool.actors * pool.cpus for pool in pools.pools())
    need_gpus = sum(pool.actors * pool.gpus for pool in pools.pools())
    for name, need in (("CPU", need_cpus), ("GPU", need_gpus)):
        if need > have.get(name, 0.0) + 1e-9:
            raise InputError(
                f"the actor pools of this run need {need:g} {name}s, more than the cluster has; an oversubscribed pool would run the "
                "stages one after the other",
                came=f"{have.get(name, 0.0):g} {name}s",
                remedy="lower actors, cpus or gpus under [resources] in --config, or add nodes",
            )


def _configure_data() -> None:
    """Ray Data settings of every run (reasons in the module story; fixed pools, errors are rows, quiet logs)."""
    from ray.data import DataContext

    data = DataContext.get_current()
    data.enable_progress_bars = False
    data.print_on_execution_start = False
    data.actor_init_retry_on_errors = False
    data.wait_for_min_actors_s = 900
    data.max_errored_blocks = 0


def _readable(error: Exception) -> Exception:
    """Our own error out of Ray's wrapping, so that the user reads the message and not the stack of the worker."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, TerraqueryError):
            return cause
        cause = cause.__cause__ or getattr(cause, "cause", None)
    return ModelError(f"a worker failed: {str(error).strip().splitlines()[-1]}")
