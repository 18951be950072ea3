"""segment-geospatial: how `SamGeo3.generate_masks_tiled` puts tiles together.

That method numbers the masks of each tile with a running counter and pastes the tile with `_merge_tile_mask`,
the function called here; its overlap is twice our halo, so that its tiles and cores are exactly ours.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from exchange import Outputs, TileMasks, answer
from numpy.typing import NDArray
from samgeo.samgeo3 import SamGeo3


def prepare(masks: TileMasks, settings: dict[str, Any]) -> tuple[TileMasks, list[NDArray[np.uint32]]]:
    """Tiles with ids that count on from tile to tile."""
    assert not settings, "the method has no parameter beside tile size and overlap"
    tiles = []
    offset = 0
    for labels in masks.labels:
        tiles.append(np.where(labels > 0, labels + np.uint32(offset), 0).astype(np.uint32))
        offset += int(labels.max(initial=0))
    return masks, tiles


def merge(native: tuple[TileMasks, list[NDArray[np.uint32]]]) -> NDArray[np.uint32]:
    masks, tiles = native
    pasted = np.zeros(masks.shape, dtype=np.uint32)
    n_rows, n_cols = (int(v) + 1 for v in masks.tile_rc.max(axis=0))
    for tile, (row0, col0, row1, col1), (row, col) in zip(
        tiles, masks.read.tolist(), masks.tile_rc.tolist(), strict=True
    ):
        SamGeo3._merge_tile_mask(
            None, pasted, tile, col0, row0, col1, row1, 2 * masks.halo_px, col, row, n_cols, n_rows
        )
    return pasted


if __name__ == "__main__":
    answer(prepare, merge, lambda pasted: Outputs(raster=pasted), ["segment-geospatial", "numpy"])
