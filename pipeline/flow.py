"""The wiring: plan -> blocks -> {read -> prompt -> segment -> commit} -> publish. The only module that imports ray.

1. `prepare` plans the run, checks every input and every checkpoint's header, claims the output directory and writes
   plan.parquet and run.json. No model is loaded; `--dry-run` stops before the claim and writes a plan at most.
2. `run_blocks` sends the blocks that have no committed record yet through the three steps, with one of two runners over
   the same step objects: `_run_ray` (Ray Data, fixed-size actor pools) or `_run_local` (this process).
3. `publish` turns the committed records into rasters, instances, coverage and report (pipeline.publish); it is a pure
   function of the records and can be repeated: `restitch_region` does this alone. Its tasks run here or as Ray tasks.

Ray carries one row per block: scalars and bytes (pipeline.rows). Pools are of fixed size and the plan refuses to ask
for more GPUs or CPUs than the cluster has, because an oversubscribed pool silently stops streaming.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.attempts import AttemptJournal
from pipeline.config import Pool, ResourceOptions, Runner
from pipeline.errors import InputError, ModelError, SourceError, TerraqueryError
from pipeline.merge.job import MergeJob, Task, TaskRunner, run_here
from pipeline.prepare import RunRequest, Todo, claim, plan_request, rehearse, todo
from pipeline.progress import BlockSummary, Progress
from pipeline.prompt.verifier import LooksAt
from pipeline.publish import illustrate, illustrate_run, publish, publish_merge
from pipeline.raster_access import PROCESS_CACHE_MB, SMALL_CACHE_MB, set_process_defaults
from pipeline.restitch import RestitchRequest, claim_restitch, imagery_of, plan_restitch
from pipeline.rows import (
    block_to_row,
    bytes_to_prompts,
    image_row_bytes,
    image_to_table,
    prompts_to_bytes,
    row_to_block,
    store_limit_bytes,
    table_to_image,
)
from pipeline.schema import BlockSpec
from pipeline.segment.build import check_device
from pipeline.steps import ATTEMPTS, PromptStep, ReadStep, RunContext, SegmentStep
from pipeline.summary import close_run, final_table, finish, notice_box, plan_text, result_table
from pipeline.write.run_lock import alone_in

RAY_STARTS = 3
"""How often a Ray of our own is started before giving up."""

BLOCKS_IN_FLIGHT = 2
"""Blocks a prompter works on at once: enough to keep the engine's batch full, small enough to bound memory."""

TASKS_PER_CPU = 2
"""Tasks of phase two submitted per CPU: one runs, one waits; the driver never queues a region's worth of them."""


def run_region(request: RunRequest, *, say: Callable[[str], None] = print) -> int:
    """Plan, run and publish one request; returns the exit code (0, or 3 when tiles failed). `say` prints a line. Raises TerraqueryError."""
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
        timings = {"inference": inferred - started, "publish": published.elapsed_s, "total": time.monotonic() - started}
        info = finish(planned, context, published, timings)
        say("writing report and catalogue item")
        illustrate(context, info, published.conservation)
    say(final_table(context, published, timings, info.gate))
    return 3 if published.conservation.failed else 0


def restitch_region(request: RestitchRequest, *, say: Callable[[str], None] = print) -> int:
    """Phase two alone on stored block records; returns the exit code as `run_region` does. Raises TerraqueryError."""
    started = time.monotonic()
    set_process_defaults(PROCESS_CACHE_MB if request.runner == "local" else SMALL_CACHE_MB)
    plan = plan_restitch(request)
    with alone_in(plan.run_dir.path):
        claim_restitch(plan)
        published = publish_merge(plan.job, note=say, run_tasks=task_runner(request.runner))
        timings = {"publish": published.elapsed_s, "total": time.monotonic() - started}
        info = close_run(plan.run_dir, plan.job.fingerprint, published, timings)
        try:
            illustrate_run(plan.run_dir, info, published.conservation, imagery=imagery_of(plan), inside=plan.job.inside)
        except (SourceError, InputError) as error:
            say(f"note: report.html and item.json were not written, because the run's imagery cannot be opened: {error}")
    say(result_table(info.queries, str(plan.run_dir.path), published, timings, info.gate))
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
    reader, prompter = ReadStep(context), PromptStep(context)
    try:
        with asyncio.Runner() as loop:
            verifier = prompter.verifier()
            segmenter = SegmentStep(context, looks=None if verifier is None else LooksAt(verifier=verifier, run=loop.run))
            for block in blocks:
                image = reader.read(block)
                yield segmenter.commit(image, loop.run(prompter.prompt(image)))
    finally:
        prompter.close()


def task_runner(runner: Runner) -> TaskRunner:
    """Who runs the tasks of phase two."""
    return _run_tasks_ray if runner == "ray" else run_here


# --- Ray ---------------------------------------------------------------------------------------------------------------


class _ReadActor:
    def __init__(self, context: RunContext) -> None:
        set_process_defaults(PROCESS_CACHE_MB)
        self._context, self._step = context, ReadStep(context)

    def __call__(self, batch: pa.Table) -> pa.Table:
        (row,) = batch.to_pylist()
        return image_to_table(self._step.read(row_to_block(row, self._context.lattice)))


class _PromptActor:
    def __init__(self, context: RunContext) -> None:
        set_process_defaults(SMALL_CACHE_MB)
        self._context, self._step = context, PromptStep(context)

    async def __call__(self, batch: pa.Table) -> AsyncIterator[pa.Table]:
        with dying_with_its_engine():
            answers = await self._step.prompt(table_to_image(batch, self._context.lattice))
        yield batch.append_column("answers", pa.array([prompts_to_bytes(answers)], type=pa.large_binary()))


class _SegmentActor:
    def __init__(self, context: RunContext) -> None:
        set_process_defaults(SMALL_CACHE_MB)
        self._context, self._step = context, SegmentStep(context)

    def __call__(self, batch: pa.Table) -> pa.Table:
        with dying_with_its_engine():
            summary = self._step.commit(table_to_image(batch, self._context.lattice), bytes_to_prompts(batch["answers"][0].as_py()))
        return pa.Table.from_pylist([asdict(summary)])


@contextmanager
def dying_with_its_engine() -> Iterator[None]:
    """End this process on a retryable ModelError: a dead engine does not heal; Ray starts a fresh actor and tries the block again."""
    try:
        yield
    except ModelError as error:
        if error.retryable:
            os._exit(1)
        raise


def _run_ray(context: RunContext, blocks: list[BlockSpec]) -> Iterator[BlockSummary]:
    pools = context.config.resources
    stages = (
        ActorStage(actor=_ReadActor, pool=pools.reader),
        ActorStage(actor=_PromptActor, pool=pools.prompter, concurrent=BLOCKS_IN_FLIGHT),
        ActorStage(actor=_SegmentActor, pool=pools.segmenter),
    )
    weight = image_row_bytes(context.lattice)
    for row in run_actors([block_to_row(block) for block in blocks], stages, context, pools, row_bytes=weight):
        yield BlockSummary(**row)


@dataclass(frozen=True, kw_only=True)
class ActorStage:
    """One stage of a flow on Ray: a class built with `context=...`, called with tables of one row, in a fixed-size pool."""

    actor: type
    pool: Pool
    concurrent: int | None = None
    """Calls that one actor works on at once; for classes with an async `__call__`."""

    @property
    def in_flight(self) -> int:
        """Calls that one actor is given at once: as many wait in it as it works on, so that it never waits for its next one."""
        return 2 * (self.concurrent or 1)


def run_actors(
    rows: list[dict[str, Any]],
    stages: Sequence[ActorStage],
    context: Any,
    resources: ResourceOptions,
    *,
    row_bytes: int | None = None,
) -> Iterator[dict[str, Any]]:
    """Send rows (scalars and bytes) through stages of actors; yields the rows of the last stage as they are done, in any order.

    `row_bytes`: of the heaviest row between stages; bounds the object store that the flow may fill. None leaves that to Ray.
    Raises InputError when the pools need more than the cluster has, and what a worker raised (TerraqueryError as it was).
    """
    import ray.data

    _connect(resources)
    _configure_data(None if row_bytes is None else store_limit_bytes(row_bytes, [stage.pool.actors * stage.in_flight for stage in stages]))
    dataset = ray.data.read_datasource(_row_source(rows), override_num_blocks=len(rows), num_cpus=resources.plan_cpus)
    for stage in stages:
        dataset = _add_stage(dataset, stage, context)
    try:
        yield from dataset.iter_rows()
    except ray.exceptions.RayError as error:
        raise _readable(error) from error


def _add_stage(dataset: Any, stage: ActorStage, context: Any) -> Any:
    from ray.data import ActorPoolStrategy

    return dataset.map_batches(
        stage.actor,
        batch_size=1,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(
            size=stage.pool.actors,
            max_concurrent_calls_per_actor=stage.concurrent,
            max_tasks_in_flight_per_actor=stage.in_flight,
        ),
        fn_constructor_kwargs={"context": context},
        num_cpus=stage.pool.cpus,
        num_gpus=stage.pool.gpus or None,
        udf_modifying_row_count=False,
    )


def _row_source(rows: list[dict[str, Any]]) -> Any:
    """A lazy Ray Datasource with one read task per row; `from_items` would materialise and hide the read operator."""
    from ray.data.block import BlockMetadata
    from ray.data.datasource import Datasource, ReadTask

    class RowSource(Datasource):
        def get_name(self) -> str:
            return "Rows"

        def estimate_inmemory_data_size(self) -> int:
            return sum(_row_bytes(row) for row in rows)

        def get_read_tasks(self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None) -> list[Any]:
            return [_read_task(row) for row in rows]

    def _read_task(row: dict[str, Any]) -> Any:
        metadata = BlockMetadata(num_rows=1, size_bytes=_row_bytes(row), exec_stats=None)
        return ReadTask(lambda: [pa.Table.from_pylist([row])], metadata)

    return RowSource()


def _row_bytes(row: dict[str, Any]) -> int:
    return sum(len(value) if isinstance(value, bytes) else 8 for value in row.values())


def _run_tasks_ray(task: Task, job: MergeJob, keys: Sequence[Any]) -> Iterator[Any]:
    """The `TaskRunner` of a cluster: one CPU per task, TASKS_PER_CPU submitted per CPU, results as they come."""
    import ray

    if not keys:
        return
    _join_cluster()
    shared, call = ray.put(job), ray.remote(num_cpus=1, max_retries=3)(_run_task)
    limit = max(int(TASKS_PER_CPU * ray.cluster_resources().get("CPU", 1.0)), 1)
    waiting, flying = iter(keys), set[Any]()
    try:
        while True:
            flying |= {call.remote(task, shared, key) for key in islice(waiting, limit - len(flying))}
            if not flying:
                return
            done, _ = ray.wait(list(flying), num_returns=1)
            flying -= set(done)
            yield from ray.get(done)
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None)
        raise cause if isinstance(cause, TerraqueryError) else _readable(error) from error


def _run_task(task: Task, job: MergeJob, key: Any) -> Any:
    set_process_defaults(SMALL_CACHE_MB)
    return task(job, key)


def _connect(pools: ResourceOptions) -> None:
    """Join a cluster (`_join_cluster`); refuse to oversubscribe it."""
    import ray

    _join_cluster()
    have = ray.cluster_resources()
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


def _join_cluster() -> None:
    """Join the cluster this driver runs in, or start Ray in this machine."""
    import ray

    if not ray.is_initialized():
        # Without RAY_ADDRESS (set by `ray job submit`; `auto` joins a running head) this run starts a Ray of its own: the
        # address that an earlier head left behind on this machine may be dead, and joining it would wait for ever.
        if "RAY_ADDRESS" in os.environ:
            ray.init(log_to_driver=False, logging_level="WARNING")
        else:
            _start_own_ray()


def _start_own_ray() -> None:
    """Start Ray in this machine. Raises ModelError when it does not come up.

    Ray gives its node 30 seconds, a constant of its own, which a busy machine overruns: then it is started again.
    """
    import ray

    for left in reversed(range(RAY_STARTS)):
        try:
            ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="WARNING")
        except Exception as error:
            ray.shutdown()
            if "timed out during startup" not in str(error):
                raise
            if not left:
                hint = "lower the load of the machine, or start a head with `ray start --head` and set RAY_ADDRESS=auto"
                raise ModelError(f"Ray did not start within its 30 seconds, {RAY_STARTS} times in a row; {hint}") from error
        else:
            return


def _configure_data(store_bytes: int | None) -> None:
    """Ray Data settings of every run (reasons in the module story; fixed pools, errors are rows, quiet logs).

    `store_bytes`: what Ray Data may fill of the object store; None = half of it, which follows the machine and not the run.
    """
    from ray.data import DataContext

    data = DataContext.get_current()
    data.enable_progress_bars = False
    data.print_on_execution_start = False
    data.actor_init_retry_on_errors = False
    data.wait_for_min_actors_s = 900
    data.max_errored_blocks = 0
    if store_bytes is not None:
        data.execution_options.resource_limits = data.execution_options.resource_limits.copy(object_store_memory=store_bytes)
        data.downstream_capacity_backpressure_ratio = 0.0  # no row is made while one waits that no actor of the next stage has room for


def _readable(error: Exception) -> Exception:
    """Our own error out of Ray's wrapping, so that the user reads the message and not the stack of the worker."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, TerraqueryError):
            return cause
        cause = cause.__cause__ or getattr(cause, "cause", None)
    return ModelError(f"a worker failed: {str(error).strip().splitlines()[-1]}")
