"""The audit of the two houses of tests/unit/stitch/test_contradictions.py, on disk.

The first of four tiles sees two houses that the other three join round their common corner.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import record_runs as runs
import stitch_worlds as worlds
from run.merge.two_tiles import two_tile_job

from pipeline.run.merge.audit_tasks import (
    AuditCounts,
    find_contradictions,
    gather_forbidden,
    gather_suspects,
    query_keys,
    settle_query,
)
from pipeline.run.merge.filed_tables import FiledTables
from pipeline.run.merge.merge_job import MergeJob
from pipeline.run.merge.resolve_tasks import join_query, resolve_again, resolve_super
from pipeline.stitch.stitch_options import StitchOptions
from pipeline.write.merge_files import read_columns

AUDITED = StitchOptions(audit=True)


def two_houses(folder: Path, **changes: Any) -> MergeJob:
    source, lattice = worlds.round_the_corner()
    runs.write_records(folder, lattice, source)
    return runs.job_for(folder, folder / "out", lattice, **changes)


def joined(job: MergeJob) -> MergeJob:
    """The job after steps 1 and 2."""
    for key in job.super_keys():
        resolve_super(job, key)
    join_query(job, 0)
    return job


def test_two_houses_of_one_tile_are_parted_at_one_edge(tmp_path: Path) -> None:
    job = joined(two_houses(tmp_path, stitch=AUDITED, super_tile_tiles=1))
    filed = FiledTables()
    filed.add(table for key in job.super_keys() for table in find_contradictions(job, key))
    assert filed.writers("forbidden", 0) == [0]
    gather_forbidden(job, *query_keys(job, filed, "forbidden", [0]))
    filed.add(table for key in job.super_keys() for table in gather_suspects(job, key))
    assert 0 in filed.writers("suspects", 0)
    suspects = read_columns(filed.paths(job, "suspects", 0)[0])
    assert sorted(zip(suspects["a"].tolist(), suspects["b"].tolist(), strict=True)) == [
        (1, (1 << 16) + 1),
        (2, (2 << 16) + 1),
    ]
    counts, touched = settle_query(job, *query_keys(job, filed, "suspects", [0]))
    assert counts == AuditCounts(query_index=0, contradictions=1, components=1, cut_edges=1)
    assert touched == ((0, 0),)
    resolve_again(job, (0, 0))
    assert join_query(job, 0)[1].n_edges == 3
    assert [find_contradictions(job, key) for key in job.super_keys()] == [(), (), (), ()]


def test_where_nothing_contradicts_nothing_is_filed(tmp_path: Path) -> None:
    job = joined(two_tile_job(tmp_path, stitch=AUDITED))
    assert [find_contradictions(job, key) for key in job.super_keys()] == [(), ()]
    assert not job.table("forbidden", 0, "x").parent.exists()


@pytest.mark.parametrize("side", [1, 2])
def test_the_audit_is_counted_and_its_tables_go(tmp_path: Path, side: int) -> None:
    """Super-tiles of one tile and of all four."""
    qa = {}
    for audited in (False, True):
        job = two_houses(tmp_path, stitch=StitchOptions(audit=audited), super_tile_tiles=side)
        out = tmp_path / f"out{audited:d}"
        qa[audited] = runs.merge(
            runs.job_for(tmp_path, out, job.lattice, stitch=job.stitch, super_tile_tiles=side)
        ).qa["anything"]
        runs.assert_raster_equals_vector(out)
    assert (qa[False]["objects"], qa[False]["edges"]) == (1, 4)
    assert qa[False]["audit"] is None, "nobody looked"
    assert (qa[True]["objects"], qa[True]["edges"]) == (2, 3)
    assert qa[True]["audit"] == {"contradictions": 1, "components": 1, "cut_edges": 1}
    assert not (tmp_path / "out1" / "merge.tmp").exists()
