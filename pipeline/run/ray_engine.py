"""Ray: rows through pools of actors, tasks of the merge, and the cluster both run on. The only module that
imports ray.

1. `run_actors` sends rows (scalars and bytes) through stages of actors. Pools are of fixed size, which
   `pool_sizes` settles from the nodes of the cluster: an oversubscribed pool silently stops streaming.
   Prompters and segmenters that share GPUs are placed in pairs (`_Pairs`): left to itself, Ray may lay three
   segmenters on one GPU, and then a prompter waits for a whole one for ever.
2. `run_tasks_ray` runs the tasks of phase two, a bounded number of them at a time.
3. Both join the cluster that this driver runs in, or start a Ray of their own on this machine.

An actor whose engine has died ends its process (`dying_with_its_engine`), and Ray starts it anew.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count, islice
from math import ceil
from typing import TYPE_CHECKING, Any

import psutil
import pyarrow as pa

from pipeline.errors import InputError, ModelError, TerraqueryError
from pipeline.files.raster_access import SMALL_CACHE_MB, set_process_defaults
from pipeline.files.traffic import traffic
from pipeline.process_guard import ProcessGuard
from pipeline.run.choose_runner import cluster_named
from pipeline.run.config import Pool, ResourceOptions, Role
from pipeline.run.events.run_metrics import METRICS
from pipeline.run.infer.block_rows import store_limit_bytes
from pipeline.run.infer.intake import ALWAYS, Intake, closing
from pipeline.run.merge.merge_job import MergeJob, Task
from pipeline.run.pool_sizes import Node, PoolSizes, size_pools
from pipeline.run.ray_access import joining_refused, own_token, require_closed
from pipeline.run.shortage import causes
from pipeline.run.stop_signals import heed_again, unbroken

if TYPE_CHECKING:
    from ray.data import DataContext, Dataset
    from ray.data.datasource import Datasource, ReadTask

RAY_STARTS = 3
"""How often a Ray of our own is started before giving up."""

PLACING_S = 120
"""Seconds that Ray has to reserve room for pairs. What is free is reserved at once."""

TASKS_PER_CPU = 2
"""Tasks of phase two submitted per CPU: one runs, one waits. A region's worth of them is never queued."""


@contextmanager
def dying_with_its_engine() -> Iterator[None]:
    """End this process on a retryable error. A dead engine does not heal, nor does a call come back that did
    not; Ray starts a fresh actor, which tries the block again.
    """
    try:
        yield
    except TerraqueryError as error:
        if error.retryable:
            os._exit(1)
        raise


@dataclass(frozen=True, kw_only=True)
class ActorStage:
    """One stage of a flow on Ray: a pool of actors of one class, which is built with `context=...` and called
    with tables of one row.
    """

    actor: type
    role: Role
    """Which pool of the resources it takes."""
    concurrent: int | None = None
    """Calls that one actor works on at once; for classes with an async `__call__`."""

    @property
    def in_flight(self) -> int:
        """Calls that one actor is given at once. As many wait as it works on, so it is never idle between
        two.
        """
        return 2 * (self.concurrent or 1)


def run_actors(
    rows: list[dict[str, Any]],
    stages: Sequence[ActorStage],
    context: object,
    resources: ResourceOptions,
    *,
    row_bytes: int | None = None,
    on_sized: Callable[[Sequence[Node], PoolSizes], None] | None = None,
    intake: Intake = ALWAYS,
) -> Iterator[dict[str, Any]]:
    """Send rows (scalars and bytes) through stages of actors. Yields the rows of the last stage as they are
    done, in any order.

    `row_bytes`: size of the heaviest row between stages, which bounds the object store that the flow may
    fill. None: Ray decides. `on_sized`: told the nodes and the sizes of the pools. `intake`: rows that have
    not come in when it closes do not come at all. Raises InputError when the pools need more than the cluster
    has, and whatever a worker raised.
    """
    import ray.data

    _join_cluster()
    nodes = _nodes()
    sizes = size_pools(resources, nodes, n_blocks=len(rows))
    if on_sized is not None:
        on_sized(nodes, sizes)
    _configure_data(
        None
        if row_bytes is None
        else store_limit_bytes(row_bytes, [sizes.of(stage.role) * stage.in_flight for stage in stages])
    )
    door = _open_door()
    dataset = ray.data.read_datasource(
        _row_source(rows, door), override_num_blocks=len(rows), num_cpus=resources.plan_cpus
    )
    with closing(intake, door.close.remote), _paired(resources, sizes.pairs) as pairs:
        for stage in stages:
            place = None if stage.role == "reader" else pairs
            pool = resources.pool(stage.role)
            dataset = _add_stage(dataset, stage, context, pool, sizes.of(stage.role), place)
        try:
            done = iter(dataset.iter_rows())
            yield from islice(done, 1)  # until then actors are loading, which nobody should wait for
            with unbroken(on_stop=door.close.remote):
                yield from done
        except ray.exceptions.RayError as error:
            raise _readable(error) from error


def _add_stage(
    dataset: Dataset, stage: ActorStage, context: object, pool: Pool, actors: int, pairs: _Pairs | None
) -> Dataset:
    from ray.data import ActorPoolStrategy

    return dataset.map_batches(
        stage.actor,
        batch_size=1,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(
            size=actors,
            max_concurrent_calls_per_actor=stage.concurrent,
            max_tasks_in_flight_per_actor=stage.in_flight,
        ),
        fn_constructor_kwargs={"context": context},
        num_cpus=pool.cpus,
        num_gpus=pool.gpus or None,
        udf_modifying_row_count=False,
        ray_remote_args_fn=None if pairs is None else pairs.places(),
    )


@dataclass(frozen=True, kw_only=True)
class _Pairs:
    """Room for pairs of a prompter and a segmenter, reserved pair by pair."""

    group: Any
    """Ray's placement group, with one bundle per pair."""
    n: int

    def places(self) -> Callable[[], dict[str, Any]]:
        """Say of one actor of a pool after the other where it goes: into the bundle of its number."""
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        numbers = count()

        def place() -> dict[str, Any]:
            bundle = next(numbers) % self.n
            strategy = PlacementGroupSchedulingStrategy(self.group, placement_group_bundle_index=bundle)
            return {"scheduling_strategy": strategy}

        return place


@contextmanager
def _paired(resources: ResourceOptions, n_pairs: int) -> Iterator[_Pairs | None]:
    """Reserve room for pairs, and give it back. None: there are no pairs. Raises InputError when the room is
    taken by somebody else.
    """
    import ray
    from ray.util.placement_group import placement_group, remove_placement_group

    if not n_pairs:
        yield None
        return
    cpus = resources.prompter.cpus + resources.segmenter.cpus
    gpus = resources.prompter.gpus + resources.segmenter.gpus
    bundle = {"CPU": round(cpus, 4), "GPU": round(gpus, 4) if gpus <= 1 else ceil(gpus)}
    group = placement_group([bundle] * n_pairs, strategy="PACK")
    try:
        if not group.wait(PLACING_S):
            raise InputError(
                f"Ray did not place {n_pairs} pairs of a prompter and a segmenter within {PLACING_S} s; "
                "other work holds the GPUs",
                remedy="wait for it to end, or set actors under [resources.prompter] and "
                "[resources.segmenter] to what is free",
            )
        yield _Pairs(group=group, n=n_pairs)
    finally:
        with suppress(ray.exceptions.RayError):
            remove_placement_group(group)


def _open_door() -> Any:
    """An actor that lets rows in until it is closed. Those that are on their way go on to the end."""
    import ray

    class Door:
        def __init__(self) -> None:
            self._open = True

        def close(self) -> None:
            self._open = False

        def is_open(self) -> bool:
            return self._open

    return ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Door).remote()


def _row_source(rows: list[dict[str, Any]], door: Any) -> Datasource:
    """A lazy Ray Datasource with one read task per row; `from_items` would materialise and hide the read
    operator.
    """
    from ray.data.block import BlockMetadata
    from ray.data.datasource import Datasource, ReadTask

    class RowSource(Datasource):
        def get_name(self) -> str:
            return "Rows"

        def estimate_inmemory_data_size(self) -> int:
            return sum(_row_bytes(row) for row in rows)

        def get_read_tasks(
            self,
            parallelism: int,  # noqa: ARG002 - Ray gives all three by name
            per_task_row_limit: int | None = None,  # noqa: ARG002
            data_context: DataContext | None = None,  # noqa: ARG002
        ) -> list[ReadTask]:
            return [_read_task(row) for row in rows]

    def _read_task(row: dict[str, Any]) -> ReadTask:
        metadata = BlockMetadata(num_rows=1, size_bytes=_row_bytes(row), exec_stats=None)
        return ReadTask(lambda: _admitted(row, door), metadata)

    return RowSource()


def _admitted(row: dict[str, Any], door: Any) -> list[pa.Table]:
    import ray

    table = pa.Table.from_pylist([row])
    return [table if ray.get(door.is_open.remote()) else table.slice(0, 0)]


def _row_bytes(row: dict[str, Any]) -> int:
    return sum(len(value) if isinstance(value, bytes) else 8 for value in row.values())


class RayMeters:
    """Counters and gauges that Ray exports to Prometheus from this node: `Meters` of `run_metrics`."""

    def __init__(self) -> None:
        """Export nothing yet. Joins the cluster."""
        _join_cluster()
        self._held: dict[str, Any] = {}

    def add(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        """Add to a counter; `value` is above 0."""
        self._meter(name, labels).inc(value, tags=dict(labels))

    def set(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        """Set a gauge."""
        self._meter(name, labels).set(value, tags=dict(labels))

    def _meter(self, name: str, labels: Mapping[str, str]) -> Any:
        from ray.util import metrics

        if name not in self._held:
            kind, meaning, _ = METRICS[name]
            make = metrics.Counter if kind == "counter" else metrics.Gauge
            self._held[name] = make(name, description=meaning, tag_keys=tuple(labels))
        return self._held[name]


def run_tasks_ray(task: Task, job: MergeJob, keys: Sequence[Any]) -> Iterator[Any]:
    """Run tasks on a cluster, as a `TaskRunner`: one CPU each, and TASKS_PER_CPU submitted per CPU. Raises
    what a task raised.
    """
    import ray

    if not keys:
        return
    _join_cluster()
    shared = ray.put(job)
    call = ray.remote(num_cpus=1, max_retries=3)(_run_task)
    limit = max(int(TASKS_PER_CPU * ray.cluster_resources().get("CPU", 1.0)), 1)
    waiting = iter(keys)
    flying = set[Any]()
    try:
        while True:
            flying |= {call.remote(task, shared, key) for key in islice(waiting, limit - len(flying))}
            if not flying:
                return
            done, _ = ray.wait(list(flying), num_returns=1)
            flying -= set(done)
            for result, counts in ray.get(done):
                traffic.add_all(counts)
                yield result
    except ray.exceptions.RayError as error:
        raise _readable(error) from error


def on_one_machine() -> bool:
    """Whether the Ray of this driver has one machine alone."""
    import ray

    _join_cluster()
    return sum(1 for node in ray.nodes() if node["Alive"]) == 1


def _run_task(task: Task, job: MergeJob, key: Any) -> tuple[Any, dict[str, int]]:
    set_process_defaults(SMALL_CACHE_MB)
    return task(job, key), traffic.take()


def _nodes() -> list[Node]:
    """The nodes of the cluster that have CPUs. A head without any runs no actors."""
    import ray

    offers = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [Node(cpus=offer["CPU"], gpus=offer.get("GPU", 0.0)) for offer in offers if offer.get("CPU")]


def _join_cluster() -> None:
    """Join the cluster this driver runs in, or start Ray in this machine.

    Raises InputError for a cluster that does not let it in, or lets everybody in (`ray_access`).
    """
    import ray

    if not ray.is_initialized():
        # Without RAY_ADDRESS (set by `ray job submit`; `auto` joins a running head) this run starts a Ray of
        # its own: the address that an earlier head left behind on this machine may be dead, and joining it
        # would wait for ever.
        if cluster_named():
            try:
                joined = ray.init(log_to_driver=False, logging_level="WARNING")
            except (ConnectionError, ray.exceptions.AuthenticationError) as error:
                raise joining_refused() from error
            require_closed(joined.address_info["webui_url"] or "")
        else:
            _start_own_ray()
        heed_again()  # Ray has a handler of SIGTERM


def _start_own_ray() -> None:
    """Start Ray in this machine, with a token. Raises ModelError when it does not come up.

    Ray gives its node 30 seconds, a constant of its own, which a busy machine overruns: then it is started
    again.
    """
    import ray

    own_token()
    for left in reversed(range(RAY_STARTS)):
        try:
            ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="WARNING")
            _guard_own_ray()
        except Exception as error:
            ray.shutdown()
            if "timed out during startup" not in str(error):
                raise
            if not left:
                hint = (
                    "lower the load of the machine, or start a head with `ray start --head` and set "
                    "RAY_ADDRESS=auto"
                )
                raise ModelError(
                    f"Ray did not start within its 30 seconds, {RAY_STARTS} times in a row; {hint}"
                ) from error
        else:
            return


def _guard_own_ray() -> None:
    """Let the processes of the Ray that was just started end with this one, also when it is killed."""
    guard = ProcessGuard()
    for process in psutil.Process().children(recursive=True):
        if process.pid != guard.pid:
            guard.name(process.pid)


def _configure_data(store_bytes: int | None) -> None:
    """Ray Data settings of every run (reasons in the module story; fixed pools, errors are rows, quiet logs).

    `store_bytes`: what Ray Data may fill of the object store; None = half of it, which follows the machine
    and not the run.
    """
    from ray.data import DataContext

    data = DataContext.get_current()
    data.enable_progress_bars = False
    data.print_on_execution_start = False
    data.actor_init_retry_on_errors = False
    data.wait_for_min_actors_s = 900
    data.max_errored_blocks = 0
    data.raise_original_map_exception = True  # else only its text would reach the driver
    if store_bytes is not None:
        data.execution_options.resource_limits = data.execution_options.resource_limits.copy(
            object_store_memory=store_bytes
        )
        data.downstream_capacity_backpressure_ratio = (
            0.0  # no row is made while one waits that no actor of the next stage has room for
        )


def _readable(error: Exception) -> Exception:
    """What a worker raised, out of Ray's wrapping. A worker that died raised nothing: ModelError."""
    import ray

    for cause in causes(error):
        if isinstance(cause, ray.exceptions.OutOfDiskError):
            return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "the object store of Ray")
        killed = isinstance(cause, ray.exceptions.OutOfMemoryError)
        if isinstance(cause, Exception) and (killed or not type(cause).__module__.startswith("ray.")):
            return _without_advice(cause)
    return ModelError(f"a worker failed: {str(error).strip().splitlines()[-1]}")


_ADVICE = "Failed to apply UDF"
"""How the words begin that Ray Data adds to an error: how its own retries are configured."""


def _without_advice(cause: Exception) -> Exception:
    """The error without Ray Data's words, which an OSError takes for the name of its file."""
    cause.args = tuple(
        part.partition(f"\n{_ADVICE}")[0] if isinstance(part, str) else part for part in cause.args
    )
    if isinstance(cause, OSError) and str(cause.filename).startswith(_ADVICE):
        cause.filename = None
    return cause
