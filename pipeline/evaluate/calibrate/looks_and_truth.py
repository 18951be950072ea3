"""Read what gate and verifier said in a run, and compare it with the truth of its world.

1. `read_pairs` reads the gate's probability of every judged (tile, query). The label raster says whether the
   tile's core holds the class, and whether the gate's picture holds none of it.
2. `read_masks` reads every mask that a verifier judged. It is right when it fits a true object of the class
   with IoU >= 0.5.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import rasterio
from numpy.typing import NDArray

from pipeline.evaluate.benchmark.readers.world_tiles import MIN_TARGET_PX
from pipeline.evaluate.calibrate.curves import JudgedMasks, JudgedPairs
from pipeline.evaluate.finished_run.world_truth import Truth, read_labels
from pipeline.files.store.store_path import StorePath
from pipeline.run.block_inputs import keys_of_run
from pipeline.schema.tile_answers import TileStatus
from pipeline.schema.tiling import TileSpec
from pipeline.world.oracle import grid_offset
from pipeline.write.plan_table import read_inside
from pipeline.write.records.block_records import read_block_record, read_counts
from pipeline.write.records.done_records import record_files
from pipeline.write.run_dir import RunDir
from pipeline.write.run_json import RunInfo

RIGHT_IOU = 0.5
"""Smallest IoU at which a mask fits a true object."""


def read_pairs(
    run_dir: RunDir, info: RunInfo, truth: Truth, *, found: set[tuple[str, int]] | None = None
) -> JudgedPairs:
    """Read the judged pairs of a run.

    A core holds a class if it has at least MIN_TARGET_PX pixels of it. The gate's picture is the tile's read
    window, or in a run of parent looks the read windows of all tiles of the block. `found`: the (tile_id,
    query_index) in which a full examination found something. None: those in which this run did.
    """
    ids = [truth.ids_of(truth.class_for(query)) for query in info.queries]
    per_block = info.parameters["gate"]["mode"] == "parent"
    rows = []
    pictures = dict[str, int]()
    with rasterio.open(truth.labels_path) as labels:
        offset = grid_offset(labels, info.lattice.grid)
        for path, key in _records(run_dir, info):
            block = read_counts(path, key)
            tiles = {row.tile.tile_id: row.tile for row in block.tiles}
            here = {
                tile_id: _Holds.of(read_labels(labels, tile.read, offset), tile, ids)
                for tile_id, tile in tiles.items()
            }
            in_block = np.any([holds.any_px for holds in here.values()], axis=0)
            for row in block.tiles:
                if row.gate_p is None:
                    continue
                tile_id = row.tile.tile_id
                index = row.query_index
                picture = pictures.setdefault(block.block_id if per_block else tile_id, len(pictures))
                shown = in_block[index] if per_block else here[tile_id].any_px[index]
                was_found = row.status is TileStatus.FOUND if found is None else (tile_id, index) in found
                rows.append(
                    (row.gate_p, here[tile_id].core_px[index] >= MIN_TARGET_PX, not shown, was_found, picture)
                )
    p, present, absent, found_column, picture_column = list(zip(*rows, strict=True)) or [()] * 5
    return JudgedPairs(
        p=np.array(p, dtype=np.float64),
        present=np.array(present, dtype=np.bool_),
        absent=np.array(absent, dtype=np.bool_),
        found=np.array(found_column, dtype=np.bool_),
        picture=np.array(picture_column, dtype=np.int64),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Holds:
    """What the truth holds in one tile; both (n_queries,)."""

    core_px: NDArray[np.int64]
    """Pixels of the class in the core."""
    any_px: NDArray[np.bool_]
    """Whether the read window has any."""

    @classmethod
    def of(cls, seen: NDArray[np.int64], tile: TileSpec, ids: Sequence[NDArray[np.int64]]) -> _Holds:
        in_core, core_px = np.unique(seen[tile.core.slices_in(tile.read)], return_counts=True)
        in_window = np.unique(seen)
        return cls(
            core_px=np.array([core_px[np.isin(in_core, wanted)].sum() for wanted in ids], dtype=np.int64),
            any_px=np.array([np.isin(in_window, wanted).any() for wanted in ids], dtype=np.bool_),
        )


def _records(run_dir: RunDir, info: RunInfo) -> Iterator[tuple[StorePath, str]]:
    """The record files of a run's planned blocks, and the fingerprint of each."""
    keys = keys_of_run(info, read_inside(run_dir.plan, info.lattice))
    for path in record_files(run_dir):
        if (key := keys.of(path.stem)) is not None:
            yield path, key.fingerprint


def found_pairs(run_dir: RunDir, info: RunInfo) -> set[tuple[str, int]]:
    """List the (tile_id, query_index) in which the run found something."""
    rows = (row for path, key in _records(run_dir, info) for row in read_counts(path, key).tiles)
    return {(row.tile.tile_id, row.query_index) for row in rows if row.status is TileStatus.FOUND}


def read_masks(run_dir: RunDir, info: RunInfo, truth: Truth) -> JudgedMasks:
    """Read the judged masks of a run, and whether each fits a true object.

    Records hold only masks that were kept, so the run's verifier must have threshold 0.
    """
    ids = [truth.ids_of(truth.class_for(query)) for query in info.queries]
    rows: list[tuple[float, bool, int]] = []
    pictures: dict[str, int] = {}
    with rasterio.open(truth.labels_path) as labels:
        offset = grid_offset(labels, info.lattice.grid)
        for path, key in _records(run_dir, info):
            for record in read_block_record(path, key).tiles:
                if record.labels is None or not record.verified:
                    continue
                seen = read_labels(labels, record.tile.read, offset)
                true = np.where(np.isin(seen, ids[record.query_index]), seen, 0)
                for fragment in record.fragments:
                    p = record.verified[fragment.prompt_index]
                    if p is not None:
                        picture = pictures.setdefault(record.tile.tile_id, len(pictures))
                        rows.append(
                            (p, _best_iou(record.labels == fragment.local, true) >= RIGHT_IOU, picture)
                        )
    p_column, right, picture_column = list(zip(*rows, strict=True)) or [()] * 3
    return JudgedMasks(
        p=np.array(p_column, dtype=np.float64),
        right=np.array(right, dtype=np.bool_),
        picture=np.array(picture_column, dtype=np.int64),
    )


def _best_iou(mask: NDArray[np.bool_], true: NDArray[np.int64]) -> float:
    values, common = np.unique(true[mask], return_counts=True)
    union = [
        int(mask.sum()) + int((true == value).sum()) - int(count)
        for value, count in zip(values, common, strict=True)
    ]
    return max(
        (int(count) / whole for value, count, whole in zip(values, common, union, strict=True) if value),
        default=0.0,
    )
