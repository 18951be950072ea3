from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import shapely
from assessed_runs import AssessedRun
from PIL import Image

from pipeline.assess.draw_units import DrawnStratum, Kind
from pipeline.assess.plan_run import ended_run
from pipeline.assess.review_chips import (
    CHIP_PX,
    Outline,
    OutlineFinder,
    chip_of,
    unjudged_ground,
    window_of,
)
from pipeline.assess.sample_design import SampleUnit
from pipeline.assess.sampling_frame import FAR, UNJUDGED
from pipeline.errors import SourceError
from pipeline.schema.tiling import RunGrid, Window

GRID = RunGrid(crs_wkt=None, transform=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), width=400, height=300)


def unit(kind: Kind, window: Window, shape: shapely.Geometry, name: int | None = None) -> SampleUnit:
    return SampleUnit(
        unit_id="x",
        kind=kind,
        query_index=0,
        stratum=DrawnStratum(kind=kind, name="s", size=1, drawn=1),
        review_order=0,
        window=window,
        shape_px=shape,
        instance_id=name,
    )


def grey(window: Window) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.full((*window.shape, 3), 90, dtype=np.uint8)


def test_an_object_is_shown_with_its_outline_and_those_around_it() -> None:
    own = shapely.box(200, 100, 240, 120)
    asked = unit("object", Window(row0=100, col0=200, row1=120, col1=240), own, 7)
    window = window_of(asked, GRID)
    assert window == Window(row0=62, col0=172, row1=158, col1=268)  # 96 px around the middle
    other = Outline(instance_id=8, shape=shapely.box(250, 100, 400, 104))
    chip = chip_of(asked, window, [Outline(instance_id=7, shape=own), other], grey)
    scale = CHIP_PX / 96
    xs = [float(pair.split(",")[0]) for pair in chip.own.strip("MZ").split("L")]
    assert (min(xs), max(xs)) == (28 * scale, 68 * scale)
    assert chip.others
    picture = Image.open(io.BytesIO(base64.b64decode(chip.jpeg)))
    assert picture.format == "JPEG"
    assert picture.size == (chip.width, chip.height) == (CHIP_PX, CHIP_PX)


def test_a_cell_has_its_frame_and_a_point_its_cross_and_no_outlines() -> None:
    cell = unit("cell", Window(row0=0, col0=100, row1=96, col1=196), shapely.box(100, 0, 196, 96))
    window = window_of(cell, GRID)
    assert window == Window(row0=0, col0=76, row1=120, col1=220)  # no ground above the grid
    chip = chip_of(cell, window, [], grey)
    assert chip.frame == pytest.approx((60, 0, 240, 240))
    point = unit("point", Window(row0=50, col0=60, row1=51, col1=61), shapely.Point(60.5, 50.5))
    window = window_of(point, GRID)
    chip = chip_of(point, window, [Outline(instance_id=1, shape=shapely.box(50, 40, 70, 60))], grey)
    assert chip.others == ""
    assert chip.cross == pytest.approx((48.5 * CHIP_PX / 97, 48.5 * CHIP_PX / 97))


def test_ground_that_was_not_judged_is_covered() -> None:
    window = Window(row0=10, col0=100, row1=106, col1=196)
    classes = np.full(window.shape, FAR, dtype=np.uint8)
    assert unjudged_ground(classes, window) == []
    classes[:, :24] = UNJUDGED
    (left,) = unjudged_ground(classes, window)
    assert left.shape.equals(shapely.box(100, 10, 124, 106))
    cell = unit("cell", window, shapely.box(100, 10, 196, 106))
    chip = chip_of(cell, window, [], grey, unjudged=[left])
    xs = [float(pair.split(",")[0]) for pair in chip.unjudged.strip("MZ").split("L")]
    assert (min(xs), max(xs)) == (0, 24 * CHIP_PX / 96)


def test_imagery_that_cannot_be_read_is_told() -> None:
    def broken(window: Window) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        raise SourceError("the file is gone")

    window = Window(row0=0, col0=0, row1=96, col1=96)
    chip = chip_of(unit("cell", window, shapely.box(0, 0, 96, 96)), window, [], broken)
    assert (chip.jpeg, chip.problem) == ("", "the file is gone")


def test_outlines_of_a_run_are_found_by_window(assessed: AssessedRun) -> None:
    run_dir, info = ended_run(str(assessed.run))
    import zarr

    ids = np.asarray(zarr.open_group(str(assessed.run / "masks.zarr"), mode="r")["instance_id"][0])
    windows = [Window(row0=30, col0=20, row1=90, col1=100), Window(row0=200, col0=200, row1=260, col1=300)]
    finder = OutlineFinder(run_dir, info.lattice.grid, 0, windows)
    inside = np.unique(ids[30:90, 20:100])
    found = {each.instance_id: each.shape for each in finder.within(windows[0])}
    assert set(inside[inside > 0].tolist()) <= set(found)
    for name in inside[inside > 0].tolist():
        assert found[name].area == pytest.approx((ids == name).sum())
    assert finder.within(windows[1]) == []
