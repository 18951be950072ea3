"""The plan that a snapshot was made of, read back from its ledger.

plan.parquet is of the run that is being worked on. While an update is under way, that is another one than the
run whose result counts. The ledger in a snapshot has a row for every tile, and so knows the snapshot's plan.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.files.store.store_path import Place
from pipeline.files.store.stored_files import read_parquet
from pipeline.schema.tile_answers import Reason
from pipeline.schema.tiling import TileLattice


def read_looked_at(path: Place, lattice: TileLattice) -> NDArray[np.bool_]:
    """Read (n_tile_rows, n_tile_cols) from coverage.parquet, True = the tile was looked at: `inside` of the
    plan. Raises InputError when the file cannot be read or is of another lattice.
    """
    columns = ["tile_row", "tile_col", "reason"]
    try:
        table = read_parquet(path, columns, filters=[("query_index", "=", 0)])
    except (OSError, pa.ArrowException) as error:
        raise _no_ledger(path, str(error)) from error
    shape = (lattice.n_tile_rows, lattice.n_tile_cols)
    if table.num_rows != shape[0] * shape[1]:
        raise _no_ledger(path, f"{table.num_rows} tiles instead of {shape[0]} x {shape[1]}")
    row, col = (table[name].to_numpy() for name in columns[:2])
    if min(row.min(), col.min()) < 0 or row.max() >= shape[0] or col.max() >= shape[1]:
        raise _no_ledger(path, f"tiles beyond {shape[0]} x {shape[1]}")
    inside = np.zeros(shape, dtype=np.bool_)
    inside[row, col] = pc.not_equal(table["reason"], Reason.OUTSIDE_AOI.value).to_numpy()
    return inside


def _no_ledger(path: Place, came: str) -> InputError:
    return InputError(
        f"{path} must be the readable ledger of a run",
        came=came,
        remedy="merge the run again with jobs/restitch_region.py, which writes it anew",
    )
