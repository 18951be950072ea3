"""What a mask looks like, in numbers: the segmenter's own features inside it, its colours and its shape.

1. `pooled` averages the feature map of the tile's embedding over the mask. A cell of the map counts by how
   many of the mask's pixels it has, so a mask smaller than a cell takes that cell's features.
2. `plain_features` are few and have names (PLAIN): colours, size, elongation, how full box and hull are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray

from pipeline.schema.tile_answers import MaskCrop

PLAIN = (
    *(f"mean_{colour}" for colour in ("red", "green", "blue")),
    *(f"spread_{colour}" for colour in ("red", "green", "blue")),
    "log_area_px",
    "log_elongation",
    "share_of_box",
    "share_of_hull",
)
"""Names of the plain features."""


def describe_masks(
    masks: Sequence[MaskCrop],
    *,
    rgb: NDArray[np.uint8],
    feature_map: NDArray[np.float32],
    square_px: int,
) -> NDArray[np.float64]:
    """(n, C + len(PLAIN)) features of n masks of a tile, pooled ones first.

    Args:
        masks: of one tile.
        rgb: (H, W, 3) pixels of the tile.
        feature_map: (C, h, h) over the square of `square_px` pixels at the tile's top left.
        square_px: side of that square.
    """
    if not masks:
        return np.zeros((0, len(feature_map) + len(PLAIN)))
    plain = np.stack([plain_features(mask, rgb) for mask in masks])
    return np.hstack([pooled(masks, feature_map, square_px), plain])


def pooled(
    masks: Sequence[MaskCrop], feature_map: NDArray[np.float32], square_px: int
) -> NDArray[np.float64]:
    """(n, C) means of the feature map (C, h, h) inside n masks."""
    channels, side, _ = feature_map.shape
    weights = np.zeros((len(masks), side, side))
    for weight, mask in zip(weights, masks, strict=True):
        rows, cols = np.nonzero(mask.mask)
        cell_rows = ((rows + mask.row0 + 0.5) * side / square_px).astype(np.int64)
        cell_cols = ((cols + mask.col0 + 0.5) * side / square_px).astype(np.int64)
        counts = np.bincount(cell_rows * side + cell_cols, minlength=side * side)
        weight[:] = counts.reshape(side, side) / rows.size
    flat = feature_map.reshape(channels, -1).astype(np.float64)
    return np.asarray(weights.reshape(len(masks), -1) @ flat.T)


def plain_features(mask: MaskCrop, rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The features that PLAIN names, of one mask."""
    height, width = mask.mask.shape
    inside = rgb[mask.row0 : mask.row0 + height, mask.col0 : mask.col0 + width][mask.mask].astype(np.float64)
    rows, cols = np.nonzero(mask.mask)
    area = rows.size
    corners = np.concatenate([np.stack([cols + x, rows + y], axis=1) for x in (0, 1) for y in (0, 1)])
    hull = shapely.convex_hull(shapely.multipoints(corners))
    # a pixel's own extent (1/12) keeps a line of pixels from having no width
    spread = np.linalg.eigvalsh(np.cov(np.stack([cols, rows]), bias=True) + np.eye(2) / 12)
    return np.array(
        [
            *inside.mean(axis=0),
            *inside.std(axis=0),
            np.log(area),
            np.log(spread[1] / spread[0]) / 2,
            area / mask.mask.size,
            area / shapely.area(hull),
        ]
    )
