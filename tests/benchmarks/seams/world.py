"""The seam world: objects of five kinds on one label raster, each known to the pixel.

1. `KINDS` says how many objects of a kind stand on 4096 x 4096 px and how their outlines are drawn.
2. `seam_world` places them, largest first, at random and without overlap. Only the houses of one row touch
   each other; everything else keeps a gap. No place is preferred: what crosses a seam does so by chance.
3. Every object is 4-connected and has no hole.

The kinds and sizes are those that tiled imagery is known to break: objects smaller than the overlap, rows of
houses wall to wall, objects about as large as the overlap, thin ones longer than a tile, and ones that fill a
tile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.features import rasterize
from scipy import ndimage
from shapely import affinity
from shapely.geometry import LineString, Point, Polygon, box

Outlines = Callable[[np.random.Generator], list[Polygon]]

GAP_PX = 3
"""Free pixels around every object but a neighbour in its own row."""

MAX_TRIES = 4000
"""Places tried for one object before the world is declared full."""


@dataclass(frozen=True, kw_only=True)
class SeamWorld:
    """Truth of one world."""

    labels: NDArray[np.int32]
    """(H, W) 0 = background, 1..n = objects."""
    kind: tuple[str, ...]
    """Kind of object i + 1."""
    seed: int

    @property
    def n(self) -> int:
        return len(self.kind)


def seam_world(side_px: int, seed: int) -> SeamWorld:
    """A square world. Raises ValueError when the objects do not fit."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((side_px, side_px), dtype=np.int32)
    taken = np.zeros((side_px, side_px), dtype=np.bool_)
    kinds: list[str] = []
    for kind, (per_4096, outlines) in KINDS.items():
        wanted = max(1, round(per_4096 * (side_px / 4096) ** 2))
        for _ in range(wanted):
            for mask, window in _place(rng, outlines, taken):
                kinds.append(kind)
                labels[window][mask] = len(kinds)
    return SeamWorld(labels=labels, kind=tuple(kinds), seed=seed)


def _place(
    rng: np.random.Generator, outlines: Outlines, taken: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[np.bool_], tuple[slice, slice]]]:
    """Masks (h, w) and their window for one draw of `outlines`, at a free place; marks the place as taken."""
    side = taken.shape[0]
    for _ in range(MAX_TRIES):
        shapes = outlines(rng)
        x0, y0, x1, y1 = shapely.total_bounds(np.array(shapes, dtype=object))
        height = int(np.ceil(y1 - y0)) + 1
        width = int(np.ceil(x1 - x0)) + 1
        if max(height, width) + 2 * GAP_PX > side:
            continue
        row, col = (int(rng.integers(GAP_PX, side - length - GAP_PX + 1)) for length in (height, width))
        around = (slice(row - GAP_PX, row + height + GAP_PX), slice(col - GAP_PX, col + width + GAP_PX))
        moved = [affinity.translate(shape, -x0, -y0) for shape in shapes]
        burnt = rasterize(
            [(shape, i + 1) for i, shape in enumerate(moved)], out_shape=(height, width), dtype="int32"
        )
        grown = ndimage.binary_dilation(np.pad(burnt > 0, GAP_PX), np.ones((3, 3)), iterations=GAP_PX)
        masks = [burnt == i + 1 for i in range(len(moved))]
        if (grown & taken[around]).any() or not all(_whole(mask) for mask in masks):
            continue
        window = (slice(row, row + height), slice(col, col + width))
        taken[window] |= burnt > 0
        for mask in masks:
            yield mask, window
        return
    raise ValueError(
        f"no free place was found in {MAX_TRIES} tries: the world of {side} x {side} px is too small"
    )


def _whole(mask: NDArray[np.bool_]) -> bool:
    """One 4-connected object without a hole."""
    return bool(ndimage.label(mask)[1] == 1 and (ndimage.binary_fill_holes(mask) == mask).all())


def _turned(rng: np.random.Generator, shape: Polygon) -> Polygon:
    return affinity.rotate(shape, float(rng.uniform(0, 180)), origin=(0, 0))


def _block(rng: np.random.Generator, low: float, high: float) -> Polygon:
    """A rectangle, an ellipse, an L or a U, `low` to `high` px along its longer side."""
    width = float(rng.uniform(low, high))
    height = width * float(rng.uniform(0.6, 1.0))
    style = rng.integers(4)
    body = box(0, 0, width, height)
    if style == 1:
        return affinity.scale(Point(0, 0).buffer(0.5, quad_segs=64), width, height)
    if style == 2:
        return body - box(width * 0.45, height * 0.45, width + 1, height + 1)
    if style == 3:
        return body - box(width * 0.35, height * 0.4, width * 0.65, height + 1)
    return body


def _small(rng: np.random.Generator) -> list[Polygon]:
    return [_turned(rng, _block(rng, 14, 40))]


def _medium(rng: np.random.Generator) -> list[Polygon]:
    return [_turned(rng, _block(rng, 60, 150))]


def _huge(rng: np.random.Generator) -> list[Polygon]:
    return [_turned(rng, _block(rng, 700, 1100))]


def _row(rng: np.random.Generator) -> list[Polygon]:
    """Six houses that share their side walls, in a row that is turned as a whole."""
    angle = float(rng.uniform(0, 180))
    x = 0.0
    houses = []
    for _ in range(6):
        width = float(rng.uniform(18, 34))
        depth = float(rng.uniform(26, 46))
        setback = float(rng.uniform(0, 6))
        houses.append(affinity.rotate(box(x, setback, x + width, setback + depth), angle, origin=(0, 0)))
        x += width
    return houses


def _long(rng: np.random.Generator) -> list[Polygon]:
    """A winding band 900 to 1800 px long and 8 to 16 px wide."""
    length = float(rng.uniform(900, 1800))
    width = float(rng.uniform(8, 16))
    swing = float(rng.uniform(10, 80))
    waves = float(rng.uniform(0.5, 2.5))
    x = np.linspace(0, length, 200)
    line = LineString(np.stack([x, swing * np.sin(2 * np.pi * waves * x / length)], axis=1))
    return [_turned(rng, line.buffer(width / 2, cap_style="flat"))]


KINDS: dict[str, tuple[float, Outlines]] = {
    "huge": (3, _huge),
    "long": (8, _long),
    "row house": (20, _row),
    "medium": (120, _medium),
    "small": (500, _small),
}
"""Draws per 4096 x 4096 px and how to draw one; a draw of row houses is a row of six."""
