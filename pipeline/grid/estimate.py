"""What a plan will cost, before anything is loaded: the numbers of --dry-run.

They are upper bounds. Tiles that turn out to be nodata cost no model call, and a scene is read only where the
scenes before it left pixels to fill. Only the retry of a malformed reply comes on top.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.grid.tiles import Plan
from pipeline.schema.tiling import Window

BANDS_READ = 3
"""Red, green and blue; validity comes with them in pixel-interleaved files."""

_CHUNK_BLOCKS = 4096
"""Blocks compared with the scenes at once, to bound memory."""


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
    """Size of those pixels in memory, in the files' data types."""
    bytes_to_read: int | None
    """Compressed bytes, from each file's size per pixel, overviews included. None: a size is unknown."""
    image_encodings: int
    """Image encodings of the segmenter: one per tile, whatever the number of queries."""
    model_calls: int
    """Prompter calls: tiles x queries."""

    def to_dict(self) -> dict[str, object]:
        """Plain values for run.json and tables."""
        return asdict(self)


def estimate(plan: Plan, n_queries: int) -> Estimate:
    """Add up a plan of which every tile is asked `n_queries` queries. Raises InputError for none."""
    if n_queries < 1:
        raise InputError("A run needs at least one query", came=str(n_queries), remedy="give --query")
    pixels = 0
    reads = []
    for block in plan.blocks():
        pixels += sum(tile.core.area_px for tile in block.tiles)
        reads.append(block.read)
    read_px = overlaps_px(reads, plan.scene_windows)
    decoded = 0
    compressed: float | None = 0.0
    for scene, outline, count in zip(plan.scenes, plan.outlines, read_px.tolist(), strict=True):
        if scene.failure:
            continue
        decoded += count * BANDS_READ * np.dtype(scene.dtype).itemsize
        sizes = [file.identity.get("size_bytes") for file in scene.files]
        share = min(count / outline.area, 1.0) if outline.area > 0 else 0.0
        for size in sizes:
            compressed = None if compressed is None or size is None else compressed + share * int(size)
    tiles = plan.n_tiles
    return Estimate(
        mode=plan.mode,
        tiles=tiles,
        tiles_outside=plan.n_tiles_outside,
        blocks=len(reads),
        pixels=pixels,
        pixels_read=int(read_px.sum()),
        bytes_decoded=decoded,
        bytes_to_read=None if compressed is None else round(compressed),
        image_encodings=tiles,
        model_calls=tiles * n_queries,
    )


def overlaps_px(reads: Sequence[Window], windows: Sequence[Window]) -> NDArray[np.int64]:
    """Add up, per window, the pixels that it shares with each of `reads`; returns (n_windows,).

    Reads that overlap count twice, as they are read twice. Pairs that do not meet cost no time.
    """
    edges = np.array([_edges(window) for window in windows], dtype=np.int64).reshape(-1, 4)
    tree = shapely.STRtree(shapely.box(*edges.T))
    total = np.zeros(len(windows), dtype=np.int64)
    for start in range(0, len(reads), _CHUNK_BLOCKS):
        own = np.array([_edges(read) for read in reads[start : start + _CHUNK_BLOCKS]], dtype=np.int64)
        block, window = tree.query(shapely.box(*own.T))
        low = np.maximum(own[block, :2], edges[window, :2])
        high = np.minimum(own[block, 2:], edges[window, 2:])
        np.add.at(total, window, np.maximum(high - low, 0).prod(axis=1))
    return total


def _edges(window: Window) -> tuple[int, int, int, int]:
    return window.col0, window.row0, window.col1, window.row1
