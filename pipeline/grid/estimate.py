"""What a plan will cost, before anything is loaded: the numbers of --dry-run.

All are upper bounds of the plan itself: tiles that turn out to be nodata cost no model call, and of overlapping scenes only
those are read that still have something to fill. Prompter calls count one per tile and query; a malformed reply costs a retry.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipeline.errors import InputError
from pipeline.grid.tiles import Plan
from pipeline.schema import Window

BANDS_READ = 3
"""Red, green and blue; validity comes with them in pixel-interleaved files."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Counts and bytes of one plan."""

    mode: str
    tiles: int
    """Tiles that will be looked at."""
    tiles_outside: int
    """Tiles of the lattice outside the AOI or every scene; never read."""
    blocks: int
    pixels: int
    """Core pixels of the tiles looked at: the area of the answer."""
    pixels_read: int
    """Pixels read from scenes, halos and overlapping scenes included."""
    bytes_decoded: int
    """Size of those pixels in memory, as stored numbers."""
    bytes_to_read: int | None
    """Compressed bytes, from each file's size per pixel (its overviews included); None when a size is unknown."""
    image_encodings: int
    """Image encodings of the segmenter: one per tile, whatever the number of queries."""
    model_calls: int
    """Prompter calls: tiles x queries."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for run.json and tables."""
        return asdict(self)


def estimate(plan: Plan, n_queries: int) -> Estimate:
    """Add up a plan. `n_queries`: questions asked of every tile, at least 1."""
    if n_queries < 1:
        raise InputError("A run needs at least one query", came=str(n_queries), remedy="give --query")
    pixels = 0
    read_px = np.zeros(len(plan.scenes), dtype=np.int64)
    blocks = 0
    windows = plan.scene_windows
    for block in plan.blocks():
        blocks += 1
        pixels += sum(tile.core.area_px for tile in block.tiles)
        read_px += [_overlap_px(block.read, window) for window in windows]
    decoded = 0
    compressed: float | None = 0.0
    for scene, outline, count in zip(plan.scenes, plan.outlines, read_px.tolist(), strict=True):
        decoded += count * BANDS_READ * np.dtype(scene.dtype).itemsize
        size = scene.identity.get("size_bytes")
        share = min(count / outline.area, 1.0) if outline.area > 0 else 0.0
        compressed = None if compressed is None or size is None else compressed + share * int(size)
    tiles = plan.n_tiles
    return Estimate(
        mode=plan.mode,
        tiles=tiles,
        tiles_outside=plan.n_tiles_outside,
        blocks=blocks,
        pixels=pixels,
        pixels_read=int(read_px.sum()),
        bytes_decoded=decoded,
        bytes_to_read=None if compressed is None else round(compressed),
        image_encodings=tiles,
        model_calls=tiles * n_queries,
    )


def _overlap_px(one: Window, other: Window) -> int:
    common = one.intersect(other)
    return 0 if common is None else common.area_px
