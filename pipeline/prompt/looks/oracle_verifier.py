"""A verifier that knows the truth: how well a mask fits the true object that it fits best.

The probability is the intersection over union with that object, on the valid pixels of the tile. The truth is
read without noise: a mask of the exact object gets 1, one that noise shifted, merged or split gets less.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.errors import SourceError
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import MaskCrop
from pipeline.schema.tiling import RunGrid
from pipeline.world.oracle import OracleSpec, OracleTruth, parse_oracle


class OracleVerifier:
    """A `Verifier` that reads an aligned label raster and ignores the query."""

    def __init__(self, model: str, grid: RunGrid) -> None:
        """`model` is `oracle:PATH[?...]`; its noise is ignored. Raises InputError like `OraclePrompter`."""
        self._truth = OracleTruth.on_grid(OracleSpec(labels_href=parse_oracle(model).labels_href), grid)

    async def verify(self, image: TileImage, _query: str, masks: Sequence[MaskCrop]) -> list[float | None]:
        """Compute the best intersection over union of each mask; all None when the raster cannot be read."""
        try:
            labels = np.where(image.valid, self._truth.tile(image.tile).labels, 0)
        except SourceError:
            return [None] * len(masks)
        area = np.bincount(labels.ravel())
        best: list[float | None] = []
        for mask in masks:
            height, width = mask.mask.shape
            under = labels[mask.row0 : mask.row0 + height, mask.col0 : mask.col0 + width][mask.mask]
            common = np.bincount(under, minlength=area.size)[1:]
            union = area[1:] + int(mask.mask.sum()) - common
            best.append(float((common / union).max(initial=0.0)))
        return best

    def close(self) -> None:
        """Do nothing: the raster is closed with the object."""
