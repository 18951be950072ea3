"""Phase two on real files: same bytes for any super-tile, order and interruption; raster == vector; corrupt
input is refused.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import record_runs as runs
import shapely
import stitch_properties as properties
import stitch_worlds as worlds
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.errors import IncompleteRunError, RecordError
from pipeline.files.store.store_path import store_path
from pipeline.run.merge import merge_job, order_tasks
from pipeline.run.merge.merge_job import MergeJob, Task, run_here
from pipeline.run.merge.publish import named_job, publish_merge
from pipeline.write.records.block_records import check_record, read_block_record, write_block_record
from pipeline.write.records.record_keys import AlikeKeys
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


def test_another_result_has_a_snapshot_of_its_own(records: tuple[Path, MergeJob], tmp_path: Path) -> None:
    """Nothing of the earlier one is touched: a reader may have it open."""
    _, job = records
    first = runs.merge(replace(job, out_dir=str(tmp_path)))
    before = runs.result_bytes(tmp_path)
    second = runs.merge(replace(job, out_dir=str(tmp_path), mode="semantic"))
    assert first.run_dir != second.run_dir
    assert sorted(path.name for path in (tmp_path / "snapshots").iterdir()) == sorted(
        [first.run_dir.results.name, second.run_dir.results.name]
    )
    again = {
        str(path.relative_to(first.run_dir.results)): path.read_bytes()
        for path in first.run_dir.results.local().rglob("*")
        if path.is_file()
    }
    assert again == {name: data for name, data in before.items() if name}
    assert not (tmp_path / "run.json").exists(), "whoever closes the run says which one counts"


def test_a_name_follows_from_records_and_parameters_and_not_from_how_it_was_merged(
    records: tuple[Path, MergeJob], tmp_path: Path
) -> None:
    _, job = records
    name = named_job(job).snapshot
    same = replace(job, out_dir=str(tmp_path), super_tile_tiles=2, tables_dir=str(tmp_path / "t"))
    assert named_job(same).snapshot == name
    others = [
        replace(job, mode="semantic"),
        replace(job, min_area_m2=1.0),
        replace(job, stitch=replace(job.stitch, min_area_px=3)),
        replace(job, meta=replace(job.meta, segmenter_id="another")),
        replace(job, aoi_grid=shapely.box(0, -9, 9, 0)),
        replace(job, aoi_grid=shapely.box(0, -9, 8, 0)),
    ]
    assert len({name, *(named_job(other).snapshot for other in others)}) == len(others) + 1
    for path in Path(job.records_dir).glob("*.parquet"):
        (store_path(tmp_path / "blocks") / path.name).write_bytes(path.read_bytes())
    moved = replace(job, records_dir=str(tmp_path / "blocks"))
    assert named_job(moved).snapshot == name, "wherever they lie"
    (tmp_path / "blocks" / "b00001_00001.parquet").unlink()
    assert named_job(moved).snapshot != name


@pytest.mark.parametrize("side", [2, 3])
def test_blocks_that_are_painted_together_give_the_same_bytes(
    records: tuple[Path, MergeJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: int
) -> None:
    """Also where objects fall away and blocks are painted twice."""
    _, job = records
    changes = {"super_tile_tiles": 2, "stitch": replace(job.stitch, min_area_px=20)}
    runs.merge(replace(job, out_dir=str(tmp_path / "alone"), **changes))
    monkeypatch.setattr(merge_job, "LEAST_GROUPS", 1)
    monkeypatch.setattr(merge_job, "MOST_GROUP_SIDE", side)
    together = replace(job, out_dir=str(tmp_path / "together"), **changes)
    assert max(map(len, together.block_groups())) == side**2
    runs.merge(together, seed=side)
    assert runs.result_bytes(tmp_path / "together") == runs.result_bytes(tmp_path / "alone")


def test_every_file_of_the_rasters_is_told_with_its_hash(
    records: tuple[Path, MergeJob], tmp_path: Path
) -> None:
    """Also of blocks that are painted twice, because something fell away."""
    _, job = records
    mine = replace(job, out_dir=str(tmp_path), super_tile_tiles=2, stitch=replace(job.stitch, min_area_px=20))
    published = publish_merge(mine, note=lambda _: None, run_tasks=runs.Shuffled(4))
    root = published.run_dir.masks.local()
    assert {file.key: (file.size, file.sha256) for file in published.shards} == {
        path.relative_to(root).as_posix(): (
            path.stat().st_size,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in root.rglob("*")
        if path.is_file()
    }
    assert len(published.shards) == len({file.key for file in published.shards})


def test_a_driver_that_slept_leaves_the_tables_of_its_successor(
    records: tuple[Path, MergeJob], tmp_path: Path
) -> None:
    """Both merge the same records into the same snapshot; the sleeper wakes up and fails."""
    folder, job = records
    mine = replace(job, out_dir=str(tmp_path), super_tile_tiles=2)
    seen: list[str] = []

    def interrupted(task, job, keys):  # type: ignore[no-untyped-def]
        yield from runs.Shuffled(1)(task, job, keys)
        if not seen and job.table("edges", 0, "x").parent.exists():
            seen.append(job.tables_dir)
            with pytest.raises(KeyboardInterrupt):
                publish_merge(mine, note=lambda _: None, run_tasks=runs.Shuffled(1, dies_at=9))

    publish_merge(mine, note=lambda _: None, run_tasks=interrupted)
    assert len(seen) == 1
    assert Path(seen[0]).parent == tmp_path / "merge.tmp"
    assert runs.result_bytes(tmp_path) == runs.result_bytes(folder / "out")
    assert not (tmp_path / "merge.tmp").exists()


@pytest.mark.parametrize("task", ["resolve_super", "paint_blocks"])
def test_a_record_that_is_replaced_while_it_is_merged_is_not_mixed_in(
    records: tuple[Path, MergeJob], tmp_path: Path, task: str
) -> None:
    """The driver slept, and another one has done a failed tile again: the name of the snapshot follows from
    the record that is gone.
    """
    _, job = records
    copies = RunDir(tmp_path / "source")
    for path in Path(job.records_dir).glob("*.parquet"):
        (copies.blocks / path.name).write_bytes(path.read_bytes())
    mine = replace(job, records_dir=str(copies.blocks), out_dir=str(tmp_path / "out"))

    def meanwhile(tried: Task, job: MergeJob, keys: Sequence[Any]) -> Iterator[Any]:
        if task in repr(tried):
            path = copies.block("b00001_00001")
            seal = check_record(path, runs.FINGERPRINT)
            other = replace(read_block_record(path, runs.FINGERPRINT), n_embeddings=99)
            write_block_record(copies, other, lattice=job.lattice, replaced=seal)
        yield from run_here(tried, job, keys)

    with pytest.raises(RecordError, match=r"b00001_00001\.parquet was replaced while it was being merged"):
        publish_merge(mine, note=lambda _: None, run_tasks=meanwhile)
    publish_merge(mine, note=lambda _: None)


def test_a_missing_record_and_a_torn_one_are_named(records: tuple[Path, MergeJob], tmp_path: Path) -> None:
    _, job = records
    for path in Path(job.records_dir).glob("*.parquet"):
        (tmp_path / "blocks").mkdir(exist_ok=True)
        (tmp_path / "blocks" / path.name).write_bytes(path.read_bytes())
    mine = replace(job, records_dir=str(tmp_path / "blocks"), out_dir=str(tmp_path / "out"))
    torn = tmp_path / "blocks" / "b00001_00001.parquet"
    whole = torn.read_bytes()
    torn.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RecordError, match=r"b00001_00001.*is damaged"):
        runs.merge(mine)
    assert not (tmp_path / "out").exists(), "nothing is written of records that are not whole"
    torn.unlink()
    with pytest.raises(IncompleteRunError, match="no record"):
        runs.merge(mine)
    torn.write_bytes(whole)
    with pytest.raises(RecordError, match="belongs to another run"):
        runs.merge(replace(mine, keys=AlikeKeys("cd" * 32)))


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
