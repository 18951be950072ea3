"""The score below which objects are left out of an export: the same ones in tables and in rasters.

1. Tables hold scores as they are, rasters hold round(score * 254).
2. So a pixel more than one step above or below the limit is clear. For those near it the object's id decides:
   `score_floor` reads from the table which of them are below the limit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.files.store.stored_files import open_parquet
from pipeline.schema.tile_answers import SCORE_SCALE
from pipeline.write.instances import part_files
from pipeline.write.run_dir import RunDir


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoreFloor:
    """The lowest score that is kept, 0..1. 0 keeps everything."""

    min_score: float = 0.0
    near: Mapping[int, NDArray[np.uint64]] = field(default_factory=dict)
    """Per query: ids, ascending, of objects that are left out although their byte does not say so."""

    @property
    def limit(self) -> float:
        """The limit in steps of the rasters."""
        return self.min_score * SCORE_SCALE

    def keeps(self, table: pa.RecordBatch) -> NDArray[np.bool_]:
        """(n,) whether rows of instances are kept."""
        return np.asarray(table["score"].to_numpy(zero_copy_only=False).astype(np.float64) >= self.min_score)

    def rows(self, table: pa.RecordBatch) -> pa.RecordBatch:
        """The rows of instances that are kept."""
        return table if self.min_score <= 0.0 else table.filter(pa.array(self.keeps(table)))

    def left_out(
        self, query_index: int, ids: NDArray[np.uint64], score: NDArray[np.uint8]
    ) -> NDArray[np.bool_]:
        """(H, W): True on pixels of objects that are left out. ids, score: (H, W), as masks.zarr has them."""
        if self.min_score <= 0.0:
            return np.zeros(ids.shape, dtype=np.bool_)
        out = (ids > 0) & (score < self.limit - 1)
        unclear = (ids > 0) & (np.abs(score - self.limit) <= 1)
        out[unclear] = np.isin(ids[unclear], self.near.get(query_index, np.zeros(0, np.uint64)))
        return np.asarray(out, dtype=np.bool_)


KEEP_ALL = ScoreFloor()
"""Leaves nothing out."""


def score_floor(run_dir: RunDir, queries: Sequence[int], min_score: float) -> ScoreFloor:
    """Read which objects of the chosen queries are left out where their byte does not say so."""
    if min_score <= 0.0:
        return KEEP_ALL
    found: dict[int, list[NDArray[np.uint64]]] = {query: [] for query in queries}
    for file in part_files(run_dir):
        with open_parquet(file) as table:
            for batch in table.iter_batches(columns=["instance_id", "query_index", "score"]):
                score = batch["score"].to_numpy().astype(np.float64)
                out = (score < min_score) & (score * SCORE_SCALE > min_score * SCORE_SCALE - 3)
                for query, ids in found.items():
                    ids.append(
                        batch["instance_id"].to_numpy()[out & (batch["query_index"].to_numpy() == query)]
                    )
    near = {query: np.unique(np.concatenate(ids)) for query, ids in found.items() if ids}
    return ScoreFloor(min_score=min_score, near=near)
