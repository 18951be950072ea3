"""Prompt long, winding, ring-like and branching shapes by a chain of boxes in place of one.

1. `along` walks inside a mask from one of its ends and gives every pixel its way from there, in pixels. So a
   river has a length, however it winds. Only what hangs together by sides and corners is walked.
2. `pieces_of` cuts the mask across the way, every PIECE widths, and lets pieces overlap by OVERLAP widths. A
   piece that falls apart, as both arms of a ring or the branches of a network do, becomes several.
3. `chain_prompts` gives every piece a box and one or two points. Compact shapes get the fixed combination.
   `outline_chain` does the same for a known outline.

All prompts of an object have its number in their label; whoever asked unites their masks. Boxes of a chain
hold less of what is not the object than one box around all of it does: that is the hope. Think2Seg-RS names
prompts after the shape as future work; this chain and its numbers are ours.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra
from shapely.geometry.base import BaseGeometry

from pipeline.prompt.oracle_prompter import LABEL_PREFIX, interior_points
from pipeline.prompt.shape_points import Mask, kind_of
from pipeline.schema.tile_answers import Prompt

PromptShape = Literal["fixed", "chain"]
"""`fixed`: every object is prompted alike. `chain`: a long one by several boxes."""

PIECE = 3.0
"""Length of a piece in widths of the shape, overlap included."""
OVERLAP = 1.0
"""Overlap of two pieces in widths."""
MOST_BOXES = 24
"""A chain that would have more boxes gets longer pieces."""
LEAST_PX = 9
"""A piece of fewer pixels is left to its neighbours."""

_STEPS = ((0, 1), (1, 0), (1, 1), (1, -1))
_CORNERS = np.ones((3, 3), dtype=np.bool_)


def along(mask: Mask) -> NDArray[np.float64]:
    """Measure the way of every pixel from one end of a mask (H, W); infinite outside, and where no way leads.

    The end is the pixel farthest from the deepest one, by the way inside.
    """
    number = np.cumsum(mask).reshape(mask.shape) - 1
    pairs = []
    lengths = []
    for down, right in _STEPS:
        first = _shifted(mask, 0, max(-right, 0), down, abs(right))
        second = _shifted(mask, down, max(right, 0), down, abs(right))
        both = mask[first] & mask[second]
        pairs.append(np.stack([number[first][both], number[second][both]]))
        lengths.append(np.full(int(both.sum()), math.hypot(down, right)))
    ends = np.concatenate(pairs, axis=1)
    count = int(mask.sum())
    graph = coo_array((np.concatenate(lengths), (ends[0], ends[1])), shape=(count, count)).tocsr()
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    start = int(number.flat[int(depth.argmax())])
    for _ in range(2):
        way = dijkstra(graph, directed=False, indices=start)
        start = int(np.where(np.isfinite(way), way, -1).argmax())
    found = np.full(mask.shape, np.inf)
    found[mask] = dijkstra(graph, directed=False, indices=start)
    return found


def pieces_of(mask: Mask) -> list[Mask]:
    """Cut a mask (H, W) that is not empty into overlapping pieces; one that is compact stays whole."""
    if kind_of(mask)[0] == "compact":
        return [mask]
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))
    width = 2 * float(np.median(depth[_ridge(depth)]))
    way = along(mask)
    longest = float(way[np.isfinite(way)].max())
    step = max((PIECE - OVERLAP) * width, longest / MOST_BOXES)
    pieces = []
    for number in range(max(math.ceil((longest - OVERLAP * width) / step), 1)):
        band = (way >= number * step) & (way <= (number + 1) * step + OVERLAP * width)
        labels, count = ndimage.label(band, structure=_CORNERS)
        sizes = np.bincount(labels.ravel(), minlength=count + 1)
        pieces += [labels == k for k in range(1, count + 1) if sizes[k] >= LEAST_PX]
    return pieces or [mask]


def chain_prompts(labels: NDArray[np.int32]) -> tuple[Prompt, ...]:
    """Make one prompt per piece of every label value above 0, ascending: a box and one or two points.

    Args:
        labels: (H, W), 0 = background.
    """
    prompts = []
    for local, window in enumerate(ndimage.find_objects(labels), start=1):
        if window is None:
            continue
        corner = (window[0].start, window[1].start)
        label = f"{LABEL_PREFIX}{local}"
        prompts += [_prompt_of(piece, corner, label) for piece in pieces_of(labels[window] == local)]
    return tuple(prompts)


def outline_chain(polygon: BaseGeometry, window_hw: tuple[int, int]) -> tuple[Prompt, ...]:
    """Make the prompts of a long or ring-like outline; none for a compact one.

    Args:
        polygon: in pixel edges of the window, x = column.
        window_hw: (height, width) of the window.
    """
    from rasterio.features import rasterize

    burnt = np.asarray(rasterize([polygon], out_shape=window_hw, dtype="uint8"))
    if not burnt.any():
        return ()
    window = ndimage.find_objects(burnt)[0]
    pieces = pieces_of(burnt[window] > 0)
    corner = (window[0].start, window[1].start)
    return tuple(_prompt_of(piece, corner, "") for piece in pieces) if len(pieces) > 1 else ()


def _prompt_of(piece: Mask, corner_rc: tuple[int, int], label: str) -> Prompt:
    """Prompt a piece by its box and one or two points; `corner_rc`: where it begins in the picture."""
    rows, cols = (np.flatnonzero(piece.any(axis=axis)) for axis in (1, 0))
    top, left = corner_rc
    points = tuple((left + x, top + y) for x, y in interior_points(piece))
    return Prompt(
        box_xyxy=(
            float(left + cols[0]),
            float(top + rows[0]),
            float(left + cols[-1] + 1),
            float(top + rows[-1] + 1),
        ),
        points_xy=points,
        point_labels=(1,) * len(points),
        label=label,
    )


def _shifted(mask: Mask, row: int, col: int, down: int, across: int) -> tuple[slice, slice]:
    """Name the part of a mask that begins at (row, col) and leaves room for a step."""
    height, width = mask.shape
    return slice(row, height - down + row), slice(col, width - across + col)


def _ridge(depth: NDArray[np.float64]) -> Mask:
    """Mark pixels as deep as any around them: the centre line."""
    return np.asarray((depth > 0) & (depth >= ndimage.maximum_filter(depth, size=3)))
