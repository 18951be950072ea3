"""Adapt prompts to the shape of a target: more points where it is long, one beside it where it is a ring.

1. `kind_of` measures a mask. Long: its length is at least LONG times its width, taken as area / (2 * depth)
   and 2 * depth, where depth is that of the pixel deepest inside. Ring: what it encloses is at least RING of
   what it covers with it.
2. `spread_points` takes the deepest pixel, and then again and again the one farthest from all taken ones,
   among those at least half as deep. For two points this is `interior_points` of oracle_prompter.py.
3. `shape_prompts` gives a box to every object, and one or two points to compact ones as `object_prompts`
   does. Long ones get a point for every two widths of their length, three to MOST_POINTS. Rings get four, and
   a point of label 0 deep in their hole.
4. `counted_prompts` gives every object equally many points, for comparisons (Think2Seg-RS, table 6).

Think2Seg-RS names such prompts as future work and has one fixed combination. The limits are ours.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.prompt.oracle_prompter import LABEL_PREFIX
from pipeline.schema.tile_answers import Prompt

LONG = 4.0
"""Length over width from which a shape is long."""
RING = 0.1
"""Share of a filled shape that its holes have to be."""
MOST_POINTS = 6
RING_POINTS = 4

ShapeKind = Literal["compact", "long", "ring"]
Point = tuple[float, float]
Mask = NDArray[np.bool_]


def kind_of(mask: Mask) -> tuple[ShapeKind, float]:
    """Say what a mask (H, W) that is not empty is like, and its length over its width."""
    filled = ndimage.binary_fill_holes(mask)
    depth = float(_depth(mask).max())
    length = float(mask.sum()) / (4 * depth**2)
    if 1 - float(mask.sum()) / float(filled.sum()) >= RING:
        return "ring", length
    return ("long" if length >= LONG else "compact"), length


def spread_points(mask: Mask, count: int) -> list[Point]:
    """Choose at most `count` pixel centres (x, y) well inside a mask (H, W) that is not empty, far apart."""
    depth = _depth(mask)
    row, col = np.unravel_index(int(depth.argmax()), depth.shape)
    rows, cols = np.nonzero(depth >= depth[row, col] / 2)
    taken = [(int(row), int(col))]
    apart = (rows - row) ** 2 + (cols - col) ** 2
    while len(taken) < count and int(apart.max()) > 0:
        far = int(apart.argmax())
        taken.append((int(rows[far]), int(cols[far])))
        apart = np.minimum(apart, (rows - rows[far]) ** 2 + (cols - cols[far]) ** 2)
    return [(c + 0.5, r + 0.5) for r, c in taken]


def shape_prompts(labels: NDArray[np.int32]) -> tuple[Prompt, ...]:
    """Make one prompt per label value above 0, ascending: a box, and points after its shape.

    Args:
        labels: (H, W), 0 = background.
    """
    prompts = []
    for local, window in enumerate(ndimage.find_objects(labels), start=1):
        if window is None:
            continue
        rows, cols = window
        inside, outside = _points_of(labels[window] == local)
        points = [(cols.start + x, rows.start + y) for x, y in (*inside, *outside)]
        prompts.append(
            Prompt(
                box_xyxy=(float(cols.start), float(rows.start), float(cols.stop), float(rows.stop)),
                points_xy=tuple((float(x), float(y)) for x, y in points),
                point_labels=(1,) * len(inside) + (0,) * len(outside),
                label=f"{LABEL_PREFIX}{local}",
            )
        )
    return tuple(prompts)


def counted_prompts(labels: NDArray[np.int32], *, inside: int, outside: int = 0) -> tuple[Prompt, ...]:
    """Make one prompt per label value above 0, ascending: a box, and so many points in it.

    Args:
        labels: (H, W), 0 = background.
        inside: at most so many points on the object.
        outside: at most so many points of label 0, in what the box holds besides objects.
    """
    prompts = []
    for local, window in enumerate(ndimage.find_objects(labels), start=1):
        if window is None:
            continue
        rows, cols = window
        crop = labels[window]
        rest = crop == 0
        own = spread_points(crop == local, inside)
        beside = spread_points(rest, outside) if outside and rest.any() else []
        prompts.append(
            Prompt(
                box_xyxy=(float(cols.start), float(rows.start), float(cols.stop), float(rows.stop)),
                points_xy=tuple((float(cols.start + x), float(rows.start + y)) for x, y in (*own, *beside)),
                point_labels=(1,) * len(own) + (0,) * len(beside),
                label=f"{LABEL_PREFIX}{local}",
            )
        )
    return tuple(prompts)


def _points_of(mask: Mask) -> tuple[list[Point], list[Point]]:
    """Choose points inside and beside a mask (H, W)."""
    kind, length = kind_of(mask)
    if kind == "ring":
        hole = ndimage.binary_fill_holes(mask) & ~mask
        return spread_points(mask, RING_POINTS), spread_points(hole, 1)
    if kind == "long":
        return spread_points(mask, min(max(math.ceil(length / 2), 3), MOST_POINTS)), []
    return spread_points(mask, 2), []


def _depth(mask: Mask) -> NDArray[np.float64]:
    """Compute the distance of every pixel of a mask to what is not of it; outside the picture is not."""
    depth: NDArray[np.float64] = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    return depth
