"""Ours: `pipeline.stitch`, from the records of the tiles to instance table, id raster and polygons.

Blocks go to files as soon as they are painted and polygons are dropped as soon as they are made, as a run
writes both.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from exchange import Outputs, TileMasks, answer
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.schema import MaskCrop, Prompt, RunGrid, TileLattice
from pipeline.stitch.flat.merge import StitchOptions, TileSource, TileSummary, merge_region
from pipeline.stitch.flatten import flatten_tile


@dataclass(frozen=True, kw_only=True)
class Records:
    """The tiles of one query as the segmenting workers leave them."""

    lattice: TileLattice
    summaries: list[TileSummary]
    images: dict[tuple[int, int], NDArray[np.uint16]]

    def records(self) -> Iterator[TileSummary]:
        return iter(self.summaries)

    def labels(self, tile_row: int, tile_col: int) -> NDArray[np.uint16] | None:
        return self.images.get((tile_row, tile_col))

    def paintable(self, tile_row: int, tile_col: int) -> bool:
        return True


_CONFORMS: type[TileSource] = Records


def prepare(masks: TileMasks, settings: dict[str, Any]) -> tuple[Records, StitchOptions]:
    """Stage A of the merge, which runs beside the models: every tile's masks, flattened."""
    options = StitchOptions(**settings)
    grid = RunGrid(
        crs_wkt=None, transform=(1.0, 0.0, 0.0, 0.0, -1.0, 0.0), width=masks.shape[1], height=masks.shape[0]
    )
    lattice = TileLattice(grid=grid, tile_px=masks.tile_px, halo_px=masks.halo_px, block_tiles=4)
    summaries = []
    images = {}
    for index, (row, col) in enumerate(masks.tile_rc.tolist()):
        scores = masks.score[masks.tile == index].tolist()
        crops, prompts = _crops(masks.labels[index], scores)
        labels, fragments = flatten_tile(lattice.tile(row, col), crops, prompts, lattice, options)
        if labels is not None:
            images[row, col] = labels
            summaries.append(TileSummary(tile_row=row, tile_col=col, fragments=fragments))
    return Records(lattice=lattice, summaries=summaries, images=images), options


def _crops(labels: NDArray[np.uint16], scores: list[float]) -> tuple[list[MaskCrop], list[Prompt]]:
    """One mask per local id with the prompt that a perfect prompter gives: the mask's own box."""
    crops = []
    prompts = []
    for index, (rows, cols) in enumerate(ndimage.find_objects(labels)):
        mask = labels[rows, cols] == index + 1
        crops.append(
            MaskCrop(row0=rows.start, col0=cols.start, mask=mask, score=scores[index], prompt_index=index)
        )
        prompts.append(
            Prompt(box_xyxy=(float(cols.start), float(rows.start), float(cols.stop), float(rows.stop)))
        )
    return crops, prompts


def merge(native: tuple[Records, StitchOptions]) -> tuple[TileLattice, tempfile.TemporaryDirectory[str]]:
    """The folder of painted blocks."""
    records, options = native
    merged = merge_region(records.lattice, records, options, mode="instances")
    lattice = records.lattice
    folder = tempfile.TemporaryDirectory()
    for block_row in range(lattice.n_block_rows):
        for block_col in range(lattice.n_block_cols):
            merged.paint_block(block_row, block_col).tofile(Path(folder.name) / f"{block_row}_{block_col}")
    made = sum(len(shapes) for _, shapes in merged.polygons())
    if made != len(merged.instances):
        raise RuntimeError(f"{len(merged.instances)} instances need as many polygons, got {made}")
    return lattice, folder


def export(merged: tuple[TileLattice, tempfile.TemporaryDirectory[str]]) -> Outputs:
    """All blocks as one raster."""
    lattice, folder = merged
    ids = np.zeros((lattice.grid.height, lattice.grid.width), dtype=np.uint64)
    for block_row in range(lattice.n_block_rows):
        for block_col in range(lattice.n_block_cols):
            core = lattice.block_core(block_row, block_col)
            block = np.fromfile(Path(folder.name) / f"{block_row}_{block_col}", dtype=np.uint64)
            ids[core.slices_in(lattice.grid.window)] = block.reshape(core.shape)
    folder.cleanup()
    return Outputs(raster=ids)


if __name__ == "__main__":
    answer(prepare, merge, export, ["numpy", "numba", "shapely"])
