"""Frames of a real small run against what numpy and scipy count in its rasters."""

from __future__ import annotations

from dataclasses import replace

import geopandas as gpd
import numpy as np
import zarr
from assessed_runs import SIDE, AssessedRun
from scipy.ndimage import distance_transform_cdt

from pipeline.assess.plan_run import ended_run
from pipeline.assess.sampling_frame import (
    FAR,
    INSIDE,
    NEAR,
    UNJUDGED,
    FrameOptions,
    GroundReader,
    fitting_cell_px,
    read_ground_frame,
    read_objects_frame,
)
from pipeline.schema.tiling import Window

OPTIONS = FrameOptions(cell_px=40, near_px=3)


def test_objects_are_those_that_were_published(assessed: AssessedRun) -> None:
    run_dir, _ = ended_run(str(assessed.run))
    frame = read_objects_frame(run_dir, 0)
    table = gpd.read_parquet(assessed.run / "instances").sort_values("instance_id")
    np.testing.assert_array_equal(frame.instance_id, table["instance_id"])
    np.testing.assert_allclose(frame.score, table["score"])
    assert frame.at_edge.any()
    assert not frame.at_edge.all()
    assert len(read_objects_frame(run_dir, 1)) == 0


def test_cells_are_large_enough_for_the_objects(assessed: AssessedRun) -> None:
    run_dir, _ = ended_run(str(assessed.run))
    frame = read_objects_frame(run_dir, 0)
    table = gpd.read_parquet(assessed.run / "instances").sort_values("instance_id")
    np.testing.assert_array_equal(frame.area_px, table["area_px"])
    assert fitting_cell_px([frame], 896) == 192  # objects of 13 px at most
    large = replace(frame, area_px=np.full(len(frame), 100 * 100))
    assert fitting_cell_px([large], 896) == 400
    assert fitting_cell_px([large], 300) == 300
    assert fitting_cell_px([], 896) == 192


def test_classes_follow_the_distance_to_objects_across_tiles(assessed: AssessedRun) -> None:
    run_dir, info = ended_run(str(assessed.run))
    reader = GroundReader(run_dir, info, 0, OPTIONS)
    mask = zarr.open_group(str(assessed.run / "masks.zarr"), mode="r")["mask"][0]
    away = distance_transform_cdt(mask != 1, metric="chessboard")
    expected = np.select([mask == 255, away == 0, away <= 3], [UNJUDGED, INSIDE, NEAR], FAR)
    for window in (Window(row0=0, col0=0, row1=SIDE, col1=SIDE), Window(row0=61, col0=50, row1=90, col1=133)):
        rows, cols = window.slices_in(Window(row0=0, col0=0, row1=SIDE, col1=SIDE))
        np.testing.assert_array_equal(reader.classes(window), expected[rows, cols])


def test_cells_part_the_ground_and_count_every_pixel(assessed: AssessedRun) -> None:
    run_dir, info = ended_run(str(assessed.run))
    frame = read_ground_frame(run_dir, info, 0, OPTIONS)
    seen = np.zeros((SIDE, SIDE), dtype=int)
    reader = GroundReader(run_dir, info, 0, OPTIONS)
    for (row0, col0, row1, col1), n_px in zip(frame.window.tolist(), frame.n_px, strict=True):
        seen[row0:row1, col0:col1] += 1
        assert max(row1 - row0, col1 - col0) <= 40
        found = reader.classes(Window(row0=row0, col0=col0, row1=row1, col1=col1))
        np.testing.assert_array_equal(np.bincount(found.ravel(), minlength=4), n_px)
    assert (seen == 1).all()  # every tile was answered
    ids = zarr.open_group(str(assessed.run / "masks.zarr"), mode="r")["instance_id"][0]
    assert frame.n_px[:, INSIDE].sum() == (ids > 0).sum()
    assert set(frame.state.tolist()) == {0, 1}
    np.testing.assert_allclose(frame.px_m2, 0.25 / 0.9996**2, rtol=1e-3)
