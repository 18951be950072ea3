"""Phase two on real files: same bytes for any super-tile, order and interruption; raster == vector; corrupt
input is refused.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import record_runs as runs
import stitch_properties as properties
import stitch_worlds as worlds
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.errors import IncompleteRunError, RecordError
from pipeline.run.merge import dissolve_tasks, order_tasks, paint_tasks, resolve_tasks
from pipeline.run.merge.merge_job import MergeJob, Task, run_here
from pipeline.run.merge.publish import publish_merge
from pipeline.stitch.stitch_options import StitchOptions
from pipeline.write.report.report_data import read_chips
from pipeline.write.report.report_objects import read_objects
from pipeline.write.run_dir import RunDir


@given(st.integers(0, 2**32 - 1))
@example(
    1763731001308
)  # an object of one block whose tiles lie in several super-tiles, and are more than split_tiles
@settings(max_examples=4, deadline=None)
def test_any_world_gives_the_same_bytes_and_raster_equals_vector(seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        properties.check_published(seed, Path(folder))


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, MergeJob]:
    """A noisy world of 5 x 6 tiles in blocks of 2 x 2, merged once with one super-tile."""
    folder = tmp_path_factory.mktemp("records")
    rng = np.random.default_rng(8)
    truth = worlds.cc(np.kron(rng.integers(0, 4, (8, 10)), np.ones((6, 6), dtype=np.int64)))
    lattice = worlds.make_lattice(truth.shape, 10, 3, 2)
    runs.write_records(
        folder, lattice, properties.disturb(worlds.cut(truth, lattice, mode="whole", seed=1), rng)
    )
    job = runs.job_for(folder, folder / "out", lattice)
    runs.merge(job)
    return folder, job


@pytest.mark.parametrize("dies_at", [3, 9, 16])
def test_killed_anywhere_and_started_again_gives_the_same_bytes(
    records: tuple[Path, MergeJob], tmp_path: Path, dies_at: int
) -> None:
    folder, job = records
    mine = replace(job, out_dir=str(tmp_path), super_tile_tiles=2)
    with pytest.raises(KeyboardInterrupt):
        publish_merge(mine, note=lambda _: None, run_tasks=runs.Shuffled(1, dies_at=dies_at))
    runs.merge(mine, seed=2)
    assert runs.result_bytes(tmp_path) == runs.result_bytes(folder / "out")
    assert not mine.run_dir.merge.exists()


def test_a_part_left_by_a_longer_result_goes(records: tuple[Path, MergeJob], tmp_path: Path) -> None:
    _, job = records
    mine = replace(job, out_dir=str(tmp_path), super_tile_tiles=4)
    (tmp_path / "instances").mkdir()
    (tmp_path / "instances" / "part-00007.parquet").write_bytes(b"older")
    runs.merge(mine)
    assert [path.name for path in (tmp_path / "instances").iterdir()] == ["part-00000.parquet"]


def test_objects_of_many_tiles_come_in_parts(tmp_path: Path) -> None:
    """A ring over 8 x 8 tiles, 2 x 2 tiles per block, parts of 4 x 4 tiles: one row per quarter, one id."""
    truth = np.zeros((80, 80), dtype=np.int64)
    truth[5:75, 5:75] = 1
    truth[20:60, 20:60] = 0
    truth[30:34, 30:34] = 2
    lattice = worlds.make_lattice(truth.shape, 10, 2, 2)
    runs.write_records(tmp_path, lattice, worlds.cut(truth, lattice, mode="pieces"))
    outs = []
    for side in (2, 6):
        options = StitchOptions(split_tiles=10, part_tiles=4)
        published = runs.merge(
            runs.job_for(tmp_path, tmp_path / f"s{side}", lattice, stitch=options, super_tile_tiles=side)
        )
        assert published.n_instances == (2,)
        outs.append(runs.result_bytes(tmp_path / f"s{side}"))
    assert outs[0] == outs[1]
    frame = runs.assert_raster_equals_vector(tmp_path / "s2")
    objects = read_objects(RunDir(tmp_path / "s2"), n_queries=1, seed=0)
    assert (len(objects), objects.groups["Largest"]) == (2, [(0, 1 + 5 * 80 + 5), (0, 1 + 30 * 80 + 30)])
    assert (objects.px.smallest, objects.px.largest) == (16, 70 * 70 - 40 * 40)
    (ring,) = read_chips(RunDir(tmp_path / "s2"), [(0, 1 + 5 * 80 + 5)], lattice.grid)
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


def test_objects_that_fall_away_leave_every_block(tmp_path: Path) -> None:
    """min_area_px drops an object that crosses a block border: its blocks are painted again without it."""
    truth = np.zeros((20, 40), dtype=np.int64)
    truth[4:6, 18:22], truth[10:16, 15:25] = 1, 2
    lattice = worlds.make_lattice(truth.shape, 10, 2, 1)
    runs.write_records(tmp_path, lattice, worlds.cut(truth, lattice, mode="pieces"))
    job = runs.job_for(tmp_path, tmp_path / "out", lattice, stitch=StitchOptions(min_area_px=9))
    assert runs.merge(job).n_instances == (1,)
    runs.assert_raster_equals_vector(tmp_path / "out")
    np.testing.assert_array_equal(runs.published_raster(tmp_path / "out") > 0, truth == 2)


def test_qa_counts_agreement_and_density(tmp_path: Path) -> None:
    truth = np.zeros((20, 20), dtype=np.int64)
    truth[9:11, 2:4], truth[5, 5], truth[15, 15] = 1, 2, 3
    lattice = worlds.make_lattice(truth.shape, 10, 2, 1)
    runs.write_records(tmp_path, lattice, worlds.cut(truth, lattice, mode="whole"))
    published = runs.merge(runs.job_for(tmp_path, tmp_path / "out", lattice))
    qa = published.qa["anything"]
    assert qa["match_scores"] == [0] * 19 + [1]
    assert (qa["fragments"], qa["edges"], qa["objects"], qa["rows"], qa["ghosts"]) == (4, 1, 3, 3, 0)
    assert (qa["density"]["seam_px"], qa["density"]["interior_px"]) == (400 - 4 * 64, 4 * 64)
    assert qa["density"]["seam_per_mpx"] == pytest.approx(1e6 / 144, rel=1e-4)
    assert qa["density"]["ratio"] == pytest.approx((1 / 144) / (2 / 256), rel=1e-4)


@pytest.mark.parametrize("side", [1, 2])
def test_the_audit_is_counted_and_its_tables_go(tmp_path: Path, side: int) -> None:
    """The two houses of tests/unit/stitch/test_contradictions.py, on disk; super-tiles of one tile and of
    both.
    """
    lattice = worlds.make_lattice((10, 20), 10, 4, 1)
    left = np.zeros((10, 14), dtype=np.uint16)
    right = np.zeros((10, 14), dtype=np.uint16)
    left[2:5, 2:11], left[5:7, 2:6], left[7:10, 2:10] = 1, 2, 2
    right[2:5, :10], right[7:10, :10], right[2:10, 8:11] = 1, 1, 1
    runs.write_records(
        tmp_path, lattice, worlds.ArraySource(lattice=lattice, tiles={(0, 0): left, (0, 1): right})
    )
    qa = {}
    for audited in (False, True):
        stitch = StitchOptions(audit=audited)
        out = tmp_path / f"out{audited:d}"
        published = runs.merge(runs.job_for(tmp_path, out, lattice, stitch=stitch, super_tile_tiles=side))
        qa[audited] = published.qa["anything"]
        runs.assert_raster_equals_vector(out)
    assert (qa[False]["objects"], qa[False]["edges"]) == (1, 2)
    assert qa[False]["audit"] == {"contradictions": 0, "components": 0, "cut_edges": 0}
    assert (qa[True]["objects"], qa[True]["edges"]) == (2, 1)
    assert qa[True]["audit"] == {"contradictions": 1, "components": 1, "cut_edges": 1}
    assert not (tmp_path / "out1" / "merge.tmp").exists()


def test_rescued_objects_are_counted(tmp_path: Path) -> None:
    """The owner saw nothing at all; the object crosses the border of two blocks that are not its finder's."""
    lattice = worlds.make_lattice((10, 30), 5, 7, 1)
    left = np.zeros((10, 12), dtype=np.uint16)
    left[3:7, 6:9] = 1
    runs.write_records(tmp_path, lattice, worlds.ArraySource(lattice=lattice, tiles={(0, 0): left}))
    published = runs.merge(
        runs.job_for(
            tmp_path, tmp_path / "out", lattice, stitch=StitchOptions(rescue_share=0.7), super_tile_tiles=1
        )
    )
    qa = published.qa["anything"]
    assert (qa["ghosts"], qa["objects"], qa["rescued"], qa["one_sided"]) == (1, 1, 1, 1)
    frame = runs.assert_raster_equals_vector(tmp_path / "out")
    assert (frame["instance_id"].tolist(), frame["area_px"].tolist()) == ([2**62 + 2], [12])


def test_a_missing_record_and_a_torn_one_are_named(records: tuple[Path, MergeJob], tmp_path: Path) -> None:
    _, job = records
    for path in Path(job.records_dir).glob("*.parquet"):
        (tmp_path / "blocks").mkdir(exist_ok=True)
        (tmp_path / "blocks" / path.name).write_bytes(path.read_bytes())
    mine = replace(job, records_dir=str(tmp_path / "blocks"), out_dir=str(tmp_path / "out"))
    torn = tmp_path / "blocks" / "b00001_00001.parquet"
    whole = torn.read_bytes()
    torn.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RecordError, match=r"b00001_00001.*truncated or damaged"):
        runs.merge(mine)
    torn.unlink()
    with pytest.raises(IncompleteRunError, match="no record"):
        runs.merge(mine)
    torn.write_bytes(whole)
    with pytest.raises(RecordError, match="belongs to another run"):
        runs.merge(replace(mine, fingerprint="cd" * 32))


def test_a_torn_intermediate_table_is_refused_and_never_half_believed(
    records: tuple[Path, MergeJob], tmp_path: Path
) -> None:
    _, job = records
    mine = replace(job, out_dir=str(tmp_path), super_tile_tiles=2)
    for key in mine.super_keys():
        resolve_tasks.resolve_super(mine, key)
    path = mine.table("edges", 0, mine.super_at(0).name)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(RecordError, match=r"edges.*cannot be read"):
        resolve_tasks.join_query(mine, 0)


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
    pieces = job.table("pieces/0", 0, "x").parent

    def losing(task: Task, job: MergeJob, keys: Sequence[Any]) -> Iterator[Any]:
        yield from run_here(task, job, keys)
        if task is paint_tasks.paint_block:
            gone = {
                "a folder": pieces,
                "all of it": job.run_dir.merge,
                "a file": pieces / "b00001_00000.arrow",
            }[what]
            if gone.is_dir():
                shutil.rmtree(gone)
            else:
                gone.unlink()

    left = 3 if what == "a file" else 0
    with pytest.raises(
        RecordError,
        match=rf"pieces/0 must hold the pieces of 4 blocks, and has {left} files.*start the merge again",
    ):
        publish_merge(job, note=lambda _: None, run_tasks=losing)


def test_steps_are_idempotent(records: tuple[Path, MergeJob], tmp_path: Path) -> None:
    """Every task run twice, as after a lost worker: the tables and results stay as they were."""
    folder, job = records
    mine = replace(job, out_dir=str(tmp_path), super_tile_tiles=2)

    def twice(task, job, keys):  # type: ignore[no-untyped-def]
        for key in list(keys):
            task(job, key)
            yield task(job, key)

    publish_merge(mine, note=lambda _: None, run_tasks=twice)
    assert runs.result_bytes(tmp_path) == runs.result_bytes(folder / "out")


def test_ranges_and_parts_give_the_order_of_one_sort(
    records: tuple[Path, MergeJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few rows per range and per row table, against everything sorted at once."""
    folder, job = records
    monkeypatch.setattr(order_tasks, "RANGE_ROWS", 7)
    monkeypatch.setattr(order_tasks, "range_edges", lambda counts: ORIGINAL(counts, 7))
    monkeypatch.setattr(order_tasks, "FILES_PER_TASK", 2)
    runs.merge(replace(job, out_dir=str(tmp_path)))
    assert runs.result_bytes(tmp_path) == runs.result_bytes(folder / "out")


ORIGINAL = order_tasks.range_edges


def test_shards_are_written_by_blocks_that_were_looked_at_alone(
    records: tuple[Path, MergeJob], tmp_path: Path
) -> None:
    _, job = records
    inside = np.zeros_like(job.inside)
    inside[:2, :2] = True
    mine = replace(job, out_dir=str(tmp_path), inside=inside)
    assert mine.blocks() == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert [mine.writes(*block) for block in mine.blocks()] == [True, False, False, False]
    assert dissolve_tasks.repaint_keys(mine) == []
    assert RunDir(tmp_path).merge == mine.run_dir.merge
    assert paint_tasks.PIECES.names == ["id", "block", "area_px", "aoi_px", "stopped", "outline"]
