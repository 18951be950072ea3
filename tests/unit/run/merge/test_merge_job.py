"""What every task knows of the region: keys, blocks, tables, the AOI."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import record_runs as runs
import shapely
import stitch_worlds as worlds
from s3_server import BUCKET, serving_s3

from pipeline.files.store.store_path import StorePath
from pipeline.run.merge.merge_job import MergeJob, records_at_hand, run_here, whole_tasks
from pipeline.schema.tiling import Window


def make_job(folder: Path, *, tiles: int, super_tile_tiles: int) -> MergeJob:
    """A square region of tiles of 10 px, a block each."""
    lattice = worlds.make_lattice((10 * tiles, 10 * tiles), 10, 2, 1)
    return runs.job_for(folder, folder / "out", lattice, super_tile_tiles=super_tile_tiles)


def test_every_query_has_a_key_per_super_tile(tmp_path: Path) -> None:
    job = make_job(tmp_path, tiles=3, super_tile_tiles=2)
    job = replace(job, meta=replace(job.meta, queries=("tanks", "lakes")))
    assert job.super_keys() == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2), (1, 3)]
    assert [job.super_at(number).name for number in (1, 2)] == ["s00000_00001", "s00001_00000"]


def test_a_block_is_found_in_its_super_tiles_tables(tmp_path: Path) -> None:
    """Super-tiles of 2 x 2 blocks; on 3 x 3 blocks, those at the right border are one block wide."""
    job = make_job(tmp_path, tiles=4, super_tile_tiles=2)
    assert (job.batch_of(1, 2)[0].name, job.batch_of(1, 2)[1]) == ("s00000_00001", 2)
    narrow = make_job(tmp_path, tiles=3, super_tile_tiles=2)
    assert (narrow.batch_of(1, 2)[0].name, narrow.batch_of(1, 2)[1]) == ("s00000_00001", 1)
    for block in ((row, col) for row in range(3) for col in range(3)):
        tile, position = narrow.batch_of(*block)
        assert narrow.supers.blocks(tile)[position] == block


def test_blocks_beside_one_that_was_looked_at_are_painted_and_get_no_shard(tmp_path: Path) -> None:
    job = make_job(tmp_path, tiles=4, super_tile_tiles=2)
    inside = np.zeros((4, 4), dtype=np.bool_)
    inside[0, 0] = True
    job = replace(job, inside=inside)
    assert job.blocks() == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert [job.writes(*block) for block in job.blocks()] == [True, False, False, False]


@pytest.mark.parametrize(("tiles", "side"), [(3, 1), (15, 1), (16, 2), (24, 3), (40, 4)])
def test_squares_of_blocks_hold_every_block_once(tmp_path: Path, tiles: int, side: int) -> None:
    """Single ones below 4 x 64 blocks, and never more than 4 x 4."""
    job = make_job(tmp_path, tiles=tiles, super_tile_tiles=4)
    groups = job.block_groups()
    assert sorted(block for group in groups for block in group) == job.blocks()
    assert {len({(row // side, col // side) for row, col in group}) for group in groups} == {1}
    assert max(map(len, groups)) == side**2


def test_a_task_asks_a_bucket_once_for_a_record_and_for_a_table(tmp_path: Path) -> None:
    with serving_s3():
        job = make_job(tmp_path, tiles=2, super_tile_tiles=2)
        job = replace(job, out_dir=f"s3://{BUCKET}/at-hand", records_dir=f"s3://{BUCKET}/at-hand/blocks")
        job.run_dir.block("b00000_00000").write_bytes(b"record")
        job.table("paint", 0, "s00000_00000").write_bytes(b"table")

        def places(told: MergeJob, _: int) -> list[StorePath]:
            found = [told.record("b00000_00000"), told.table_at_hand("paint", 0, "s00000_00000")]
            assert [path.read_bytes() for path in found] == [b"record", b"table"]
            told.run_dir.block("b00000_00000").delete()
            assert told.record("b00000_00000").read_bytes() == b"record", "not asked for again"
            return [*found, told.record("b00007_00007")]

        (found,) = records_at_hand(run_here)(places, job, [0])
        assert [path.is_local for path in found] == [True, True, False], "what is missing, its reader says"
        assert not any(path.exists() for path in found), "copies last as long as their task"
        assert not job.table_at_hand("paint", 0, "s00000_00000").is_local, "without a folder for copies"


def test_tables_lie_by_query_kind_and_name(tmp_path: Path) -> None:
    job = make_job(tmp_path, tiles=2, super_tile_tiles=2)
    path = job.table("pieces/7", 1, "b00000_00001")
    assert path.local() == tmp_path / "out" / "merge.tmp" / "q1" / "pieces" / "7" / "b00000_00001.arrow"
    own = replace(job, tables_dir=str(tmp_path / "out" / "merge.tmp" / "abc-1"))
    assert own.table("rows", 0, "h").local() == own.tables.local() / "q0" / "rows" / "h.arrow"
    assert own.tables.local() == tmp_path / "out" / "merge.tmp" / "abc-1"


def test_results_lie_in_the_snapshot_that_is_written(tmp_path: Path) -> None:
    """Records and run.json stay where they are."""
    job = make_job(tmp_path, tiles=2, super_tile_tiles=2)
    assert job.run_dir.masks.local() == tmp_path / "out" / "masks.zarr"
    named = replace(job, snapshot="abc").run_dir
    assert named.masks.local() == tmp_path / "out" / "snapshots" / "abc" / "masks.zarr"
    assert named.run_json == job.run_dir.run_json
    assert named.block("b00000_00000").local() == tmp_path / "blocks" / "b00000_00000.parquet"


def test_the_aoi_covers_every_pixel_that_it_touches(tmp_path: Path) -> None:
    """y falls by 1 per row: the box lies over rows 1-3 and columns 1-3, half of each outer one."""
    job = make_job(tmp_path, tiles=1, super_tile_tiles=1)
    window = Window(row0=1, col0=2, row1=5, col1=5)
    assert job.aoi_mask(window) is None
    masked = replace(job, aoi_grid=shapely.box(1.5, -3.5, 3.5, -1.5)).aoi_mask(window)
    assert masked is not None
    assert masked.tolist() == [[True, True, False]] * 3 + [[False] * 3]


def test_a_job_travels_to_another_process(tmp_path: Path) -> None:
    job = make_job(tmp_path, tiles=3, super_tile_tiles=2)
    assert job.supers.n_rows == 2
    back = pickle.loads(pickle.dumps(job))
    assert (back.lattice, back.meta, back.super_keys()) == (job.lattice, job.meta, job.super_keys())


def test_one_process_takes_keys_in_their_order_one_at_a_time(tmp_path: Path) -> None:
    job = make_job(tmp_path, tiles=1, super_tile_tiles=1)
    begun = []

    def double(told: MergeJob, key: int) -> int:
        assert told is job
        begun.append(key)
        return 2 * key

    results = run_here(double, job, [3, 1, 2])
    assert (next(results), begun) == (6, [3])
    assert (list(results), begun) == ([2, 4], [3, 1, 2])


def test_whole_tasks_are_the_same_tasks(tmp_path: Path) -> None:
    """One result per key, and a task begins when its result is asked for. What a signal does to them is
    tested with a real one (tests/integration/test_stopping.py)."""
    job = make_job(tmp_path, tiles=1, super_tile_tiles=1)
    begun = []
    results = whole_tasks(run_here)(lambda _, key: begun.append(key) or key, job, [3, 1, 2])
    assert (next(results), begun) == (3, [3])
    assert (list(results), begun) == ([1, 2], [3, 1, 2])
