"""Steps 4 and 6: what one block publishes, hands on and shows, and its shard without what fell away."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import record_runs as runs
import shapely
import stitch_worlds as worlds
import zarr
from run.merge.two_tiles import INNER, SEAM, on_the_ground, paint, resolve, two_tile_job

from pipeline.run.merge.filed_tables import Filed
from pipeline.run.merge.finished_rows import LeftOut, RowCounts, SeamDensity
from pipeline.run.merge.for_later import PIECES
from pipeline.run.merge.paint_tasks import RepaintKey, paint_blocks, repaint_block
from pipeline.stitch.block_picture import FoundPixels
from pipeline.stitch.stitch_options import StitchOptions
from pipeline.write.masks_zarr import create_masks
from pipeline.write.merge_files import read_columns, read_tables, write_columns

FILED_BY_LEFT = "00000000"
FILED_BY_RIGHT = "00000001"


def expected_raster(*, seam: int = SEAM, inner: int = INNER) -> np.ndarray:
    raster = np.zeros((10, 20), dtype=np.uint64)
    raster[4:6, 8:12] = seam
    raster[1:3, 1:3] = inner
    return raster


def test_a_block_publishes_its_own_objects_and_hands_the_others_on(tmp_path: Path) -> None:
    """Two of ten core columns are seen by the other tile too. The inner object's box is centred at (2, 2)."""
    job = two_tile_job(tmp_path)
    (left, right), filed = paint(job)
    counts = RowCounts(n_rows=1, n_objects=1, area_px=4, n_unknown_m2=1, bounds=(2.0, 2.0, 2.0, 2.0))
    assert left.rows == (counts,)
    assert right.rows == (RowCounts(),)
    assert left.ground == right.ground == (SeamDensity(seam_px=20, core_px=100),)
    assert left.found == (FoundPixels(given_px=8, kept_px=8),)
    assert right.found == (FoundPixels(given_px=4, kept_px=4),)
    assert (filed.readers("pieces", 0), filed.writers("pieces", 0, 0)) == ([0], [0, 1])
    assert filed.writers("rows", 0) == [0]
    rows = read_tables(filed.paths(job, "rows", 0)).to_pylist()
    assert [(row["instance_id"], row["area_px"], row["tile_ids"]) for row in rows] == [
        (INNER, 4, ["r00000c00000"])
    ]
    assert not job.table("rows/0", 0, FILED_BY_RIGHT).exists()
    np.testing.assert_array_equal(runs.published_raster(tmp_path / "out"), expected_raster())


def test_a_piece_says_what_the_block_shows_of_the_object(tmp_path: Path) -> None:
    """Half of it, 4 px; its border runs name the same id and block."""
    job = two_tile_job(tmp_path)
    paint(job)
    for number, name, box in ((0, FILED_BY_LEFT, (8, 4, 10, 6)), (1, FILED_BY_RIGHT, (10, 4, 12, 6))):
        table = read_tables([job.table("pieces/0", 0, name)])
        assert table.schema.equals(PIECES)
        (piece,) = table.to_pylist()
        outline = shapely.from_wkb(piece.pop("outline"))
        assert piece == {
            "id": SEAM,
            "block": number,
            "area_px": 4,
            "aoi_px": 4,
            "stopped": False,
            "scenes": [],
        }
        assert outline.equals(shapely.box(*box))
        runs_of_it = read_columns(job.table("runs/0", 0, name))
        assert set(runs_of_it["id"].tolist()) == {SEAM}
        assert set(runs_of_it["block"].tolist()) == {number}


def test_an_object_of_one_block_that_is_too_small_is_not_shown(tmp_path: Path) -> None:
    """Pieces are not judged by their own size: the 4 px on either side stay for now."""
    job = two_tile_job(tmp_path, stitch=StitchOptions(min_area_px=5))
    (left, _), filed = paint(job)
    assert left.rows == (RowCounts(left_out=LeftOut(below_min_area_px=1)),)
    assert (filed.writers("rows", 0), filed.writers("pieces", 0, 0)) == ([], [0, 1])
    np.testing.assert_array_equal(runs.published_raster(tmp_path / "out"), expected_raster(inner=0))


@pytest.mark.parametrize(("least_m2", "n_rows"), [(4.003, 1), (4.004, 0)])
def test_the_least_area_in_square_metres_is_measured_on_the_ground(
    tmp_path: Path, least_m2: float, n_rows: int
) -> None:
    """4 px of 1 / 0.9996 ** 2 m2 each: 4.0032 m2."""
    (left, _), _ = paint(on_the_ground(two_tile_job(tmp_path, min_area_m2=least_m2)))
    assert left.rows[0].n_rows == n_rows
    assert left.rows[0].left_out == LeftOut(below_min_area_m2=1 - n_rows)


def test_an_object_whose_area_is_unknown_is_never_too_small(tmp_path: Path) -> None:
    """Pixel space has no square metres."""
    (left, _), _ = paint(two_tile_job(tmp_path, min_area_m2=1e9))
    assert (left.rows[0].n_objects, left.rows[0].n_unknown_m2) == (1, 1)
    assert left.rows[0].left_out == LeftOut()


def test_objects_outside_the_aoi_are_left_out_and_pieces_count_what_touches_it(tmp_path: Path) -> None:
    """The AOI covers columns 9 to 19: one column of the left half, all of the right half."""
    job = two_tile_job(tmp_path, aoi_grid=shapely.box(9.0, -10.0, 20.0, 0.0))
    touched = job.aoi_mask(job.lattice.block_core(0, 0))
    assert touched is not None
    n_columns = int(touched[4, 8:10].sum())
    (left, _), _ = paint(job)
    assert left.rows == (RowCounts(left_out=LeftOut(outside_aoi=1)),)
    filed = (FILED_BY_LEFT, FILED_BY_RIGHT)
    pieces = [read_tables([job.table("pieces/0", 0, name)]).to_pylist()[0] for name in filed]
    assert [(piece["area_px"], piece["aoi_px"]) for piece in pieces] == [(4, 2 * n_columns), (4, 4)]
    mask = np.asarray(zarr.open_group(str(tmp_path / "out/masks.zarr"), mode="r")["mask"][0])
    shown = runs.published_raster(tmp_path / "out") > 0
    inside = np.concatenate([touched[:, :10], np.ones((10, 10), dtype=np.bool_)], axis=1)
    np.testing.assert_array_equal(mask, np.where(shown, 1, np.where(inside, 0, 255)))
    assert not shown[1:3, 1:3].any(), "what was dropped there is not called looked at and empty"


def test_blocks_that_are_painted_together_file_their_tables_once(tmp_path: Path) -> None:
    """Rows of the left block, pieces of both in one table, which the first block names."""
    job = two_tile_job(tmp_path)
    resolve(job)
    create_masks(job.run_dir.masks, job.lattice, job.queries)
    painted = paint_blocks(job, [(0, 0), (0, 1)])
    assert [block.rows[0].n_rows for block in painted.blocks] == [1, 0]
    assert painted.filed == (Filed("rows", 0, 0), Filed("pieces", 0, 0, 0), Filed("runs", 0, 0, 0))
    pieces = read_tables([job.table("pieces/0", 0, FILED_BY_LEFT)])
    assert pieces["block"].to_pylist() == [0, 1]
    assert sorted(set(read_columns(job.table("runs/0", 0, FILED_BY_LEFT))["block"].tolist())) == [0, 1]
    np.testing.assert_array_equal(runs.published_raster(tmp_path / "out"), expected_raster())


def test_a_block_is_painted_again_without_what_was_dropped(tmp_path: Path) -> None:
    """The other block's shard stays as it is until its turn comes."""
    job = two_tile_job(tmp_path)
    paint(job)
    dropped = write_columns(job.table("dropped/0", 0, "00000000"), {"id": np.array([SEAM], dtype=np.uint64)})
    key = RepaintKey(block=(0, 0), dropped=((dropped,),))
    repaint_block(job, key)
    half = expected_raster()
    half[:, 8:10] = 0
    np.testing.assert_array_equal(runs.published_raster(tmp_path / "out"), half)
    repaint_block(job, key)
    np.testing.assert_array_equal(runs.published_raster(tmp_path / "out"), half)


def test_a_block_that_nobody_looked_at_gets_no_shard(tmp_path: Path) -> None:
    """It is painted all the same: its neighbour's object reaches into it."""
    job = two_tile_job(tmp_path)
    (_, right), filed = paint(replace(job, inside=np.array([[True, False]])))
    assert right.files == ()
    assert filed.writers("pieces", 0, 0) == filed.writers("runs", 0, 0) == [0, 1]
    raster = runs.published_raster(tmp_path / "out")
    assert (raster[4, 8:10].tolist(), raster[:, 10:].any()) == ([SEAM, SEAM], False)


def test_objects_that_fall_away_leave_every_block(tmp_path: Path) -> None:
    """min_area_px drops an object that crosses a block border: its blocks are painted again without it."""
    truth = np.zeros((20, 40), dtype=np.int64)
    truth[4:6, 18:22] = 1
    truth[10:16, 15:25] = 2
    lattice = worlds.make_lattice(truth.shape, 10, 2, 1)
    runs.write_records(tmp_path, lattice, worlds.cut(truth, lattice, mode="pieces"))
    job = runs.job_for(tmp_path, tmp_path / "out", lattice, stitch=StitchOptions(min_area_px=9))
    assert runs.merge(job).n_instances == (1,)
    runs.assert_raster_equals_vector(tmp_path / "out")
    np.testing.assert_array_equal(runs.published_raster(tmp_path / "out") > 0, truth == 2)
