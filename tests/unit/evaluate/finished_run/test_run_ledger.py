"""The pixels of a region and what the ledger says of a tile, by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
import shapely
import zarr

from pipeline.errors import InputError
from pipeline.evaluate.finished_run.run_ledger import (
    LedgerEntry,
    RunPixels,
    aoi_in_pixels,
    read_ledger,
    require_published,
)
from pipeline.schema.tile_answers import Reason, TileStatus
from pipeline.schema.tiling import RunGrid, TileLattice
from pipeline.write.run_json import RunInfo, write_run_json

SHAPE = (24, 36)
GRID = RunGrid(
    crs_wkt=rasterio.CRS.from_epsg(32633).to_wkt(),
    transform=(0.5, 0.0, 500000.0, 0.0, -0.5, 5500000.0),
    width=SHAPE[1],
    height=SHAPE[0],
)
LATTICE = TileLattice(grid=GRID, tile_px=16, halo_px=2, block_tiles=2)


def region(*boxes: tuple[float, float, float, float]) -> Any:
    """Rectangles of pixels in the grid's CRS."""
    corners = (
        (500000 + 0.5 * col0, 5500000 - 0.5 * row1, 500000 + 0.5 * col1, 5500000 - 0.5 * row0)
        for row0, col0, row1, col1 in boxes
    )
    return shapely.union_all([shapely.box(*corner) for corner in corners])


def test_pixels_of_a_region_touch_its_aoi(tmp_path: Path) -> None:
    """An L: all columns of two rows, and columns to the ninth, which it only touches."""
    mask = np.zeros((1, *SHAPE), np.uint8)
    mask[0, 11:] = 255
    zarr.open_group(str(tmp_path / "masks.zarr"), mode="w").create_array("mask", data=mask)
    aoi = aoi_in_pixels(region((0, 0, 24, 9.3), (0, 0, 2, 36)).wkb, GRID)
    assert aoi.bounds == pytest.approx((0, 0, 36, 24))
    left, right = (LATTICE.tile(0, col).core for col in (0, 1))
    expected = np.zeros((12, 12), bool)
    expected[:, :10] = expected[:2] = True
    pixels = RunPixels(tmp_path, aoi)
    np.testing.assert_array_equal(pixels.in_region(left), expected)
    assert pixels.in_region(right)[:2].all()
    assert not pixels.in_region(right)[2:].any()
    expected[11] = False
    np.testing.assert_array_equal(pixels.judged(left, 0), expected)
    assert aoi_in_pixels(b"", GRID) is None
    assert RunPixels(tmp_path, None).in_region(left).all()


@pytest.mark.parametrize("reason", list(Reason))
def test_a_fate_is_answered_failed_or_neither(reason: Reason) -> None:
    failures = {Reason.UNREADABLE, Reason.MALFORMED, Reason.MODEL_ERROR, Reason.CRASHED, Reason.TIMEOUT}
    status = (
        TileStatus.FAILED
        if reason in failures
        else TileStatus.FOUND
        if reason is Reason.NONE
        else TileStatus.EMPTY
    )
    entry = LedgerEntry(status=status, reason=reason)
    assert entry.failed == (reason in failures)
    assert entry.answered == (reason in {Reason.NONE, Reason.PROMPTER, Reason.GATE, Reason.VERIFIER})


def test_the_ledger_leaves_out_what_lies_outside_the_aoi(tmp_path: Path) -> None:
    rows = [
        {"tile_id": "a", "query_index": 0, "status": "found", "reason": ""},
        {"tile_id": "a", "query_index": 1, "status": "failed", "reason": "timeout"},
        {"tile_id": "b", "query_index": 0, "status": "empty", "reason": "outside_aoi"},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "coverage.parquet")
    assert read_ledger(tmp_path) == {
        ("a", 0): LedgerEntry(status=TileStatus.FOUND, reason=Reason.NONE),
        ("a", 1): LedgerEntry(status=TileStatus.FAILED, reason=Reason.TIMEOUT),
    }


def test_a_ledger_of_one_row_per_tile_is_named(tmp_path: Path) -> None:
    rows = [{"tile_id": "a", "reason": "", "statuses": ["found"], "reasons": [""]}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "coverage.parquet")
    with pytest.raises(InputError, match=r"a row per tile and query.*restitch_region"):
        read_ledger(tmp_path)


def test_what_is_scored_is_the_snapshot_that_counts(tmp_path: Path) -> None:
    """Another one and files of an older version lie beside it."""
    tile = LATTICE.tile(0, 0)
    for number, place in enumerate(("", "snapshots/one", "snapshots/two")):
        folder = tmp_path / place
        folder.mkdir(parents=True, exist_ok=True)
        reason = ("prompter", "gate", "verifier")[number]
        rows = [{"tile_id": tile.tile_id, "query_index": 0, "status": "empty", "reason": reason}]
        pq.write_table(pa.Table.from_pylist(rows), folder / "coverage.parquet")
        mask = np.full((1, *SHAPE), 255, np.uint8)
        mask[0, : number + 1] = 0
        zarr.open_group(str(folder / "masks.zarr"), mode="w").create_array("mask", data=mask)
    info = RunInfo(
        run_id="r",
        fingerprint="f",
        status="complete",
        parameters={},
        queries=("pools",),
        lattice=LATTICE,
        scenes=(),
        snapshot="one",
    )
    write_run_json(tmp_path / "run.json", info)
    require_published(tmp_path)
    assert read_ledger(tmp_path)[tile.tile_id, 0].reason is Reason.GATE
    assert RunPixels(tmp_path, None).judged(tile.core, 0).sum() == 2 * tile.core.width
    write_run_json(tmp_path / "run.json", replace(info, snapshot="gone"))
    with pytest.raises(InputError, match=r"a run needs masks\.zarr to be scored"):
        require_published(tmp_path)


@pytest.mark.parametrize("missing", ["masks.zarr", "coverage.parquet"])
def test_a_run_that_did_not_end_is_not_scored(tmp_path: Path, missing: str) -> None:
    for name in {"masks.zarr", "coverage.parquet"} - {missing}:
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=f"a run needs {missing} to be scored"):
        require_published(tmp_path)
