from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from record_world import found_tile, grid_of, lattice_of, mixed_record, plain_tile

from pipeline.errors import RecordError
from pipeline.schema.imagery import ScenePixels
from pipeline.schema.tile_answers import BlockRecord, Reason, TileStatus
from pipeline.schema.tiling import block_id
from pipeline.stitch.sources import BlockSource
from pipeline.write.records.block_records import write_block_record
from pipeline.write.records.record_keys import AlikeKeys
from pipeline.write.records.record_source import RasterFate, RecordSource
from pipeline.write.run_dir import RunDir

FP = "f" * 64
LATTICE = lattice_of()


def source_of(run_dir: RunDir, query_index: int = 0, *, block_cache_bytes: int = 2**20) -> RecordSource:
    return RecordSource(
        run_dir.block,
        LATTICE,
        keys=AlikeKeys(FP),
        query_index=query_index,
        block_cache_bytes=block_cache_bytes,
    )


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDir:
    run = RunDir(tmp_path)
    write_block_record(run, mixed_record(LATTICE), lattice=LATTICE)
    return run


def test_it_has_the_shape_that_the_merge_asks_for(run_dir: RunDir) -> None:
    source: BlockSource = source_of(run_dir)
    for name in ("labels", "paintable", "fragments", "strip"):
        assert callable(getattr(BlockSource, name))
        assert callable(getattr(source, name))


def test_each_query_sees_its_own_tiles(run_dir: RunDir) -> None:
    rows = {
        (row.tile.tile_row, row.tile.tile_col, row.query_index): row for row in mixed_record(LATTICE).tiles
    }
    tiles = [(row, col) for row in range(LATTICE.n_tile_rows) for col in range(LATTICE.n_tile_cols)]
    for query, found in ((0, [(0, 0), (0, 1)]), (1, [(0, 1), (1, 1)])):
        source = source_of(run_dir, query)
        assert [tile for tile in tiles if source.labels(*tile) is not None] == found
        for row, col in found:
            np.testing.assert_array_equal(source.labels(row, col), rows[row, col, query].labels)


def test_failed_and_unplanned_tiles_are_not_paintable(run_dir: RunDir) -> None:
    source = source_of(run_dir)
    want = np.zeros((4, 5), dtype=np.uint8)
    want[:2, :2] = [[RasterFate.FOUND, RasterFate.FOUND], [RasterFate.LOOKED_AT, RasterFate.FAILED]]
    for (row, col), fate in np.ndenumerate(want):
        assert source.fate(row, col) == fate
    assert [
        source.paintable(0, 0),
        source.paintable(1, 0),
        source.paintable(1, 1),
        source.paintable(3, 4),
    ] == [True, True, False, False]
    assert source.labels(1, 0) is None
    assert source.labels(1, 1) is None
    assert source.labels(3, 4) is None
    assert source_of(run_dir, 1).paintable(1, 1)


@pytest.mark.parametrize(
    ("reason", "judged"),
    [
        (Reason.PROMPTER, True),
        (Reason.GATE, True),
        (Reason.VERIFIER, True),
        (Reason.NODATA, False),
        (Reason.CLOUD, False),
    ],
)
def test_only_tiles_that_somebody_judged_count_as_background(
    tmp_path: Path, reason: Reason, judged: bool
) -> None:
    row = plain_tile(LATTICE, 0, 0, TileStatus.EMPTY, reason)
    valid = {row.tile.tile_id: np.ones(row.tile.core.shape, dtype=np.bool_)}
    record = BlockRecord(block_id="b00000_00000", fingerprint=FP, tiles=(row,), valid=valid)
    write_block_record(RunDir(tmp_path), record, lattice=LATTICE)
    assert source_of(RunDir(tmp_path)).paintable(0, 0) is judged
    assert source_of(RunDir(tmp_path)).looked_at(0, 0).any() == judged


def test_looked_at_is_validity_where_judged(run_dir: RunDir) -> None:
    record = mixed_record(LATTICE)
    want = np.zeros((20, 20), dtype=np.bool_)
    want[:10, :10] = record.valid["r00000c00000"]
    want[:10, 10:] = record.valid["r00000c00001"]
    want[10:, :10] = record.valid["r00001c00000"]
    np.testing.assert_array_equal(source_of(run_dir).looked_at(0, 0), want)
    assert not source_of(run_dir).looked_at(1, 2).any()
    assert source_of(run_dir).looked_at(1, 2).shape == (20, 10)


def test_scenes_of_a_block_are_those_of_its_tiles(tmp_path: Path) -> None:
    """Four tiles: of one scene with a hole, of two scenes, of one that is not the first, and of none."""
    record = mixed_record(LATTICE)
    a, b, c, d = (record.valid[name] for name in sorted(record.valid))
    two = np.zeros(b.shape, dtype=np.uint16)
    two[2:5], two[5:] = 1, 2
    scenes = dict(
        zip(
            sorted(record.valid),
            (
                ScenePixels(numbers=(3,)),
                ScenePixels(numbers=(3, 8), image=two),
                ScenePixels(numbers=(8,)),
                ScenePixels(),
            ),
            strict=True,
        )
    )
    write_block_record(RunDir(tmp_path), replace(record, scenes=scenes), lattice=LATTICE)
    found = source_of(RunDir(tmp_path)).scenes(0, 0)
    assert found.numbers == (3, 8)
    want = np.block([[a * 1, two], [c * 2, d * 0]])
    np.testing.assert_array_equal(found.image, want)
    assert source_of(RunDir(tmp_path)).scenes(1, 2) == ScenePixels()


def test_a_block_of_one_scene_needs_no_image(tmp_path: Path) -> None:
    record = mixed_record(LATTICE)
    scenes = {name: ScenePixels(numbers=(5,)) for name in record.valid}
    write_block_record(RunDir(tmp_path), replace(record, scenes=scenes), lattice=LATTICE)
    assert source_of(RunDir(tmp_path)).scenes(0, 0) == ScenePixels(numbers=(5,))


def test_memory_stays_within_the_budget_and_answers_stay_the_same(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    lattice = lattice_of(grid_of(400, 40))
    want: dict[tuple[int, int], NDArray[np.uint16] | None] = {}
    for block_col in range(lattice.n_block_cols):
        rows = tuple(
            found_tile(lattice, t.tile_row, t.tile_col) for t in lattice.tiles_of_block(0, block_col)
        )
        valid = {row.tile.tile_id: np.ones(row.tile.core.shape, dtype=np.bool_) for row in rows}
        write_block_record(
            run,
            BlockRecord(block_id=block_id(0, block_col), fingerprint=FP, tiles=rows, valid=valid),
            lattice=lattice,
        )
        want |= {(row.tile.tile_row, row.tile.tile_col): row.labels for row in rows}
    budget = 1500
    source = RecordSource(run.block, lattice, keys=AlikeKeys(FP), query_index=0, block_cache_bytes=budget)
    for key in sorted(want, key=lambda k: hash((k, "shuffled"))):
        np.testing.assert_array_equal(source.labels(*key), want[key])
        assert source._blobs.n_bytes <= budget


def test_damage_and_foreign_records_raise(run_dir: RunDir) -> None:
    source = RecordSource(run_dir.block, LATTICE, keys=AlikeKeys("0" * 64), query_index=0)
    with pytest.raises(RecordError, match="another run"):
        source.fragments(0, 0)
    path = run_dir.block("b00000_00000")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(RecordError, match="is damaged"):
        source_of(run_dir).paintable(0, 0)


def test_a_tile_without_validity_is_a_damaged_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunDir(tmp_path)
    write_block_record(run, mixed_record(LATTICE), lattice=LATTICE)
    monkeypatch.setattr("pipeline.write.records.record_source.read_valid_blobs", lambda *_: {})
    with pytest.raises(RecordError, match="no validity for tile"):
        source_of(run).looked_at(0, 0)


def test_fragments_of_a_block_are_the_columns_of_its_records(run_dir: RunDir) -> None:
    for query in (0, 1):
        source = source_of(run_dir, query)
        columns = source.fragments(0, 0)
        want = [
            (row.tile.tile_row, row.tile.tile_col, f)
            for row in mixed_record(LATTICE).tiles
            if row.query_index == query
            for f in row.fragments
        ]
        assert columns["tile_row"].tolist() == [row for row, _, _ in want]
        assert columns["tile_col"].tolist() == [col for _, col, _ in want]
        for name in (
            "local",
            "prompt_index",
            "score_q",
            "full_px",
            "core_px",
            "anchor",
            "censored",
            "margin",
        ):
            assert columns[name].tolist() == [getattr(f, name) for _, _, f in want], name
            assert columns[name].dtype == np.int64
        for name in ("row0", "col0", "row1", "col1"):
            assert columns[name].tolist() == [getattr(f.window, name) for _, _, f in want], name
    assert all(values.size == 0 for values in source_of(run_dir).fragments(1, 2).values()), (
        "a block without a record"
    )


def test_strips_are_cut_from_the_labels(run_dir: RunDir) -> None:
    source = source_of(run_dir)
    for row, col, side, (dr, dc) in (
        (0, 0, 2, (0, 1)),
        (0, 0, 4, (1, 0)),
        (0, 1, 8, (0, -1)),
        (0, 1, 2, (0, 1)),
        (0, 1, 4, (1, 0)),
    ):
        tile = LATTICE.tile(row, col)
        other = LATTICE.tile(row + dr, col + dc)
        seam = tile.read.intersect(other.read)
        labels = source.labels(row, col)
        strip = source.strip(row, col, side)
        assert seam is not None
        assert labels is not None
        np.testing.assert_array_equal(strip, labels[seam.slices_in(tile.read)])
    assert source.strip(0, 0, 1) is None, "the grid ends there"
    assert source.strip(1, 0, 2) is None, "nothing was found"
    assert source.strip(1, 1, 8) is None, "failed"
    assert source.strip(3, 4, 1) is None, "no record"


def test_a_record_of_another_lattice_is_refused(run_dir: RunDir) -> None:
    other = RecordSource(run_dir.block, lattice_of(halo_px=2), keys=AlikeKeys(FP), query_index=0)
    with pytest.raises(RecordError, match="not those of this run's lattice"):
        other.fragments(0, 0)
