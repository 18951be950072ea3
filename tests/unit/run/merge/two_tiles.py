"""Two tiles of 10 x 10 px side by side, a block each, that see 2 px of each other.

    object   rows, columns   pixels   smallest pixel   seen by
    SEAM     4-5, 8-11       8        4 * 20 + 8       both tiles, each the whole of it
    INNER    1-2, 1-2        4        1 * 20 + 1       the left tile

An id is 1 + the smallest pixel.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import record_runs as runs
import stitch_worlds as worlds

from pipeline.run.merge.filed_tables import FiledTables
from pipeline.run.merge.merge_job import MergeJob
from pipeline.run.merge.paint_tasks import PaintCounts, paint_blocks
from pipeline.run.merge.resolve_tasks import describe_super, join_query, resolve_super
from pipeline.write.masks_zarr import create_masks

SEAM = 89
INNER = 22


def two_tile_job(folder: Path, **changes: Any) -> MergeJob:
    """The world's block records in `folder`, nothing merged yet; a super-tile per tile."""
    lattice = worlds.make_lattice((10, 20), 10, 2, 1)
    left = np.zeros((10, 12), dtype=np.uint16)
    left[4:6, 8:12] = 1
    left[1:3, 1:3] = 2
    right = np.zeros((10, 12), dtype=np.uint16)
    right[4:6, 0:4] = 1
    runs.write_records(
        folder, lattice, worlds.ArraySource(lattice=lattice, tiles={(0, 0): left, (0, 1): right})
    )
    return runs.job_for(folder, folder / "out", lattice, **{"super_tile_tiles": 1, **changes})


def on_the_ground(job: MergeJob) -> MergeJob:
    """The same with pixels of 1 m on UTM's central meridian, where lengths on the map are 0.9996 of the true
    ones: 4 px are 4 / 0.9996 ** 2 = 4.0032 m2.
    """
    grid = replace(
        job.lattice.grid,
        crs_wkt=pyproj.CRS("EPSG:32633").to_wkt(),
        transform=(1.0, 0.0, 500_000.0, 0.0, -1.0, 5_500_000.0),
    )
    return replace(job, lattice=replace(job.lattice, grid=grid))


def resolve(job: MergeJob) -> FiledTables:
    """Steps 1 to 3, and the tables that they wrote for later ones."""
    filed = FiledTables()
    for key in job.super_keys():
        resolve_super(job, key)
    join_query(job, 0)
    for key in job.super_keys():
        filed.add(describe_super(job, key))
    return filed


def paint(job: MergeJob) -> tuple[list[PaintCounts], FiledTables]:
    """Steps 1 to 4: what was painted, block by block, and which tables were written for later steps."""
    filed = resolve(job)
    create_masks(job.run_dir.masks, job.lattice, job.queries)
    counts = list[PaintCounts]()
    for group in job.block_groups():
        painted = paint_blocks(job, group)
        counts += painted.blocks
        filed.add(painted.filed)
    return counts, filed
