"""What painted blocks have for later tasks: rows of finished objects, and pieces and border runs of others.

The blocks of one task file them together: one table of rows, and one of pieces and of runs for each
super-tile that owns their ids.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.run.merge.filed_tables import Filed
from pipeline.run.merge.merge_job import MergeJob
from pipeline.write.merge_files import write_batches, write_columns, write_table

PIECES = pa.schema(
    [
        ("id", pa.uint64()),
        ("block", pa.int64()),
        ("area_px", pa.int64()),
        ("aoi_px", pa.int64()),
        ("stopped", pa.bool_()),
        ("outline", pa.binary()),
        ("scenes", pa.list_(pa.int64())),
    ]
)
"""One block's part of a crossing object; outline is WKB in pixel-edge coordinates, null where only `stopped`
is said; scenes are those that gave the pixels under it.
"""


@dataclass(kw_only=True)
class ForLater:
    """Tables of one query, collected block by block."""

    rows: list[pa.Table] = field(default_factory=list)
    pieces: list[tuple[pa.RecordBatch, NDArray[np.int64]]] = field(default_factory=list)
    runs: list[tuple[dict[str, NDArray[Any]], NDArray[np.int64]]] = field(default_factory=list)

    def add(
        self,
        rows: pa.Table | None,
        *,
        pieces: tuple[pa.RecordBatch, NDArray[np.int64]],
        runs: tuple[dict[str, NDArray[Any]], NDArray[np.int64]],
    ) -> None:
        """Add what one block has. `pieces` (as PIECES) and `runs` (name -> column): with the number of the
        super-tile that owns each.
        """
        if rows is not None:
            self.rows.append(rows)
        self.pieces.append(pieces)
        self.runs.append(runs)

    def file(self, job: MergeJob, query: int, number: int) -> list[Filed]:
        """Write all of it in the order of the blocks; at least one was added. `number` names the tables."""
        filed = []
        if self.rows:
            filed.append(Filed("rows", query, number))
            write_table(filed[-1].path(job), pa.concat_tables(self.rows))
        pieces = pa.Table.from_batches([batch for batch, _ in self.pieces], schema=PIECES).combine_chunks()
        piece_owner = np.concatenate([owner for _, owner in self.pieces])
        columns = [column for column, _ in self.runs]
        runs = {name: np.concatenate([column[name] for column in columns]) for name in columns[0]}
        run_owner = np.concatenate([owner for _, owner in self.runs])
        for home in np.unique(piece_owner).tolist():
            part = pieces.take(pa.array(np.flatnonzero(piece_owner == home))).combine_chunks()
            filed.append(Filed("pieces", query, number, home))
            write_batches(filed[-1].path(job), part.to_batches(), compression=None)
            mine = run_owner == home
            if mine.any():
                filed.append(Filed("runs", query, number, home))
                write_columns(filed[-1].path(job), {name: values[mine] for name, values in runs.items()})
        return filed
