"""Phase two: committed block records -> rasters, instances and coverage.

1. `write_coverage` counts the ledger: planned = found + empty + failed.
2. `publish_merge` runs the steps of pipeline.run.merge, the tasks of each by a `TaskRunner`.

It can be run again at any time and gives the same bytes. Instances, edges and geometries stay in the tasks.
"""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from pipeline.errors import RecordError
from pipeline.files.fail_point import reach
from pipeline.files.store.store_path import StorePath, store_path
from pipeline.files.store.zarr_adapter import Written
from pipeline.run.infer.steps import RunContext
from pipeline.run.merge import audit_tasks, dissolve_tasks, order_tasks, paint_tasks, resolve_tasks
from pipeline.run.merge.filed_tables import FiledTables
from pipeline.run.merge.merge_job import MergeJob, TaskRunner, records_at_hand, run_here
from pipeline.run.merge.model_counts import ModelCounts
from pipeline.run.merge.tally import Bounds, Tally, join_bounds
from pipeline.schema.tiling import block_id
from pipeline.stitch.join import JoinStats
from pipeline.write.coverage import CLOUD_COLUMNS, GATE_COLUMNS, SCENE_COLUMNS, Conservation, write_coverage
from pipeline.write.instances import InstanceMeta
from pipeline.write.manifest import snapshot_name
from pipeline.write.masks_zarr import create_masks
from pipeline.write.records.done_records import copy_records, done_blocks
from pipeline.write.records.record_keys import PinnedKeys, RecordKeys
from pipeline.write.run_dir import RunDir
from pipeline.write.shown_snapshots import free_name

Note = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Published:
    """What a finished run left behind."""

    run_dir: RunDir
    """With the results of the snapshot that was written."""
    keys: RecordKeys
    """Of the block records, which are pinned."""
    shards: tuple[Written, ...]
    """What was written of masks.zarr, by keys in it."""
    models: ModelCounts
    """What the models did, over all starts of the run."""
    conservation: Conservation
    n_instances: tuple[int, ...]
    """Per query."""
    elapsed_s: float
    qa: Mapping[str, Any] = field(default_factory=dict)
    """Query -> how well tiles agreed, and how dense objects lie at seams; for run.json."""
    joined: tuple[JoinStats, ...] = ()
    """Per query: what the one union-find held; depends on the size of super-tiles."""
    steps_s: Mapping[str, float] = field(default_factory=dict)
    """Step -> seconds."""


def publish(
    context: RunContext, *, note: Note, run_tasks: TaskRunner = run_here, one_machine: bool = True
) -> Published:
    """Merge and write everything that is derived from the block records. Raises RecordError,
    IncompleteRunError.

    `one_machine`: all tasks run on this one.
    """
    return publish_merge(merge_job(context), note=note, run_tasks=run_tasks, one_machine=one_machine)


def merge_job(context: RunContext) -> MergeJob:
    """Phase two of a run, in the run's own directory."""
    config = context.config
    run_dir = RunDir(context.run_dir)
    return MergeJob(
        records_dir=str(run_dir.blocks),
        out_dir=context.run_dir,
        keys=context.keys,
        lattice=context.lattice,
        inside=context.plan.inside,
        aoi_grid=context.plan.aoi_grid,
        scenes=tuple(context.plan.scenes),
        meta=InstanceMeta(
            queries=config.queries,
            prompter_id=context.model_ids["prompter"],
            segmenter_id=context.model_ids["segmenter"],
            run_id=context.fingerprint[:16],
            verified=config.verifier.on or config.preset.examples.on,
            known_locations=config.prompter.kind == "vector",
        ),
        stitch=config.stitch,
        mode=config.merge_mode,
        min_area_m2=config.min_area_m2,
        super_tile_tiles=config.preset.merge.super_tile_tiles,
        gated=config.gate.on,
        masked=any(scene.quality is not None for scene in context.plan.scenes),
    )


def publish_merge(
    job: MergeJob, *, note: Note, run_tasks: TaskRunner = run_here, one_machine: bool = True
) -> Published:
    """Phase two on the block records of `job`. Raises RecordError, IncompleteRunError.

    Instances that touch the AOI and reach the smallest area are kept. Objects are never cut at the AOI: what
    begins inside is kept whole as far as tiles saw it.
    """
    start = time.monotonic()
    clock = _Clock()
    with with_tables(job, one_machine=one_machine) as at_hand:
        named = named_job(at_hand)
        named = replace(named, snapshot=free_name(named.run_dir))
        in_bucket = not named.run_dir.blocks.is_local
        published = _publish(named, note, records_at_hand(run_tasks) if in_bucket else run_tasks, clock)
    run_dir = replace(job, snapshot=named.snapshot).run_dir
    return replace(published, run_dir=run_dir, elapsed_s=time.monotonic() - start, steps_s=clock.seconds)


def named_job(job: MergeJob) -> MergeJob:
    """Give the job the name of its snapshot: everything that its bytes follow from. The records are pinned:
    those that are read from now on are those that gave the name.

    Every planned record is read and hashed. Raises RecordError for one that is damaged or foreign; what is
    missing, the ledger says.
    """
    planned = [block_id(*block) for block in job.planned_blocks()]
    found = done_blocks(job.run_dir, job.keys, planned)
    for why in found.unusable.values():
        raise RecordError(why)
    content = {
        "records": found.done,
        "scenes": [(scene.scene_id, scene.datetime) for scene in job.scenes],
        "meta": asdict(job.meta),
        "stitch": asdict(job.stitch),
        "mode": job.mode,
        "min_area_m2": job.min_area_m2,
        "aoi": None if job.aoi_grid is None else job.aoi_grid.wkb_hex,
    }
    return replace(job, snapshot=snapshot_name(content), keys=PinnedKeys(job.keys, found.done))


@contextmanager
def with_tables(job: MergeJob, *, one_machine: bool = True) -> Iterator[MergeJob]:
    """Keep the intermediate tables of the job, and remove them at the end.

    A driver that slept must not remove the tables of its successor, so their folder has a name of its own. Of
    a run in a bucket, tables lie on this machine where one is enough, and the block records are copied to it:
    each is asked for once.
    """
    if one_machine and not job.run_dir.path.is_local:
        with tempfile.TemporaryDirectory(prefix="terraquery-merge-") as scratch:
            copies = store_path(scratch) / "blocks"
            copy_records(job.run_dir, copies, [block_id(*block) for block in job.planned_blocks()])
            yield replace(job, records_dir=str(copies), tables_dir=f"{scratch}/tables")
        return
    folder = job.run_dir.merge / secrets.token_hex(8)
    try:
        yield replace(job, tables_dir=str(folder))
    finally:
        folder.delete_tree()
        if folder.is_local:
            with suppress(OSError):  # another one's tables are in it
                folder.parent.local().rmdir()


def _publish(job: MergeJob, note: Note, run_tasks: TaskRunner, clock: _Clock) -> Published:
    reach("before_coverage")
    models = ModelCounts()
    conservation = write_coverage(
        job.run_dir,
        job.lattice,
        job.inside,
        keys=job.keys,
        queries=job.queries,
        scene_ids=[scene.scene_id for scene in job.scenes],
        more=(*SCENE_COLUMNS, *(CLOUD_COLUMNS if job.masked else ()), *(GATE_COLUMNS if job.gated else ())),
        on_block=models.add,
    )
    conservation.require()
    reach("after_coverage")
    clock.lap("coverage")
    tallies = [Tally() for _ in job.queries]
    note(f"Merging {len(job.queries)} {'query' if len(job.queries) == 1 else 'queries'}")
    filed = FiledTables()
    _resolve(job, run_tasks, tallies, filed, clock)
    n_blocks = len(job.blocks())
    note(f"Painting {n_blocks} {'block' if n_blocks == 1 else 'blocks'}")
    shards = _paint(job, run_tasks, tallies, filed, clock)
    note("Writing instances")
    reach("before_instances")
    order_rows(
        job,
        run_tasks,
        order_tasks.row_files(job, filed),
        n_rows=sum(tally.rows.n_rows for tally in tallies),
        bounds=join_bounds([tally.rows.bounds for tally in tallies]),
    )
    reach("after_instances")
    clock.lap("order")
    return Published(
        run_dir=job.run_dir,
        keys=job.keys,
        shards=shards,
        models=models,
        conservation=conservation,
        n_instances=tuple(tally.rows.n_objects for tally in tallies),
        elapsed_s=0.0,
        qa={query: tally.figures() for query, tally in zip(job.queries, tallies, strict=True)},
        joined=tuple(tally.joined for tally in tallies),
    )


def _resolve(
    job: MergeJob, run_tasks: TaskRunner, tallies: Sequence[Tally], filed: FiledTables, clock: _Clock
) -> None:
    for counts in run_tasks(resolve_tasks.resolve_super, job, job.super_keys()):
        tallies[counts.query_index].add_seams(counts)
    clock.lap("seams")
    for query, stats in run_tasks(resolve_tasks.join_query, job, range(len(job.queries))):
        tallies[query].joined = stats
    clock.lap("join")
    if job.stitch.audit and job.mode == "instances":
        _audit(job, run_tasks, tallies)
        clock.lap("audit")
    for tables in run_tasks(resolve_tasks.describe_super, job, job.super_keys()):
        filed.add(tables)
    clock.lap("relabel")


def _audit(job: MergeJob, run_tasks: TaskRunner, tallies: Sequence[Tally]) -> None:
    """Cut what contradicts a tile's own verdict, and join again without it."""
    for tally in tallies:
        tally.add_audit(audit_tasks.AuditCounts())
    filed = FiledTables()
    for tables in run_tasks(audit_tasks.find_contradictions, job, job.super_keys()):
        filed.add(tables)
    suspect = [query for query in range(len(job.queries)) if filed.writers("forbidden", query)]
    for _ in run_tasks(
        audit_tasks.gather_forbidden, job, audit_tasks.query_keys(job, filed, "forbidden", suspect)
    ):
        pass
    for tables in run_tasks(
        audit_tasks.gather_suspects, job, [key for key in job.super_keys() if key[0] in suspect]
    ):
        filed.add(tables)
    cut: list[resolve_tasks.SuperKey] = []
    for counts, touched in run_tasks(
        audit_tasks.settle_query, job, audit_tasks.query_keys(job, filed, "suspects", suspect)
    ):
        tallies[counts.query_index].add_audit(counts)
        cut += touched
    for _ in run_tasks(resolve_tasks.resolve_again, job, sorted(cut)):
        pass
    for query, stats in run_tasks(resolve_tasks.join_query, job, suspect):
        tallies[query].joined = stats


def _paint(
    job: MergeJob, run_tasks: TaskRunner, tallies: Sequence[Tally], filed: FiledTables, clock: _Clock
) -> tuple[Written, ...]:
    reach("before_shards")
    laid_out = create_masks(job.run_dir.masks, job.lattice, job.queries).written()
    shards = {file.key: file for file in laid_out}
    for painted in run_tasks(paint_tasks.paint_blocks, job, job.block_groups()):
        reach("after_shard")
        filed.add(painted.filed)
        for block in painted.blocks:
            shards |= {file.key: file for file in block.files}
            for tally, rows, ground, found in zip(
                tallies, block.rows, block.ground, block.found, strict=True
            ):
                tally.add_rows(rows)
                tally.add_ground(ground)
                tally.add_found(found)
    clock.lap("paint")
    for home in run_tasks(dissolve_tasks.dissolve_home, job, dissolve_tasks.dissolve_keys(job, filed)):
        tallies[home.query_index].add_rows(home.rows)
        filed.add(home.filed)
    clock.lap("dissolve")
    for files in run_tasks(paint_tasks.repaint_block, job, dissolve_tasks.repaint_keys(job, filed)):
        shards |= {file.key: file for file in files}
    clock.lap("repaint")
    return tuple(shards.values())


def order_rows(
    job: MergeJob, run_tasks: TaskRunner, files: Sequence[StorePath], *, n_rows: int, bounds: Bounds | None
) -> None:
    """Sort the rows of all queries along one curve, and write the part files. Tables stay on disk: this
    process sees their names and a histogram. Rows that fit one range are sorted as they are, without
    scattering.

    `files`: tables of all rows. `bounds`: extent of the centres of all `n_rows` bounding boxes; None: there
    are none.
    """
    if bounds is None:
        keys = []
    elif n_rows <= order_tasks.RANGE_ROWS:
        keys = [order_tasks.OrderKey(files=tuple(files), bounds=bounds)]
    else:
        counts = np.zeros(order_tasks.BINS, dtype=np.int64)
        for part in run_tasks(order_tasks.count_keys, job, order_tasks.batches_of(files, bounds)):
            counts += part
        filed = FiledTables()
        for tables in run_tasks(
            order_tasks.scatter_rows,
            job,
            order_tasks.batches_of(files, bounds, order_tasks.range_edges(counts)),
        ):
            filed.add(tables)
        keys = order_tasks.range_keys(job, filed, bounds)
    parts = order_tasks.part_keys(list(run_tasks(order_tasks.sort_range, job, keys)))
    written = sum(run_tasks(order_tasks.write_part_file, job, parts))
    assert written == n_rows, f"{written} rows were written, {n_rows} were made"


class _Clock:
    """Seconds per step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, step: str) -> None:
        now = time.monotonic()
        self.seconds[step], self._last = round(now - self._last, 3), now
