"""Finished runs of two small blocks, with records written by hand, for the tests of a calibration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.schema.tile_answers import BlockRecord, Fragment, Reason, TileRecord, TileStatus
from pipeline.schema.tiling import RunGrid, TileLattice, TileSpec, block_id
from pipeline.write.plan_table import write_plan
from pipeline.write.records.block_records import write_block_record
from pipeline.write.run_dir import RunDir
from pipeline.write.run_json import RunInfo

FINGERPRINT = "ab" * 32
GRID = RunGrid(crs_wkt=None, transform=(0.5, 0.0, 500000.0, 0.0, -0.5, 5500000.0), width=128, height=64)
LATTICE = TileLattice(grid=GRID, tile_px=40, halo_px=4, block_tiles=2)
"""2 x 4 tiles with cores of 32 px, in two blocks side by side."""

FIRST_TILE = "r00000c00000"
QUERIES = ("tanks", "pools")


def run_info(mode: str) -> RunInfo:
    """Make the run.json of a run whose gate had this mode."""
    return RunInfo(
        run_id="run",
        fingerprint=FINGERPRINT,
        status="complete",
        parameters={"gate": {"mode": mode}},
        queries=QUERIES,
        lattice=LATTICE,
        scenes=(),
        model_ids={"prompter": f"oracle@{mode}"},
    )


def write_records(folder: Path, answer: Callable[[TileSpec, int], dict[str, Any]]) -> RunDir:
    """Write both blocks. `answer`: (tile, query index) -> what differs from an empty answer."""
    run_dir = RunDir(folder)
    write_plan(run_dir.plan, LATTICE, np.ones((LATTICE.n_tile_rows, LATTICE.n_tile_cols), dtype=np.bool_))
    for block_col in range(2):
        tiles = tuple(LATTICE.tiles_of_block(0, block_col))
        records = tuple(
            _record(tile, index, answer(tile, index)) for tile in tiles for index in range(len(QUERIES))
        )
        valid = {tile.tile_id: np.ones(tile.core.shape, dtype=np.bool_) for tile in tiles}
        record = BlockRecord(
            block_id=block_id(0, block_col), fingerprint=FINGERPRINT, tiles=records, valid=valid
        )
        write_block_record(run_dir, record, lattice=LATTICE)
    return run_dir


def fragment(tile: TileSpec, place: int, *, size_px: int) -> Fragment:
    """Make the fragment of prompt `place`, which label place + 1 draws with `size_px` pixels."""
    return Fragment(
        local=place + 1,
        prompt_index=place,
        score_q=6000,
        full_px=size_px,
        core_px=size_px,
        anchor=0,
        window=tile.read,
        censored=0,
        margin=9,
    )


def _record(tile: TileSpec, index: int, more: dict[str, Any]) -> TileRecord:
    plain = {"status": TileStatus.EMPTY, "reason": Reason.PROMPTER, "valid_px": tile.core.area_px}
    return TileRecord(tile=tile, query_index=index, **(plain | more))
