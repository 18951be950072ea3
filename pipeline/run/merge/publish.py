"""Phase two: committed block records -> rasters, instances and coverage.

1. `write_coverage` counts the ledger: planned = found + empty + failed.
2. `publish_merge` runs the steps of pipeline.run.merge, the tasks of each by a `TaskRunner`.

It can be run again at any time and gives the same bytes. Instances, edges and geometries stay in the tasks.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.run.infer.steps import RunContext
from pipeline.run.merge import audit_tasks, dissolve_tasks, order_tasks, paint_tasks, resolve_tasks
from pipeline.run.merge.merge_job import MergeJob, TaskRunner, run_here
from pipeline.run.merge.tally import Bounds, Tally, join_bounds
from pipeline.stitch.join import JoinStats
from pipeline.write.coverage import CLOUD_COLUMNS, GATE_COLUMNS, SCENE_COLUMNS, Conservation, write_coverage
from pipeline.write.instances import InstanceMeta, remove_parts_from
from pipeline.write.masks_zarr import create_masks, finalise, open_masks
from pipeline.write.run_dir import RunDir

Note = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Published:
    """What a finished run left behind."""

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


def publish(context: RunContext, *, note: Note, run_tasks: TaskRunner = run_here) -> Published:
    """Merge and write everything that is derived from the block records. Raises RecordError,
    IncompleteRunError.
    """
    return publish_merge(merge_job(context), note=note, run_tasks=run_tasks)


def merge_job(context: RunContext) -> MergeJob:
    """Phase two of a run, in the run's own directory."""
    config = context.config
    run_dir = RunDir(context.run_dir)
    return MergeJob(
        records_dir=str(run_dir.blocks),
        out_dir=context.run_dir,
        fingerprint=context.fingerprint,
        lattice=context.lattice,
        inside=context.plan.inside,
        aoi_grid=context.plan.aoi_grid,
        scenes=context.plan.scenes,
        meta=InstanceMeta(
            queries=config.queries,
            prompter_id=context.model_ids["prompter"],
            segmenter_id=context.model_ids["segmenter"],
            run_id=context.fingerprint[:16],
            verified=config.verifier.on,
            known_locations=config.prompter.kind == "vector",
        ),
        stitch=config.stitch,
        mode=config.merge_mode,
        min_area_m2=config.min_area_m2,
        super_tile_tiles=config.preset.merge.super_tile_tiles,
        gated=config.gate.on,
        masked=any(scene.quality is not None for scene in context.plan.scenes),
    )


def publish_merge(job: MergeJob, *, note: Note, run_tasks: TaskRunner = run_here) -> Published:
    """Phase two on the block records of `job`. Raises RecordError, IncompleteRunError.

    Instances that touch the AOI and reach the smallest area are kept. Objects are never cut at the AOI: what
    begins inside is kept whole as far as tiles saw it.
    """
    start = time.monotonic()
    clock = _Clock()
    conservation = write_coverage(
        job.run_dir,
        job.lattice,
        job.inside,
        fingerprint=job.fingerprint,
        queries=job.queries,
        scene_ids=[scene.scene_id for scene in job.scenes],
        more=(*SCENE_COLUMNS, *(CLOUD_COLUMNS if job.masked else ()), *(GATE_COLUMNS if job.gated else ())),
    )
    conservation.require()
    clock.lap("coverage")
    tallies = [Tally() for _ in job.queries]
    shutil.rmtree(job.run_dir.merge, ignore_errors=True)
    try:
        note(f"Merging {len(job.queries)} {'query' if len(job.queries) == 1 else 'queries'}")
        _resolve(job, run_tasks, tallies, clock)
        n_blocks = len(job.blocks())
        note(f"Painting {n_blocks} {'block' if n_blocks == 1 else 'blocks'}")
        _paint(job, run_tasks, tallies, clock)
        note("Writing instances")
        order_rows(
            job,
            run_tasks,
            n_rows=sum(tally.rows.n_rows for tally in tallies),
            bounds=join_bounds([tally.rows.bounds for tally in tallies]),
        )
        clock.lap("order")
    finally:
        shutil.rmtree(job.run_dir.merge, ignore_errors=True)
    return Published(
        conservation=conservation,
        n_instances=tuple(tally.rows.n_objects for tally in tallies),
        elapsed_s=time.monotonic() - start,
        qa={query: tally.figures() for query, tally in zip(job.queries, tallies, strict=True)},
        joined=tuple(tally.joined for tally in tallies),
        steps_s=clock.seconds,
    )


def _resolve(job: MergeJob, run_tasks: TaskRunner, tallies: Sequence[Tally], clock: _Clock) -> None:
    for counts in run_tasks(resolve_tasks.resolve_super, job, job.super_keys()):
        tallies[counts.query_index].add_seams(counts)
    clock.lap("seams")
    for query, stats in run_tasks(resolve_tasks.join_query, job, range(len(job.queries))):
        tallies[query].joined = stats
    clock.lap("join")
    if job.stitch.audit and job.mode == "instances":
        _audit(job, run_tasks, tallies)
        clock.lap("audit")
    for _ in run_tasks(resolve_tasks.describe_super, job, job.super_keys()):
        pass
    clock.lap("relabel")


def _audit(job: MergeJob, run_tasks: TaskRunner, tallies: Sequence[Tally]) -> None:
    """Cut what contradicts a tile's own verdict, and join again without it."""
    for tally in tallies:
        tally.add_audit(audit_tasks.AuditCounts())
    found = np.zeros(len(job.queries), dtype=np.int64)
    for query, n_pairs in run_tasks(audit_tasks.find_contradictions, job, job.super_keys()):
        found[query] += n_pairs
    suspect = np.flatnonzero(found).tolist()
    for _ in run_tasks(
        audit_tasks.gather_suspects, job, [key for key in job.super_keys() if key[0] in suspect]
    ):
        pass
    for counts in run_tasks(audit_tasks.settle_query, job, suspect):
        tallies[counts.query_index].add_audit(counts)
    for _ in run_tasks(resolve_tasks.resolve_super, job, audit_tasks.cut_keys(job)):
        pass
    for query, stats in run_tasks(resolve_tasks.join_query, job, suspect):
        tallies[query].joined = stats


def _paint(job: MergeJob, run_tasks: TaskRunner, tallies: Sequence[Tally], clock: _Clock) -> None:
    create_masks(job.run_dir.masks, job.lattice, job.queries)
    handed_on: Counter[dissolve_tasks.HomeKey] = Counter()
    for block in run_tasks(paint_tasks.paint_block, job, job.blocks()):
        handed_on.update(block.handed_on)
        for tally, rows, ground, found in zip(tallies, block.rows, block.ground, block.found, strict=True):
            tally.add_rows(rows)
            tally.add_ground(ground)
            tally.add_found(found)
    clock.lap("paint")
    for query, rows in run_tasks(
        dissolve_tasks.dissolve_home, job, dissolve_tasks.dissolve_keys(job, handed_on)
    ):
        tallies[query].add_rows(rows)
    clock.lap("dissolve")
    for _ in run_tasks(paint_tasks.repaint_block, job, dissolve_tasks.repaint_keys(job)):
        pass
    finalise(open_masks(job.run_dir.masks, job.lattice))
    clock.lap("repaint")


def order_rows(job: MergeJob, run_tasks: TaskRunner, *, n_rows: int, bounds: Bounds | None) -> None:
    """Sort the rows of all queries along one curve, and write the part files. Tables stay on disk: this
    process sees their names and a histogram. Rows that fit one range are sorted as they are, without
    scattering.

    `bounds`: extent of the centres of all `n_rows` bounding boxes; None: there are none.
    """
    files = order_tasks.row_files(job)
    if bounds is None:
        keys = []
    elif n_rows <= order_tasks.RANGE_ROWS:
        keys = [order_tasks.OrderKey(files=tuple(files), bounds=bounds)]
    else:
        counts = np.zeros(order_tasks.BINS, dtype=np.int64)
        for part in run_tasks(order_tasks.count_keys, job, order_tasks.batches_of(files, bounds)):
            counts += part
        for _ in run_tasks(
            order_tasks.scatter_rows,
            job,
            order_tasks.batches_of(files, bounds, order_tasks.range_edges(counts)),
        ):
            pass
        keys = order_tasks.range_keys(job, bounds)
    parts = order_tasks.part_keys(list(run_tasks(order_tasks.sort_range, job, keys)))
    written = sum(run_tasks(order_tasks.write_part_file, job, parts))
    assert written == n_rows, f"{written} rows were written, {n_rows} were made"
    remove_parts_from(job.run_dir, len(parts))


class _Clock:
    """Seconds per step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, step: str) -> None:
        now = time.monotonic()
        self.seconds[step], self._last = round(now - self._last, 3), now
