"""Step 5: pieces become whole objects, large ones in parts; what falls away is told to its blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import record_runs as runs
import shapely
import stitch_worlds as worlds
from run.merge.two_tiles import SEAM, on_the_ground, paint, two_tile_job

from pipeline.errors import RecordError
from pipeline.run.merge import paint_tasks
from pipeline.run.merge.dissolve_tasks import Dissolved, dissolve_home, dissolve_keys, repaint_keys
from pipeline.run.merge.filed_tables import Filed, FiledTables
from pipeline.run.merge.finished_rows import LeftOut, RowCounts
from pipeline.run.merge.merge_job import MergeJob, Task, run_here
from pipeline.run.merge.publish import publish_merge
from pipeline.stitch.stitch_options import StitchOptions
from pipeline.write.merge_files import read_columns, read_tables
from pipeline.write.report.report_data import read_chips
from pipeline.write.report.report_objects import read_objects


def dissolved(job: MergeJob) -> tuple[Dissolved, FiledTables]:
    """Steps 1 to 5 for the only owner, and all tables that were written for later steps."""
    _, filed = paint(job)
    (key,) = dissolve_keys(job, filed)
    done = dissolve_home(job, key)
    filed.add(done.filed)
    return done, filed


def test_two_pieces_become_one_object_with_the_tiles_of_both(tmp_path: Path) -> None:
    """8 px, columns 8-11 and rows 4-5: the box is centred at (10, 5), where both tiles see."""
    job = two_tile_job(tmp_path)
    _, filed = paint(job)
    (key,) = dissolve_keys(job, filed)
    assert (key.query_index, key.home, len(key.pieces)) == (0, 0, 2)
    done = dissolve_home(job, key)
    whole = RowCounts(
        n_rows=1, n_objects=1, area_px=8, at_seam=1, n_unknown_m2=1, bounds=(10.0, 5.0, 10.0, 5.0)
    )
    assert done == Dissolved(query_index=0, rows=whole, filed=(Filed("whole-rows", 0, 0),))
    (row,) = read_tables([done.filed[0].path(job)]).to_pylist()
    assert (row["instance_id"], row["area_px"], row["part_no"], row["n_parts"]) == (SEAM, 8, 0, 1)
    assert row["tile_ids"] == ["r00000c00000", "r00000c00001"]
    shape = shapely.from_wkb(row["geometry"])
    assert (shape.area, shape.geom_type) == (8.0, "Polygon")
    filed.add(done.filed)
    assert repaint_keys(job, filed) == []


@pytest.mark.parametrize(
    ("least_px", "least_m2", "n_rows"), [(8, 0.0, 1), (9, 0.0, 0), (0, 8.006, 1), (0, 8.007, 0)]
)
def test_an_object_below_the_least_area_is_no_row_and_both_blocks_are_told(
    tmp_path: Path, least_px: int, least_m2: float, n_rows: int
) -> None:
    """8 px of 1 / 0.9996 ** 2 m2 each: 8.0064 m2."""
    options = StitchOptions(min_area_px=least_px)
    job = on_the_ground(two_tile_job(tmp_path, stitch=options, min_area_m2=least_m2))
    done, filed = dissolved(job)
    keys = repaint_keys(job, filed)
    if n_rows:
        assert (done.rows.n_rows, keys) == (n_rows, [])
        return
    reason = LeftOut(below_min_area_px=1) if least_px else LeftOut(below_min_area_m2=1)
    assert done.rows == RowCounts(left_out=reason)
    assert [key.block for key in keys] == [(0, 0), (0, 1)]
    for key in keys:
        ((path,),) = key.dropped
        assert read_columns(path)["id"].tolist() == [SEAM]


def test_an_object_that_misses_the_aoi_falls_away_and_one_that_touches_it_stays_whole(tmp_path: Path) -> None:
    """An AOI over the left half of the object keeps all 8 px; one over the inner object keeps none."""
    for name, box, n_rows in (("half", (8.2, -6, 9.8, -4), 1), ("inner", (1.2, -2.8, 2.8, -1.2), 0)):
        job = two_tile_job(tmp_path / name, aoi_grid=shapely.box(*box))
        done, filed = dissolved(job)
        assert done.rows.n_rows == n_rows
        if n_rows:
            assert read_tables(filed.paths(job, "whole-rows", 0))["area_px"].to_pylist() == [8]


def test_an_object_of_more_tiles_than_one_row_may_have_is_a_row_per_square(tmp_path: Path) -> None:
    """Parts of one tile a side: 4 px each, one id. Every part names the tiles that see its square: both."""
    job = two_tile_job(tmp_path, stitch=StitchOptions(split_tiles=1, part_tiles=1))
    done, filed = dissolved(job)
    assert (done.rows.n_rows, done.rows.n_objects) == (2, 1)
    rows = read_tables(filed.paths(job, "whole-rows", 0)).to_pylist()
    assert [(row["instance_id"], row["part_no"], row["n_parts"], row["area_px"]) for row in rows] == [
        (SEAM, 0, 2, 4),
        (SEAM, 1, 2, 4),
    ]
    assert [shapely.from_wkb(row["geometry"]).bounds[::2] for row in rows] == [(8.0, 10.0), (10.0, 12.0)]
    assert all(row["tile_ids"] == ["r00000c00000", "r00000c00001"] for row in rows)


def test_objects_of_many_tiles_come_in_parts(tmp_path: Path) -> None:
    """A ring over 8 x 8 tiles, 2 x 2 tiles per block, parts of 4 x 4 tiles: one row per quarter, one id."""
    truth = np.zeros((80, 80), dtype=np.int64)
    truth[5:75, 5:75] = 1
    truth[20:60, 20:60] = 0
    truth[30:34, 30:34] = 2
    lattice = worlds.make_lattice(truth.shape, 10, 2, 2)
    runs.write_records(tmp_path, lattice, worlds.cut(truth, lattice, mode="pieces"))
    outs = []
    run_dirs = []
    for side in (2, 6):
        options = StitchOptions(split_tiles=10, part_tiles=4)
        published = runs.merge(
            runs.job_for(tmp_path, tmp_path / f"s{side}", lattice, stitch=options, super_tile_tiles=side)
        )
        assert published.n_instances == (2,)
        outs.append(runs.result_bytes(tmp_path / f"s{side}"))
        run_dirs.append(published.run_dir)
    assert outs[0] == outs[1]
    frame = runs.assert_raster_equals_vector(tmp_path / "s2")
    objects = read_objects(run_dirs[0], n_queries=1, seed=0)
    assert (len(objects), objects.groups["Largest"]) == (2, [(0, 1 + 5 * 80 + 5), (0, 1 + 30 * 80 + 30)])
    assert (objects.px.smallest, objects.px.largest) == (16, 70 * 70 - 40 * 40)
    (ring,) = read_chips(run_dirs[0], [(0, 1 + 5 * 80 + 5)], lattice.grid)
    assert (ring.area_px, ring.geometry.area, ring.geometry.geom_type) == (3300, 3300, "Polygon"), (
        "the report shows parts as one object"
    )
    assert ring.n_tiles == 64 - 16, "sixteen tiles in the middle own no pixel of it"
    ring = frame[frame["n_parts"] == 4]
    assert ring["part_no"].tolist() == [0, 1, 2, 3]
    assert ring["area_px"].tolist() == [35 * 35 - 20 * 20] * 4
    assert set(ring["instance_id"]) == {5 * 80 + 5 + 1}
    assert all(f"r00000c0000{4 * i}" in tiles for i, tiles in enumerate(ring["tile_ids"][:2]))
    assert frame[frame["n_parts"] == 1]["area_px"].tolist() == [16]
    np.testing.assert_array_equal(runs.published_raster(tmp_path / "s2"), worlds.canonical(truth))


@pytest.mark.parametrize("what", ["a folder", "all of it", "a file"])
def test_pieces_that_are_gone_are_missed(tmp_path: Path, what: str) -> None:
    """Somebody removes them between painting and dissolving: an object over four blocks would be published as
    none.
    """
    truth = np.zeros((20, 20), dtype=np.int64)
    truth[6:14, 6:14] = 1
    lattice = worlds.make_lattice(truth.shape, 10, 2, 1)
    runs.write_records(tmp_path, lattice, worlds.cut(truth, lattice, mode="pieces"))
    job = runs.job_for(tmp_path, tmp_path / "out", lattice)

    def losing(task: Task, job: MergeJob, keys: Sequence[Any]) -> Iterator[Any]:
        yield from run_here(task, job, keys)
        if task is paint_tasks.paint_blocks:
            pieces = job.table("pieces/0", 0, "x").parent
            gone = {
                "a folder": pieces,
                "all of it": job.run_dir.merge,
                "a file": pieces / "00000002.arrow",
            }[what]
            assert gone.exists()
            gone.delete_tree()

    with pytest.raises(RecordError, match=r"intermediate table .* cannot be read.*start the merge again"):
        publish_merge(job, note=lambda _: None, run_tasks=losing)
