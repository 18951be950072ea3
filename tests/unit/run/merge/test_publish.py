"""Phase two on real files: same bytes for any super-tile, order and interruption; raster == vector; corrupt
input is refused.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import record_runs as runs
import stitch_properties as properties
import stitch_worlds as worlds
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.errors import IncompleteRunError, RecordError
from pipeline.run.merge import order_tasks
from pipeline.run.merge.merge_job import MergeJob
from pipeline.run.merge.publish import publish_merge


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
    torn.unlink()
    with pytest.raises(IncompleteRunError, match="no record"):
        runs.merge(mine)
    torn.write_bytes(whole)
    with pytest.raises(RecordError, match="belongs to another run"):
        runs.merge(replace(mine, fingerprint="cd" * 32))


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
