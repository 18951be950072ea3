"""What gate and verifier said in a run, beside the truth of its world.

1. `read_pairs` takes the gate's probability of every judged (tile, question) from the block records, and from the label raster
   whether the tile's core holds the class (at least MIN_TARGET_PX pixels) or its read window none of it.
2. `read_masks` takes every fragment whose prompt a verifier judged and compares it with the true objects of the class in the
   tile's read window: right when it fits one of them with IoU >= 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray

from pipeline.evaluate.benchmark_world import MIN_TARGET_PX
from pipeline.evaluate.gate_curves import JudgedPairs
from pipeline.evaluate.truth import Truth, grid_offset, read_labels
from pipeline.schema import TileStatus
from pipeline.write.block_records import read_block_record, read_counts
from pipeline.write.run_dir import RunDir
from pipeline.write.run_json import RunInfo

RIGHT_IOU = 0.5
"""Overlap from which a mask fits a true object."""


@dataclass(frozen=True, kw_only=True)
class JudgedMasks:
    """Masks of single tiles; all columns (n,)."""

    p: NDArray[np.float64]
    right: NDArray[np.bool_]


def read_pairs(run_dir: RunDir, info: RunInfo, truth: Truth, *, found: set[tuple[str, int]] | None = None) -> JudgedPairs:
    """The judged pairs of a run. `found`: pairs that a full examination found something in; None: those of this very run."""
    ids = [truth.ids_of(truth.class_for(query)) for query in info.queries]
    rows = []
    with rasterio.open(truth.labels_path) as labels:
        offset = grid_offset(info.lattice, labels)
        for path in sorted(run_dir.blocks.glob("*.parquet")):
            seen: dict[str, NDArray[np.int64]] = {}
            for row in read_counts(path, info.fingerprint).tiles:
                if row.gate_p is None:
                    continue
                tile = row.tile
                if tile.tile_id not in seen:
                    seen[tile.tile_id] = read_labels(labels, tile.read, offset)
                here = np.isin(seen[tile.tile_id], ids[row.query_index])
                is_present = int(here[tile.core.slices_in(tile.read)].sum()) >= MIN_TARGET_PX
                was_found = row.status is TileStatus.FOUND if found is None else (tile.tile_id, row.query_index) in found
                rows.append((row.gate_p, is_present, not here.any(), was_found))
    columns = list(zip(*rows, strict=True)) or [()] * 4
    p, *flags = columns
    present, absent, found_column = (np.array(flag, dtype=np.bool_) for flag in flags)
    return JudgedPairs(p=np.array(p, dtype=np.float64), present=present, absent=absent, found=found_column)


def found_pairs(run_dir: RunDir, info: RunInfo) -> set[tuple[str, int]]:
    """(tile_id, query_index) in which the run found something."""
    paths = sorted(run_dir.blocks.glob("*.parquet"))
    rows = (row for path in paths for row in read_counts(path, info.fingerprint).tiles)
    return {(row.tile.tile_id, row.query_index) for row in rows if row.status is TileStatus.FOUND}


def read_masks(run_dir: RunDir, info: RunInfo, truth: Truth) -> JudgedMasks:
    """The masks that a verifier judged and that were kept (use threshold 0), and whether they fit a true object."""
    ids = [truth.ids_of(truth.class_for(query)) for query in info.queries]
    rows: list[tuple[float, bool]] = []
    with rasterio.open(truth.labels_path) as labels:
        offset = grid_offset(info.lattice, labels)
        for path in sorted(run_dir.blocks.glob("*.parquet")):
            for record in read_block_record(path, info.fingerprint).tiles:
                if record.labels is None or not record.verified:
                    continue
                seen = read_labels(labels, record.tile.read, offset)
                true = np.where(np.isin(seen, ids[record.query_index]), seen, 0)
                for fragment in record.fragments:
                    p = record.verified[fragment.prompt_index]
                    if p is not None:
                        rows.append((p, _best_iou(record.labels == fragment.local, true) >= RIGHT_IOU))
    p_column, right = list(zip(*rows, strict=True)) or [(), ()]
    return JudgedMasks(p=np.array(p_column, dtype=np.float64), right=np.array(right, dtype=np.bool_))


def _best_iou(mask: NDArray[np.bool_], true: NDArray[Any]) -> float:
    values, common = np.unique(true[mask], return_counts=True)
    union = [int(mask.sum()) + int((true == value).sum()) - int(count) for value, count in zip(values, common, strict=True)]
    return max((int(count) / whole for value, count, whole in zip(values, common, union, strict=True) if value), default=0.0)
