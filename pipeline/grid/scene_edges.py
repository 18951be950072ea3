"""The edges of many scenes at once, as points, in their own CRS or moved to another one.

A catalogue has scenes by the hundred thousand. What is the same for all scenes of one CRS is made once.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Transformer

from pipeline.geo.globe import turn_of

Floats = NDArray[np.float64]

OUTLINE_TOLERANCE_PX = 0.1
"""How far the outline of a warped scene may run from its curved edge, in pixels of the grid: pixels beyond it
are never read.
"""

_EDGE_STEPS = 21
_MOST_EDGE_STEPS = 1281
"""Points per edge of such an outline, at least and at most."""

_AT_ONCE = 20_000
"""Scenes whose edges are moved in one step, to bound memory."""


def edge_points(transforms: Floats, sizes: Floats, steps: int) -> Floats:
    """Outline scenes in their own CRS: (n, 4 * steps, 2) x, y, around from the first pixel's corner.

    `transforms` and `sizes`: as in `SceneColumns`.
    """
    ramp = np.linspace(0.0, 1.0, steps)
    width, height = sizes.T[:, :, None]
    ones = np.ones(steps)
    cols = np.concatenate([ramp * width, ones * width, ramp[::-1] * width, 0.0 * ones * width], axis=1)
    rows = np.concatenate([0.0 * ones * height, ramp * height, ones * height, ramp[::-1] * height], axis=1)
    a, b, c, d, e, f = transforms.T[:, :, None]
    return np.stack([cols * a + rows * b + c, cols * d + rows * e + f], axis=2)


def moved_points(points: Floats, source_wkt: str, target_wkt: str) -> Floats:
    """Move lines of points (..., k, 2) x, y to another CRS, without a jump where its map begins again."""
    x, y = _mover(source_wkt, target_wkt).transform(points[..., 0], points[..., 1])
    turn = turn_of(target_wkt)
    if turn is not None:
        x = np.unwrap(x, period=turn.width, axis=-1)
    return np.stack([x, y], axis=-1)


def moved_edges(
    transforms: Floats, sizes: Floats, source_wkt: str, target_wkt: str, *, pixel: float
) -> list[Floats]:
    """Outline scenes of one CRS in another: per scene (k, 2) x, y, as exact as OUTLINE_TOLERANCE_PX says.

    `transforms` and `sizes`: as in `SceneColumns`. `pixel`: side of a pixel of the grid.
    """
    found: list[Floats] = [np.empty((0, 2))] * len(sizes)
    open_ = np.arange(len(sizes))
    steps = _EDGE_STEPS
    while open_.size:
        rough = []
        for start in range(0, open_.size, _AT_ONCE):
            numbers = open_[start : start + _AT_ONCE]
            points = moved_points(
                edge_points(transforms[numbers], sizes[numbers], steps), source_wkt, target_wkt
            )
            edges = points.reshape(-1, 4, steps, 2)
            bulge = np.abs(edges[:, :, 1::2] - (edges[:, :, :-1:2] + edges[:, :, 2::2]) / 2).max(
                axis=(1, 2, 3)
            )
            # measured on chords over two steps; a curve strays a quarter as far from chords half as long
            is_rough = bulge / 4 > OUTLINE_TOLERANCE_PX * pixel
            for number, own in zip(numbers.tolist(), points, strict=True):
                found[number] = own
            rough.append(numbers[is_rough])
        if steps >= _MOST_EDGE_STEPS:
            return found
        open_ = np.concatenate(rough)
        steps = 2 * steps - 1
    return found


@functools.lru_cache(maxsize=256)
def _mover(source_wkt: str, target_wkt: str) -> Transformer:
    return Transformer.from_crs(CRS.from_wkt(source_wkt), CRS.from_wkt(target_wkt), always_xy=True)
