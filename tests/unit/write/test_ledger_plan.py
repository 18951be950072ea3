"""The ledger gives back the plan that it was written with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.errors import InputError
from pipeline.schema.tiling import RunGrid, TileLattice
from pipeline.write.coverage import write_coverage
from pipeline.write.ledger_plan import read_looked_at
from pipeline.write.plan_table import planned_blocks
from pipeline.write.records.record_keys import AlikeKeys
from pipeline.write.run_dir import RunDir

GRID = RunGrid(crs_wkt=None, transform=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), width=100, height=50)
LATTICE = TileLattice(grid=GRID, tile_px=32, halo_px=8, block_tiles=2)


def ledger_of(folder: Path, outside: tuple[tuple[int, int], ...]) -> Path:
    """A ledger of two queries in which these tiles lie outside, and all others have a reason of their own."""
    run_dir = RunDir(folder)
    nothing = np.zeros((LATTICE.n_tile_rows, LATTICE.n_tile_cols), dtype=np.bool_)
    assert planned_blocks(LATTICE, nothing) == []
    write_coverage(run_dir, LATTICE, nothing, keys=AlikeKeys(""), queries=["a", "b"])
    path = folder / "coverage.parquet"
    table = pq.read_table(path)
    places = zip(table["tile_row"].to_pylist(), table["tile_col"].to_pylist(), strict=True)
    reasons = ["outside_aoi" if place in outside else "prompter" for place in places]
    at = table.schema.get_field_index("reason")
    pq.write_table(table.set_column(at, table.schema.field(at), [reasons]), path)
    return path


def test_tiles_outside_are_those_that_say_so(tmp_path: Path) -> None:
    path = ledger_of(tmp_path, ((0, 0), (2, 5)))
    inside = read_looked_at(path, LATTICE)
    assert inside.shape == (LATTICE.n_tile_rows, LATTICE.n_tile_cols) == (4, 7)
    assert np.argwhere(~inside).tolist() == [[0, 0], [2, 5]]


def test_another_lattice_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    path = ledger_of(tmp_path, ())
    other = TileLattice(grid=GRID, tile_px=64, halo_px=8, block_tiles=2)
    with pytest.raises(InputError, match="28 tiles instead of"):
        read_looked_at(path, other)
    path.unlink()
    with pytest.raises(InputError, match="readable ledger"):
        read_looked_at(path, LATTICE)
