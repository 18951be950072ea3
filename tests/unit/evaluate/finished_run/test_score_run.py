"""Runs and worlds made by hand, of which every figure was counted; whole runs are scored in
tests/integration/test_evaluate.py.

The grid has 24 x 36 px of 0.5 m in 2 x 3 cores of 12 px that see 2 px of their neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
import shapely
import zarr
from label_worlds import write_raster
from numpy.typing import NDArray

from pipeline.evaluate.finished_run.score_run import score_run
from pipeline.evaluate.finished_run.world_truth import Truth
from pipeline.schema.tiling import RunGrid, TileLattice
from pipeline.write.run_json import RunInfo

SHAPE = (24, 36)
GRID = RunGrid(
    crs_wkt=rasterio.CRS.from_epsg(32633).to_wkt(),
    transform=(0.5, 0.0, 500000.0, 0.0, -0.5, 5500000.0),
    width=SHAPE[1],
    height=SHAPE[0],
)
LATTICE = TileLattice(grid=GRID, tile_px=16, halo_px=2, block_tiles=2)
PX_M2 = 0.25 / 0.9996**2
"""Ground area of a pixel: UTM's scale on its central meridian, where this grid lies."""

REJECTED = ("empty", "prompter")
FOUND = ("found", "")
Box = tuple[int, int, int, int]
"""Rows and columns [row0, col0, row1, col1)."""


def raster(*boxes: Box) -> NDArray[np.int64]:
    """Labels 1..n of rectangles."""
    labels = np.zeros(SHAPE, dtype=np.int64)
    for number, (row0, col0, row1, col1) in enumerate(boxes, start=1):
        labels[row0:row1, col0:col1] = number
    return labels


def figures(
    folder: Path,
    true: NDArray[np.int64],
    found: NDArray[np.int64],
    fates: Mapping[tuple[int, int], tuple[str, str]],
    aoi: Any = None,
    blind: Box = (0, 0, 0, 0),
) -> dict[str, Any]:
    """What `score_run` says of a run with one query that predicted `found`.

    `fates`: tile (row, column) -> status and reason; others were rejected by the prompter. `aoi`: in the
    grid's CRS. `blind`: no imagery.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    looked_at = np.zeros(SHAPE, dtype=bool)
    for row, col in np.ndindex(2, 3):
        tile = LATTICE.tile(row, col)
        status, reason = fates.get((row, col), REJECTED)
        looked_at[tile.core.row0 : tile.core.row1, tile.core.col0 : tile.core.col1] = reason in (
            "",
            "prompter",
        )
        rows.append({"tile_id": tile.tile_id, "query_index": 0, "status": status, "reason": reason})
    looked_at[blind[0] : blind[2], blind[1] : blind[3]] = False
    pq.write_table(pa.Table.from_pylist(rows), folder / "coverage.parquet")
    group = zarr.open_group(str(folder / "masks.zarr"), mode="w")
    group.create_array(
        "mask", data=np.where(found > 0, 1, np.where(looked_at, 0, 255)).astype(np.uint8)[None]
    )
    group.create_array("instance_id", data=found.astype(np.uint64)[None])
    write_raster(folder / "labels.tif", true.astype(np.uint32))
    names = {int(number): "pool" for number in np.unique(true) if number}
    truth = Truth(
        labels_path=folder / "labels.tif",
        class_of=names,
        queries=({"query": "pools", "class": "pool", "kind": "explicit"},),
    )
    wkb = "" if aoi is None else aoi.wkb_hex
    info = RunInfo(
        run_id="r",
        fingerprint="f",
        status="complete",
        parameters={},
        queries=("pools",),
        lattice=LATTICE,
        scenes=(),
        aoi_wkb=wkb,
    )
    (score,) = score_run(folder, truth, info)
    return score.figures()


def region(*boxes: tuple[float, float, float, float]) -> Any:
    """Rectangles of pixels in the grid's CRS."""
    corners = (
        (500000 + 0.5 * col0, 5500000 - 0.5 * row1, 500000 + 0.5 * col1, 5500000 - 0.5 * row0)
        for row0, col0, row1, col1 in boxes
    )
    return shapely.union_all([shapely.box(*corner) for corner in corners])


@pytest.mark.parametrize("reason", ["outside_aoi", "nodata", "cloud"])
def test_a_tile_that_nobody_looked_at_is_in_no_figure(tmp_path: Path, reason: str) -> None:
    """Six tiles: one finds its pool (20 px), one misses its pool (36 px), two are empty, and two, of which
    one holds a pool, nobody saw.
    """
    pools = raster((3, 3, 7, 8), (15, 27, 21, 33), (3, 27, 9, 33))
    unseen = {(0, 2): ("empty", reason), (1, 0): ("empty", reason)}
    known = figures(tmp_path, pools, np.where(pools == 1, 5, 0), {(0, 0): FOUND, **unseen})
    assert (known["n_true"], known["n_predicted"], known["recall"], known["precision"]) == (2, 1, 0.5, 1.0)
    assert known["ciou"] == pytest.approx(20 / 56, abs=1e-4)
    assert known["giou"] == pytest.approx((1 + 0 + 1 + 1) / 4, abs=1e-4)
    assert (known["giou_present"], known["false_rejection"]) == (0.5, 0.5)
    assert (known["truly_empty_tiles"], known["rejection"], known["false_alarms"]) == (2, 1.0, 0)
    assert known["empty_km2"] == pytest.approx(2 * 144 * PX_M2 / 1e6, abs=1e-6)


def test_rejections_are_the_share_of_answers_and_not_of_the_lattice(tmp_path: Path) -> None:
    """One of two empty tiles that were asked has a false alarm. With the four others it would be 5 of 6."""
    unseen = dict.fromkeys(((0, 2), (1, 0), (1, 1), (1, 2)), ("empty", "outside_aoi"))
    known = figures(tmp_path, raster(), raster((2, 2, 6, 6)), {(0, 0): FOUND, **unseen})
    assert (known["rejection"], known["giou"], known["truly_empty_tiles"], known["false_alarms"]) == (
        0.5,
        0.5,
        2,
        1,
    )


def test_a_failed_tile_is_no_answer_wherever_the_class_is(tmp_path: Path) -> None:
    """One failed tile has a pool (36 px), one has none; of the other four one finds its pool (36 px)."""
    pools = raster((3, 3, 9, 9), (15, 27, 21, 33))
    failed = dict.fromkeys(((0, 0), (0, 2)), ("failed", "timeout"))
    known = figures(tmp_path, pools, np.where(pools == 2, 9, 0), {**failed, (1, 2): FOUND})
    assert (known["n_true"], known["recall"], known["precision"], known["ciou"]) == (2, 0.5, 1.0, 0.5)
    assert known["giou"] == pytest.approx((0 + 0 + 1 + 1 + 1 + 1) / 6, abs=1e-4)
    assert (known["giou_present"], known["false_rejection"]) == (0.5, 0.0)
    assert (known["truly_empty_tiles"], known["rejection"]) == (4, 0.75)
    assert known["empty_km2"] == pytest.approx(3 * 144 * PX_M2 / 1e6, abs=1e-6)


def test_what_lies_outside_the_aoi_is_not_asked_for(tmp_path: Path) -> None:
    """The AOI ends inside column 14. A pool of 24 columns has 5 of them inside, and the run saw it up to
    column 26; another is outside in a tile that was looked at, a third in one that was not. What the run drew
    outside is no false alarm either.
    """
    pools = raster((2, 10, 6, 34), (14, 16, 20, 22), (14, 28, 20, 34))
    found = raster((2, 10, 6, 26), (7, 18, 10, 22))
    unseen = dict.fromkeys(((0, 2), (1, 2)), ("empty", "outside_aoi"))
    fates = {(0, 0): FOUND, (0, 1): FOUND, **unseen}
    known = figures(tmp_path / "cut", pools, found, fates, aoi=region((0, 0, 24, 14.5)))
    assert (known["n_true"], known["n_predicted"], known["recall"], known["precision"]) == (1, 1, 1.0, 1.0)
    assert (known["ciou"], known["giou"], known["false_alarms"]) == (1.0, 1.0, 0)
    # the second pool is in the picture of the tile that holds it, so that tile is not truly empty; neither
    # does its part inside hold it
    assert (known["truly_empty_tiles"], known["rejection"], known["false_rejection"]) == (1, 1.0, 0.0)
    missed = figures(
        tmp_path / "missed", pools, raster(), {**unseen, (0, 0): REJECTED}, aoi=region((0, 0, 24, 14.5))
    )
    assert (missed["n_true"], missed["recall"], missed["false_rejection"]) == (1, 0.0, 1.0)
    assert missed["giou"] == 0.5, "two of the four tiles hold the part inside"


def test_empty_land_is_what_was_judged_of_it(tmp_path: Path) -> None:
    """Five tiles of 144 px and one with half of its pixels; a pool where no imagery is cannot be found. The
    AOI leaves 15 of 36 columns.
    """
    known = figures(tmp_path / "blind", raster((2, 27, 6, 33)), raster(), {}, blind=(0, 24, 6, 36))
    assert (known["n_true"], known["recall"], known["giou"], known["truly_empty_tiles"]) == (0, None, 1.0, 5)
    assert known["empty_km2"] == pytest.approx(5 * 144 * PX_M2 / 1e6, abs=1e-6)
    half = figures(tmp_path / "half", raster(), raster(), {}, blind=(0, 24, 6, 36))
    assert half["empty_km2"] == pytest.approx(5.5 * 144 * PX_M2 / 1e6, abs=1e-6)
    cut = figures(tmp_path / "cut", raster(), raster(), {}, aoi=region((0, 0, 24, 14.5)))
    assert (cut["truly_empty_tiles"], cut["giou"]) == (4, 1.0)
    assert cut["empty_km2"] == pytest.approx(24 * 15 * PX_M2 / 1e6, abs=1e-6)
