"""Stage A: the masks of one tile -> one label image, in which every pixel has one value, and its fragments.

1. `_rank` orders the masks, best first.
2. `_suppress` drops a mask that nearly repeats a better one.
3. `_paint` paints each mask where no better one is, and drops those that hardly show.
4. `_renumber` names what is left 1..n by first pixel. A mask in several parts stays ONE local id.
5. `measure` computes each fragment's integers.

Each query has a label plane of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numba import njit
from numpy.typing import NDArray

from pipeline.schema.tile_answers import SCORE_Q_SCALE, Fragment, MaskCrop, Prompt
from pipeline.schema.tiling import TileLattice, TileSpec, Window
from pipeline.stitch.stitch_options import StitchOptions

NORTH = 1
EAST = 2
SOUTH = 4
WEST = 8
"""Side bits of `Fragment.censored`."""

CENSOR_PX = 2
"""A mask or box that ends at most this many px (or the halo, if smaller) from a read-window border may go on
beyond it.
"""

NO_MARGIN = 2**31 - 1
"""`Fragment.margin` of a tile whose read window is the whole grid."""

MAX_LOCAL = 65535
"""Local ids are uint16."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Extent:
    """Bounding box of a mask and its prompt's box: x0, y0, x1, y1 in pixel edges of the read window."""

    x0: float
    y0: float
    x1: float
    y1: float


def flatten_tile(
    tile: TileSpec,
    masks: Sequence[MaskCrop],
    prompts: Sequence[Prompt],
    lattice: TileLattice,
    options: StitchOptions,
) -> tuple[NDArray[np.uint16] | None, tuple[Fragment, ...]]:
    """Label image (H, W) over `tile.read` and its fragments 1..n; (None, ()) if no mask has a pixel.

    Raises ValueError for a mask that leaves the read window or for more than 65535 fragments in one tile.
    """
    ranked = _suppress(_rank([m for m in masks if m.mask.any()]), options.nms_iou)
    if not ranked:
        return None, ()
    labels, kept = _renumber(_paint(tile, ranked, options.min_visible_share), len(ranked))
    if kept.size > MAX_LOCAL:
        raise ValueError(
            f"a tile holds at most {MAX_LOCAL} fragments, "
            f"tile {tile.tile_id} has {kept.size}: use smaller tiles"
        )
    winners = [ranked[int(position) - 1] for position in kept]
    extents = [_extent(mask, prompts[mask.prompt_index].box_xyxy) for mask in winners]
    identity = [(mask.prompt_index, quantise(mask.score)) for mask in winners]
    return labels, measure(tile, labels, lattice, identity=identity, extents=extents)


def _paint(tile: TileSpec, ranked: Sequence[MaskCrop], min_visible_share: float) -> NDArray[np.int32]:
    """(H, W) over `tile.read`: 1 + position in `ranked` of the mask that each pixel belongs to, 0 = none.

    A mask of which less than `min_visible_share` is left repeats what better masks already show. Its remains
    would be published as a sliver beside the object, so it is dropped.
    """
    painted = np.zeros(tile.read.shape, dtype=np.int32)
    for position, mask in enumerate(ranked):
        view = _view(painted, mask, tile)
        visible = mask.mask & (view == 0)
        if np.count_nonzero(visible) >= min_visible_share * np.count_nonzero(mask.mask):
            view[visible] = position + 1
    return painted


def quantise(score: float) -> int:
    """A score 0..1 in 1/65535, clipped; not-a-number counts as 0."""
    return round(min(max(score, 0.0), 1.0) * SCORE_Q_SCALE) if score == score else 0


def measure(
    tile: TileSpec,
    labels: NDArray[np.uint16],
    lattice: TileLattice,
    *,
    identity: Sequence[tuple[int, int]],
    extents: Sequence[_Extent] | None = None,
) -> tuple[Fragment, ...]:
    """Fragments of a label image (H, W) over `tile.read` with local ids 1..n, n = len(identity), each with a
    pixel.

    `identity[i]` is (prompt_index, score_q) of local id i + 1. Raises ValueError for an id without pixels.
    """
    core = tile.core
    rows, cols = core.slices_in(tile.read)
    bounds = (rows.start, rows.stop, cols.start, cols.stop)
    stats = _measure(labels, len(identity), bounds, tile.read.row0, tile.read.col0, lattice.grid.width)
    if len(identity) and int(stats[:, 0].min()) == 0:
        raise ValueError(
            f"every local id of tile {tile.tile_id} needs a pixel, {int(stats[:, 0].argmin()) + 1} has none"
        )
    open_sides = _open_sides(tile, lattice)
    fragments = []
    for i, (prompt_index, score_q) in enumerate(identity):
        full_px, core_px, anchor, row0, col0, row1, col1 = (int(v) for v in stats[i])
        own = _Extent(x0=col0, y0=row0, x1=col1, y1=row1)
        fragments.append(
            Fragment(
                local=i + 1,
                prompt_index=prompt_index,
                score_q=score_q,
                full_px=full_px,
                core_px=core_px,
                anchor=anchor,
                window=Window(row0=row0, col0=col0, row1=row1, col1=col1).shifted(
                    tile.read.row0, tile.read.col0
                ),
                censored=_censored(
                    extents[i] if extents else own, tile, open_sides, min(CENSOR_PX, lattice.halo_px)
                ),
                margin=_margin(own, tile, open_sides),
            )
        )
    return tuple(fragments)


def _open_sides(tile: TileSpec, lattice: TileLattice) -> int:
    """Bits of the read-window borders that are not borders of the grid: an object may go on beyond them."""
    read = tile.read
    grid = lattice.grid
    return (
        NORTH * (read.row0 > 0)
        + EAST * (read.col1 < grid.width)
        + SOUTH * (read.row1 < grid.height)
        + WEST * (read.col0 > 0)
    )


def _gaps(extent: _Extent, tile: TileSpec) -> tuple[tuple[int, float], ...]:
    height, width = tile.read.shape
    return (NORTH, extent.y0), (EAST, width - extent.x1), (SOUTH, height - extent.y1), (WEST, extent.x0)


def _censored(extent: _Extent, tile: TileSpec, open_sides: int, near_px: int) -> int:
    return sum(side for side, gap in _gaps(extent, tile) if side & open_sides and gap <= near_px)


def _margin(extent: _Extent, tile: TileSpec, open_sides: int) -> int:
    return min((int(gap) for side, gap in _gaps(extent, tile) if side & open_sides), default=NO_MARGIN)


def _extent(mask: MaskCrop, box_xyxy: tuple[float, float, float, float] | None) -> _Extent:
    rows = np.flatnonzero(mask.mask.any(axis=1))
    cols = np.flatnonzero(mask.mask.any(axis=0))
    x0 = float(mask.col0 + cols[0])
    y0 = float(mask.row0 + rows[0])
    x1 = float(mask.col0 + cols[-1] + 1)
    y1 = float(mask.row0 + rows[-1] + 1)
    if box_xyxy is None:
        return _Extent(x0=x0, y0=y0, x1=x1, y1=y1)
    return _Extent(
        x0=min(x0, box_xyxy[0]), y0=min(y0, box_xyxy[1]), x1=max(x1, box_xyxy[2]), y1=max(y1, box_xyxy[3])
    )


def _view(image: NDArray[np.int32], mask: MaskCrop, tile: TileSpec) -> NDArray[np.int32]:
    height, width = mask.mask.shape
    row1 = mask.row0 + height
    col1 = mask.col0 + width
    if mask.row0 < 0 or mask.col0 < 0 or row1 > image.shape[0] or col1 > image.shape[1]:
        where = f"rows [{mask.row0}, {row1}), cols [{mask.col0}, {col1})"
        raise ValueError(
            f"a mask must lie in the read window {image.shape} of tile {tile.tile_id}, got {where}"
        )
    return image[mask.row0 : row1, mask.col0 : col1]


def _rank(masks: Sequence[MaskCrop]) -> list[MaskCrop]:
    """Best first: higher score (in 1/65535), smaller area, smaller first pixel, smaller prompt index.

    A total order, so the order of `masks` does not matter.
    """

    def key(mask: MaskCrop) -> tuple[int, int, int, int, int, bytes]:
        row = int(mask.mask.any(axis=1).argmax())
        col = mask.col0 + int(mask.mask[row].argmax())
        return (
            -quantise(mask.score),
            int(mask.mask.sum()),
            mask.row0 + row,
            col,
            mask.prompt_index,
            np.packbits(mask.mask).tobytes(),
        )

    return sorted(masks, key=key)


def _suppress(ranked: list[MaskCrop], max_iou: float) -> list[MaskCrop]:
    """Greedy: a mask goes when a better mask that stays overlaps it by more than `max_iou`.

    Only masks that share pixels with another are compared, so hundreds of scattered ones cost no pairs.
    """
    if not ranked:
        return ranked
    area = np.array([int(m.mask.sum()) for m in ranked], dtype=np.int64)
    box = np.array(
        [(m.col0, m.row0, m.col0 + m.mask.shape[1], m.row0 + m.mask.shape[0]) for m in ranked], dtype=np.int64
    )
    shared = _shared_px(ranked, box)
    some = np.flatnonzero(shared)
    shapes = shapely.box(*box[some].T)
    worse, better = some[shapely.STRtree(shapes).query(shapes)]
    worse, better = worse[better < worse], better[better < worse]
    most = np.minimum(np.minimum(shared[worse], shared[better]), _box_overlap(box[worse], box[better]))
    likely = most > max_iou * (area[worse] + area[better] - most)
    order = np.lexsort((better[likely], worse[likely]))
    gone = np.zeros(len(ranked), dtype=np.bool_)
    for i, j in zip(worse[likely][order], better[likely][order], strict=True):
        if not gone[i] and not gone[j]:
            common = _common_px(ranked[i], ranked[j])
            gone[i] = common > max_iou * (area[i] + area[j] - common)
    return [mask for mask, drop in zip(ranked, gone, strict=True) if not drop]


def _shared_px(ranked: Sequence[MaskCrop], box: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count the pixels of each mask that another one covers too: no pair has more in common.

    `box` (n, 4): x0, y0, x1, y1 of each mask's window.
    """
    x0, y0 = box[:, :2].min(axis=0)
    x1, y1 = box[:, 2:].max(axis=0)
    covered = np.zeros((y1 - y0, x1 - x0), dtype=np.int32)
    views = [covered[b[1] - y0 : b[3] - y0, b[0] - x0 : b[2] - x0] for b in box]
    for view, mask in zip(views, ranked, strict=True):
        view += mask.mask
    return np.array(
        [np.count_nonzero(mask.mask & (view > 1)) for view, mask in zip(views, ranked, strict=True)],
        dtype=np.int64,
    )


def _box_overlap(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
    side = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    return np.asarray(np.maximum(side, 0).prod(axis=1), dtype=np.int64)


def _common_px(a: MaskCrop, b: MaskCrop) -> int:
    def window(m: MaskCrop) -> Window:
        return Window(row0=m.row0, col0=m.col0, row1=m.row0 + m.mask.shape[0], col1=m.col0 + m.mask.shape[1])

    shared = window(a).intersect(window(b))
    if shared is None:
        return 0
    return int((a.mask[shared.slices_in(window(a))] & b.mask[shared.slices_in(window(b))]).sum())


@njit(cache=True)
def _renumber(painted: NDArray[np.int32], n: int) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
    """Values 1..n -> 1..k in the order of their first pixel; also the old value of each new one."""
    height, width = painted.shape
    labels = np.zeros((height, width), dtype=np.uint16)
    new = np.zeros(n + 1, dtype=np.int64)
    kept = np.zeros(n, dtype=np.int64)
    count = 0
    for r in range(height):
        for c in range(width):
            value = painted[r, c]
            if value == 0:
                continue
            if new[value] == 0:
                kept[count] = value
                count += 1
                new[value] = count
            labels[r, c] = new[value] & 0xFFFF
    return labels, kept[:count].copy()


@njit(cache=True)
def _measure(
    labels: NDArray[np.uint16], n: int, core: tuple[int, int, int, int], row0: int, col0: int, grid_width: int
) -> NDArray[np.int64]:
    """(n, 7) int64: full_px, core_px, anchor (-1 = ghost), then row0, col0, row1, col1 in the read window."""
    out = np.zeros((n, 7), dtype=np.int64)
    height, width = labels.shape
    for i in range(n):
        out[i, 2] = -1
        out[i, 3] = height
        out[i, 4] = width
    for r in range(height):
        for c in range(width):
            if labels[r, c] == 0:
                continue
            i = labels[r, c] - 1
            out[i, 0] += 1
            if core[0] <= r < core[1] and core[2] <= c < core[3]:
                out[i, 1] += 1
                if out[i, 2] < 0:
                    out[i, 2] = (row0 + r) * grid_width + col0 + c
            out[i, 3] = min(out[i, 3], r)
            out[i, 4] = min(out[i, 4], c)
            out[i, 5] = max(out[i, 5], r + 1)
            out[i, 6] = max(out[i, 6], c + 1)
    return out
